//! Two clocks. Times on the disk are by the wall clock, which an administrator may set. Times in
//! memory are by a monotonic clock, so that messages neither wait for a day nor become due all at
//! once when the wall clock is set.
//!
//! A monotonic time here is the time that the wall clock would show if it had not been set since
//! the process began. Both are equal until it is set.

use std::time::{Duration, Instant, SystemTime};

use crate::limits;
use parking_lot::Mutex;

/// How far the two clocks are apart.
#[derive(Debug)]
pub(super) struct Clock {
    started: Reading,
    apart: Mutex<Apart>,
}

/// Both clocks at one moment.
#[derive(Clone, Copy, Debug)]
struct Reading {
    wall: SystemTime,
    steady: Instant,
}

/// How far the wall clock is ahead of the monotonic clock, or behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Apart {
    Ahead(Duration),
    Behind(Duration),
}

impl Clock {
    /// The clocks agree now.
    pub(super) fn start() -> Self {
        Self::started_at(Reading::now())
    }

    fn started_at(started: Reading) -> Self {
        Self { started, apart: Mutex::new(Apart::Ahead(Duration::ZERO)) }
    }

    /// Converts a current wall clock time to monotonic time.
    pub(super) fn monotonic(&self, wall: SystemTime) -> SystemTime {
        match self.apart(Reading::now()) {
            Apart::Ahead(by) => wall.checked_sub(by),
            Apart::Behind(by) => wall.checked_add(by),
        }
        .unwrap_or(wall)
    }

    /// Converts a monotonic time to a current wall clock time.
    pub(super) fn wall(&self, steady: SystemTime) -> SystemTime {
        match self.apart(Reading::now()) {
            Apart::Ahead(by) => steady.checked_add(by),
            Apart::Behind(by) => steady.checked_sub(by),
        }
        .unwrap_or(steady)
    }

    /// Small differences arise from reading one clock after the other and are ignored.
    fn apart(&self, now: Reading) -> Apart {
        let passed = now.steady.saturating_duration_since(self.started.steady);
        let unset = self.started.wall.checked_add(passed).unwrap_or(now.wall);
        let found = match now.wall.duration_since(unset) {
            Ok(by) => Apart::Ahead(by),
            Err(error) => Apart::Behind(error.duration()),
        };
        let mut apart = self.apart.lock();
        if found.differs_from(*apart) {
            *apart = found;
        }
        *apart
    }
}

impl Reading {
    fn now() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }
}

impl Apart {
    fn differs_from(self, other: Self) -> bool {
        let by =
            match (self, other) {
                (Self::Ahead(one), Self::Ahead(other))
                | (Self::Behind(one), Self::Behind(other)) => one.abs_diff(other),
                (Self::Ahead(one), Self::Behind(other))
                | (Self::Behind(one), Self::Ahead(other)) => one.saturating_add(other),
            };
        by > limits::CLOCK_JITTER
    }
}

#[cfg(test)]
mod tests {
    use crate::sqlite::clock::*;

    const DAY: Duration = Duration::from_hours(24);

    fn after(start: Reading, passed: Duration, wall: SystemTime) -> Reading {
        Reading { wall, steady: start.steady + passed }
    }

    #[test]
    fn clocks_that_are_not_set_agree_to_the_nanosecond() {
        let clock = Clock::start();
        let moment = SystemTime::now();
        assert_eq!((clock.monotonic(moment), clock.wall(moment)), (moment, moment));
    }

    #[test]
    fn jumps_are_found_and_jitter_is_none() {
        let start = Reading::now();
        let clock = Clock::started_at(start);
        let (second, nothing) = (Duration::from_secs(1), Apart::Ahead(Duration::ZERO));
        let jitter = limits::CLOCK_JITTER / 2;
        for (passed, wall, apart) in [
            (second, start.wall + second + jitter, nothing),
            (2 * second, start.wall + 2 * second - jitter, nothing),
            (3 * second, start.wall + 3 * second + DAY, Apart::Ahead(DAY)),
            (4 * second, start.wall + 4 * second + DAY - jitter, Apart::Ahead(DAY)),
            (5 * second, start.wall + 5 * second - DAY, Apart::Behind(DAY)),
            (6 * second, start.wall + 6 * second, nothing),
        ] {
            assert_eq!(clock.apart(after(start, passed, wall)), apart, "after {passed:?}");
        }
    }
}
