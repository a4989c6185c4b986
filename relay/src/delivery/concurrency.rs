//! How much of a next hop at a time: connections, and messages in hand. Pure; `now` comes in.

use std::time::{Duration, Instant};

use crate::limits;

/// How many connections a next hop gets. It grows by one with each round of successes, and halves
/// when the next hop shows that it has too much or is in trouble.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    most: usize,
    /// Successes since it changed.
    successes: usize,
}

impl Window {
    pub(super) fn new(most: usize) -> Self {
        let size = limits::DELIVERY_CONCURRENCY_FIRST.min(most).max(1);
        Self { size, most: most.max(1), successes: 0 }
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A message was taken.
    pub(super) fn succeeded(&mut self) {
        self.successes += 1;
        if self.successes >= self.size {
            self.successes = 0;
            self.size = self.most.min(self.size + 1);
        }
    }

    /// A connection could not be made, or was lost with a message on it.
    pub(super) fn failed(&mut self) {
        self.successes = 0;
        self.size = (self.size / 2).max(1);
    }
}

/// When messages come up again that a next hop has no room for, at about the pace at which it
/// takes them: a backlog for a slow next hop must neither fill the memory nor be claimed again and
/// again.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// From one message to the next, smoothed.
    interval: Duration,
    last: Option<Instant>,
    /// The time given last.
    given: Option<Instant>,
}

impl Pace {
    /// A message has been dealt with while others waited.
    pub(super) fn passed(&mut self, now: Instant) {
        if let Some(last) = self.last.replace(now) {
            self.interval = (self.interval * 7 + now.duration_since(last)) / 8;
        }
    }

    /// Nothing waits; the time until the next message says nothing about the next hop.
    pub(super) fn paused(&mut self) {
        self.last = None;
    }

    /// How long a message is to wait elsewhere while `waiting` are here. Twice as fast as the next
    /// hop was, lest it be kept waiting once it has become faster.
    pub(super) fn postpone(&mut self, waiting: usize, now: Instant) -> Duration {
        let half = self.interval / 2;
        let waiting = u32::try_from(waiting).unwrap_or(u32::MAX);
        let earliest = now + limits::OVERFLOW_PAUSE.max(half.saturating_mul(waiting));
        let after_others = self.given.map(|given| given + half);
        let at = after_others.map_or(earliest, |after| after.max(earliest));
        let at = at.min(now + limits::HOP_PAUSE_LONGEST);
        self.given = Some(at);
        at.duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_rises_with_success_and_falls_with_trouble() {
        let mut window = Window::new(20);
        let first = window.size();
        for _ in 0..first {
            window.succeeded();
        }
        assert_eq!(window.size(), first + 1);
        for _ in 0..1000 {
            window.succeeded();
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
    fn what_has_no_room_comes_back_at_the_pace_of_the_hop() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut pace = Pace::default();
        for number in 0..100 {
            pace.passed(start + second * number);
        }
        let now = start + second * 99;
        let waits: Vec<_> = (0..10).map(|_| pace.postpone(40, now)).collect();
        assert!(waits[0] > second * 19 && waits[0] <= second * 20, "{:?}", waits[0]);
        for pair in waits.windows(2) {
            let apart = pair[1] - pair[0];
            assert!(apart > second / 3 && apart <= second / 2, "{apart:?}");
        }
        // However many there are, they are looked at again before long.
        let last = (0..100_000).map(|_| pace.postpone(40, now)).last().unwrap();
        assert_eq!(last, limits::HOP_PAUSE_LONGEST);
    }

    #[test]
    fn a_pause_without_mail_is_no_slowness() {
        let start = Instant::now();
        let mut pace = Pace::default();
        pace.passed(start);
        pace.paused();
        pace.passed(start + Duration::from_hours(1));
        assert_eq!(pace.postpone(1000, start), limits::OVERFLOW_PAUSE);
    }
}
