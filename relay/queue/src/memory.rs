//! The octets of messages that are on their way in and have no other place than memory.
//!
//! One budget for all sessions, and a share of it for the clients of each connector, so that
//! strangers at one connector cannot use up what another needs. Nobody waits for it: what a session
//! would hold beyond it goes to disk, or is not taken. So a client that sends slowly can use its
//! share up, and then costs others the use of the disk instead of their turn.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::limits::CONNECTOR_MEMORY_PERCENT;
use parking_lot::Mutex;
use relay_connector::ConnectorId;

/// How much is held, and how much may be.
#[derive(Debug)]
pub struct MessageMemory {
    octets: AtomicU64,
    budget: AtomicU64,
    /// The shares of connectors that have sessions. There are no more of them than connector ids.
    shares: Mutex<HashMap<ConnectorId, Weak<Share>>>,
}

/// What the clients of one connector hold.
#[derive(Debug)]
pub struct Share {
    memory: Arc<MessageMemory>,
    octets: AtomicU64,
}

/// One holder's part of a share. Dropped, it holds nothing.
#[derive(Debug)]
pub struct MemoryAccount {
    share: Arc<Share>,
    octets: u64,
}

impl MessageMemory {
    /// Nothing is held yet of a budget of so many octets.
    pub fn new(budget: u64) -> Arc<Self> {
        let (octets, budget) = (AtomicU64::new(0), AtomicU64::new(budget));
        Arc::new(Self { octets, budget, shares: Mutex::default() })
    }

    /// Octets that are held now.
    pub fn octets(&self) -> u64 {
        self.octets.load(Ordering::Relaxed)
    }

    /// Octets that press: what the clients of one connector hold beyond their share is theirs to be
    /// short of, and no reason to put off the mail of another.
    pub fn pressing(&self) -> u64 {
        let most = self.of_connector();
        let shares = self.shares.lock();
        let held = shares.values().filter_map(Weak::upgrade);
        let beyond = held.map(|share| share.octets.load(Ordering::Relaxed).saturating_sub(most));
        self.octets().saturating_sub(beyond.sum())
    }

    /// Octets that the clients of one connector may hold.
    fn of_connector(&self) -> u64 {
        self.budget() / 100 * CONNECTOR_MEMORY_PERCENT
    }

    /// Octets that may be.
    pub fn budget(&self) -> u64 {
        self.budget.load(Ordering::Relaxed)
    }

    /// Another budget from now on. What is held stays.
    pub fn set_budget(&self, octets: u64) {
        self.budget.store(octets, Ordering::Relaxed);
    }

    /// A share that no connector has.
    pub fn share(self: &Arc<Self>) -> Arc<Share> {
        Arc::new(Share { memory: Arc::clone(self), octets: AtomicU64::new(0) })
    }

    /// The share of a connector's clients.
    pub fn share_of(self: &Arc<Self>, connector: ConnectorId) -> Arc<Share> {
        let mut shares = self.shares.lock();
        if let Some(share) = shares.get(&connector).and_then(Weak::upgrade) {
            return share;
        }
        let share = self.share();
        shares.insert(connector, Arc::downgrade(&share));
        share
    }
}

impl Share {
    /// A holder of nothing.
    pub fn holder(self: &Arc<Self>) -> MemoryAccount {
        MemoryAccount { share: Arc::clone(self), octets: 0 }
    }

    /// Is more held than may be, by all or by the holders of this share?
    fn is_used_up(&self) -> bool {
        self.memory.octets() > self.memory.budget()
            || self.octets.load(Ordering::Relaxed) > self.memory.of_connector()
    }
}

impl MemoryAccount {
    /// Another holder of the same share, which holds nothing yet.
    pub fn sibling(&self) -> Self {
        self.share.holder()
    }

    /// So many octets are held now.
    pub fn set(&mut self, octets: u64) {
        let before = std::mem::replace(&mut self.octets, octets);
        let counts = [&self.share.octets, &self.share.memory.octets];
        match octets.checked_sub(before) {
            Some(0) => {}
            Some(more) => {
                for count in counts {
                    count.fetch_add(more, Ordering::Relaxed);
                }
            }
            None => {
                for count in counts {
                    count.fetch_sub(before - octets, Ordering::Relaxed);
                }
            }
        }
    }

    /// Is more held than may be, by all or by the clients of this connector?
    pub fn is_used_up(&self) -> bool {
        self.share.is_used_up()
    }
}

impl Drop for MemoryAccount {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use crate::memory::*;

    #[test]
    fn what_is_held_is_given_back() {
        let memory = MessageMemory::new(200);
        let (one, other) = (memory.share(), memory.share());
        let (mut first, mut second) = (one.holder(), other.holder());
        first.set(90);
        second.set(100);
        assert!(!first.is_used_up() && !second.is_used_up());
        second.set(111);
        assert!(first.is_used_up(), "all hold more than the budget");
        first.set(10);
        assert_eq!(memory.octets(), 121);
        drop(second);
        assert_eq!(memory.octets(), 10);
        memory.set_budget(9);
        assert!(first.is_used_up());
        drop(first);
        assert_eq!(memory.octets(), 0);
    }

    #[test]
    fn one_connector_cannot_use_up_what_others_need() {
        let memory = MessageMemory::new(1000);
        let mut strangers = memory.share_of(ConnectorId(1)).holder();
        let mut more = memory.share_of(ConnectorId(1)).holder();
        let honest = memory.share_of(ConnectorId(2)).holder();
        strangers.set(300);
        more.set(200);
        assert!(!more.is_used_up(), "half of the budget is theirs");
        more.set(201);
        assert!(strangers.is_used_up() && more.is_used_up() && more.sibling().is_used_up());
        assert!(!honest.is_used_up());
        // However much they hold beyond it, they do not raise back pressure for the others.
        more.set(600);
        assert_eq!((memory.octets(), memory.pressing()), (900, 500));
        drop((strangers, more));
        assert_eq!(memory.octets(), 0);
        assert!(!memory.share_of(ConnectorId(1)).holder().is_used_up());
    }
}
