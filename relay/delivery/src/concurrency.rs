//! How many connections to a next hop at a time. Pure.

use relay_host::back_off::BackOff;
use tokio::time::Instant;

use crate::limits;

/// How many connections may a next hop have? The number grows by one with each round of successes,
/// and halves when the next hop is overloaded or fails. If a next hop refuses a further connection
/// while it serves others, the number stays at those it serves; a further connection is tried from
/// time to time.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    most: usize,
    /// Successes since it changed.
    successes: usize,
    refused: Option<Refused>,
}

/// A further connection was refused.
#[derive(Clone, Copy, Debug)]
struct Refused {
    /// Connections that were not refused.
    allowed: usize,
    /// When one more is tried.
    again: Instant,
    /// Trials before the next one, in a row, that were refused too.
    trials: u32,
}

const PROBE: BackOff =
    BackOff { first: limits::CONNECTION_PROBE_FIRST, longest: limits::CONNECTION_PROBE_LONGEST };

impl Window {
    pub(super) fn new(most: usize) -> Self {
        let size = limits::DELIVERY_CONCURRENCY_FIRST.min(most).max(1);
        Self { size, most: most.max(1), successes: 0, refused: None }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// The next hop accepted a message.
    pub(super) fn succeeded(&mut self, now: Instant) {
        let most = match self.refused {
            Some(refused) if now < refused.again => refused.allowed,
            Some(refused) => refused.allowed + 1,
            None => self.most,
        };
        self.successes += 1;
        if self.successes >= self.size {
            self.successes = 0;
            self.size = most.min(self.most).min(self.size + 1).max(self.size);
        }
    }

    /// A connection could not be opened, or was lost during a transaction.
    pub(super) fn failed(&mut self) {
        self.successes = 0;
        self.size = (self.size / 2).max(1);
    }

    /// The next hop refused a further connection, and `allowed` of our connections are left.
    pub(super) fn refused(&mut self, allowed: usize, now: Instant) {
        let allowed = allowed.max(1);
        let trials = match self.refused {
            // The refused connection was the test.
            Some(refused) if refused.allowed <= allowed && now >= refused.again => {
                refused.trials.saturating_add(1)
            }
            Some(refused) => refused.trials,
            None => 0,
        };
        self.refused = Some(Refused { allowed, again: now + PROBE.pause(trials), trials });
        self.successes = 0;
        self.size = self.size.min(allowed);
    }

    /// The next hop has accepted as many connections as `open`.
    pub(super) fn accepted(&mut self, open: usize) {
        if self.refused.is_some_and(|refused| open > refused.allowed) {
            self.refused = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::concurrency::*;

    #[test]
    fn a_window_rises_with_success_and_falls_with_trouble() {
        let now = Instant::now();
        let mut window = Window::new(20);
        let first = window.size();
        for _ in 0..first {
            window.succeeded(now);
        }
        assert_eq!(window.size(), first + 1);
        for _ in 0..1000 {
            window.succeeded(now);
        }
        assert_eq!(window.size(), 20);
        window.failed();
        assert_eq!(window.size(), 10);
        for _ in 0..10 {
            window.failed();
        }
        assert_eq!(window.size(), 1);
        assert_eq!(Window::new(1).size(), 1);
    }

    #[test]
    fn allowed_connections_stay_and_another_is_tried_less_and_less_often() {
        let mut now = Instant::now();
        let mut window = Window::new(20);
        window.refused(2, now);
        let mut waits = Vec::new();
        for _ in 0..8 {
            let began = now;
            while window.size() == 2 {
                now += Duration::from_secs(1);
                window.succeeded(now);
            }
            assert_eq!(window.size(), 3);
            waits.push((now - began).as_secs());
            window.refused(2, now);
            assert_eq!(window.size(), 2);
        }
        let first = limits::CONNECTION_PROBE_FIRST.as_secs();
        // Two successes make a round.
        assert!((first..first + 3).contains(&waits[0]), "{waits:?}");
        assert!(waits.windows(2).all(|pair| pair[0] <= pair[1] + 2), "{waits:?}");
        let longest = limits::CONNECTION_PROBE_LONGEST.as_secs();
        assert!((longest..longest + 3).contains(&waits[7]), "{waits:?}");
        // An accepted connection ends the refusal.
        window.accepted(3);
        (0..1000).for_each(|_| window.succeeded(now));
        assert_eq!(window.size(), 20);
    }
}
