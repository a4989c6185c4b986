//! The octets of messages that are on their way in and have no other place than memory.
//!
//! One budget for all sessions. Nobody waits for it: what a session would hold beyond it goes to
//! disk, or is not taken. So a client that sends slowly can use memory up, and then costs others
//! the use of the disk instead of their turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much is held, and how much may be.
#[derive(Debug)]
pub struct MessageMemory {
    octets: AtomicU64,
    budget: AtomicU64,
}

/// One holder's part. Dropped, it holds nothing.
#[derive(Debug)]
pub struct Held {
    memory: Arc<MessageMemory>,
    octets: u64,
}

impl MessageMemory {
    /// Nothing is held yet of a budget of so many octets.
    pub fn new(budget: u64) -> Arc<Self> {
        Arc::new(Self { octets: AtomicU64::new(0), budget: AtomicU64::new(budget) })
    }

    /// Octets that are held now.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    /// Octets that may be.
    pub fn budget(&self) -> u64 {
        self.budget.load(Ordering::Relaxed)
    }

    /// Another budget from now on. What is held stays.
    pub fn set_budget(&self, octets: u64) {
        self.budget.store(octets, Ordering::Relaxed);
    }

    /// Is more held than may be?
    pub fn is_used_up(&self) -> bool {
        self.octets() > self.budget()
    }

    /// A holder of nothing.
    pub fn holder(self: &Arc<Self>) -> Held {
        Held { memory: Arc::clone(self), octets: 0 }
    }
}

impl Held {
    /// So many octets are held now.
    pub fn set(&mut self, octets: u64) {
        let before = std::mem::replace(&mut self.octets, octets);
        match octets.checked_sub(before) {
            Some(0) => {}
            Some(more) => {
                self.memory.octets.fetch_add(more, Ordering::Relaxed);
            }
            None => {
                self.memory.octets.fetch_sub(before - octets, Ordering::Relaxed);
            }
        }
    }

    /// Is more held by all than may be?
    pub fn is_used_up(&self) -> bool {
        self.memory.is_used_up()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back() {
        let memory = MessageMemory::new(100);
        let (mut one, mut other) = (memory.holder(), memory.holder());
        one.set(60);
        other.set(40);
        assert!(!memory.is_used_up());
        other.set(41);
        assert!(one.is_used_up());
        one.set(10);
        assert_eq!(memory.octets(), 51);
        drop(other);
        assert_eq!(memory.octets(), 10);
        memory.set_budget(9);
        assert!(memory.is_used_up());
        drop(one);
        assert_eq!(memory.octets(), 0);
    }
}
