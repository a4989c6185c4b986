//! How many connections to a next hop at a time. Pure.

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
}
