//! Assigns queue ids that rise even if the clock is set back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use relay_mail::queue_id::QueueId;

/// Assigns ids: milliseconds in the high bits, a counter in the low bits, never less than the last
/// id.
#[derive(Debug)]
pub(super) struct QueueIds {
    last: AtomicU64,
}

impl QueueIds {
    /// Ids above `highest`, the highest id that the store ever had. So a clock that was set back
    /// between two runs repeats no id.
    pub(super) fn above(highest: u64) -> Self {
        Self { last: AtomicU64::new(highest) }
    }

    /// Every new id is above it.
    pub(super) fn last(&self) -> QueueId {
        QueueId::from_u64(self.last.load(Ordering::Relaxed))
    }

    /// A new id.
    pub(super) fn next(&self, now: SystemTime) -> QueueId {
        let milliseconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let from_clock = QueueId::first_of(milliseconds).to_u64();
        let step = |last: u64| Some(from_clock.max(last.saturating_add(1)));
        let last = match self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, step) {
            Ok(last) | Err(last) => last,
        };
        QueueId::from_u64(from_clock.max(last.saturating_add(1)))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::ids::*;

    #[test]
    fn ids_rise_even_when_the_clock_falls() {
        let noon = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let ids = QueueIds::above(0);
        let first = ids.next(noon);
        let second = ids.next(noon);
        let third = ids.next(noon - Duration::from_secs(3600));
        assert!(first < second && second < third);
        let after_restart = QueueIds::above(third.to_u64());
        assert!(after_restart.next(noon - Duration::from_secs(7200)) > third);
    }
}
