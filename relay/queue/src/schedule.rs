//! When is a message tried again, when does its sender get a report of the delay, and when is the
//! message given up? Pure.
//!
//! The interval doubles from the first to the longest and is then changed by up to an eighth in
//! either direction, so that messages deferred together are not all tried at the same time. The
//! change depends on the message's id and the attempt only, so the schedule of a message can be
//! predicted.

use std::time::{Duration, SystemTime};

use relay_host::back_off::BackOff;
use relay_mail::queue_id::QueueId;

use crate::limits;

/// How long messages wait between attempts, and in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// The wait after the first attempt.
    pub first: Duration,
    /// The longest wait between two attempts.
    pub longest: Duration,
    /// How long after its arrival a message is given up, after a last attempt.
    pub lifetime: Duration,
    /// How long after its arrival the sender of a waiting message gets a report of the delay. If
    /// the lifetime is not longer, no such report is sent.
    pub warning: Duration,
}

/// What follows after an attempt that left recipients pending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Another attempt at this time.
    At(SystemTime),
    /// No attempt: the lifetime has passed.
    Expired,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            first: limits::INITIAL_RETRY_INTERVAL,
            longest: limits::MAXIMUM_RETRY_INTERVAL,
            lifetime: limits::MESSAGE_EXPIRATION_TIMEOUT,
            warning: limits::DELAY_NOTIFICATION_TIMEOUT,
        }
    }
}

impl Schedule {
    /// The longest that [`Schedule::next`] has a message wait.
    pub fn longest_wait(&self) -> Duration {
        self.longest.saturating_add(self.longest / 8)
    }

    /// What follows after the attempt with number `attempts`, which ended at `now`.
    pub fn next(&self, id: QueueId, arrived: SystemTime, attempts: u32, now: SystemTime) -> Next {
        let expires = self.expires(arrived).unwrap_or(now);
        if now >= expires {
            return Next::Expired;
        }
        let back_off = BackOff { first: self.first, longest: self.longest };
        let wait = back_off.pause(attempts.saturating_sub(1));
        let wait = wait.saturating_sub(wait / 8) + jitter(wait / 4, id, attempts);
        Next::At(now.checked_add(wait).map_or(expires, |next| next.min(expires)))
    }

    /// When the sender of a waiting message gets a report of the delay.
    pub fn warns_at(&self, arrived: SystemTime) -> Option<SystemTime> {
        (self.warning < self.lifetime).then(|| arrived.checked_add(self.warning)).flatten()
    }

    /// When a message that arrived then is given up.
    pub fn expires(&self, arrived: SystemTime) -> Option<SystemTime> {
        arrived.checked_add(self.lifetime)
    }
}

/// A duration below `most` that looks random across messages and attempts.
fn jitter(most: Duration, id: QueueId, attempts: u32) -> Duration {
    let mut seed = [0; 12];
    seed[..8].copy_from_slice(&id.to_u64().to_le_bytes());
    seed[8..].copy_from_slice(&attempts.to_le_bytes());
    most.mul_f64(f64::from(crc32fast::hash(&seed)) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use proptest::prelude::*;

    use crate::schedule::*;

    fn arrived() -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let schedule = Schedule::default();
        let mut previous = Duration::ZERO;
        for attempts in 1..40 {
            let now = arrived() + Duration::from_secs(1);
            let Next::At(next) = schedule.next(QueueId::from_u64(9), arrived(), attempts, now)
            else {
                panic!("expired after a second")
            };
            let wait = next.duration_since(now).unwrap();
            assert!(wait >= previous.mul_f64(0.75), "attempt {attempts}: {wait:?}");
            assert!(wait <= schedule.longest.mul_f64(1.125));
            previous = wait;
        }
    }

    #[test]
    fn messages_deferred_together_come_back_apart() {
        let schedule = Schedule::default();
        let times: std::collections::BTreeSet<_> = (0..100)
            .map(|id| match schedule.next(QueueId::from_u64(id), arrived(), 3, arrived()) {
                Next::At(next) => next,
                Next::Expired => arrived(),
            })
            .collect();
        assert!(times.len() > 95);
    }

    proptest! {
        #[test]
        fn always_later_and_never_beyond_the_lifetime(id: u64, attempts: u32, late in 0u64..1_000_000) {
            let schedule = Schedule::default();
            let now = arrived() + Duration::from_secs(late);
            let expires = arrived() + schedule.lifetime;
            match schedule.next(QueueId::from_u64(id), arrived(), attempts, now) {
                Next::At(next) => prop_assert!(next > now && next <= expires),
                Next::Expired => prop_assert!(now >= expires),
            }
        }
    }
}
