//! How long is the pause after the next failure in a row?

use std::time::Duration;

/// Pauses that double from the first to the longest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl BackOff {
    /// The pause after a failure that followed `earlier` failures in a row.
    pub fn pause(self, earlier: u32) -> Duration {
        let factor = 1_u32.checked_shl(earlier).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let back_off = BackOff { first: Duration::from_secs(3), longest: Duration::from_secs(20) };
        let pauses: Vec<_> = (0..5).map(|earlier| back_off.pause(earlier).as_secs()).collect();
        assert_eq!(pauses, [3, 6, 12, 20, 20]);
    }

    #[test]
    fn no_number_of_failures_overflows() {
        let back_off = BackOff { first: Duration::from_secs(1), longest: Duration::MAX };
        assert_eq!(back_off.pause(31).as_secs(), 1 << 31);
        assert_eq!(back_off.pause(32).as_secs(), u64::from(u32::MAX));
        assert_eq!(back_off.pause(u32::MAX), back_off.pause(32));
        let long = BackOff { first: Duration::MAX, longest: Duration::MAX };
        assert_eq!(long.pause(1), Duration::MAX);
    }

    #[test]
    fn the_longest_pause_also_bounds_the_first() {
        let back_off = BackOff { first: Duration::from_secs(9), longest: Duration::from_secs(2) };
        assert_eq!(back_off.pause(0).as_secs(), 2);
    }
}
