//! The memory of messages that are being received.
//!
//! There is one budget for all sessions, and a share of it for the clients of each connector, so
//! that the clients of one connector cannot use up the memory of the others. No session waits for
//! memory: a session beyond the budget writes its message to the disk, or refuses it. So a slow
//! client can use its share up; other clients then need the disk, but need not wait.

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
    /// The shares of connectors that have sessions: at most one for each connector id.
    shares: Mutex<HashMap<ConnectorId, Weak<Share>>>,
}

/// The memory that the clients of one connector use.
#[derive(Debug)]
pub struct Share {
    memory: Arc<MessageMemory>,
    octets: AtomicU64,
}

/// One account in a share. Dropping it returns its memory.
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

    /// Octets that count for back pressure. Memory that the clients of one connector use beyond
    /// their share does not count: it must not defer mail of other connectors.
    pub fn octets_for_back_pressure(&self) -> u64 {
        let most = self.of_connector();
        let shares = self.shares.lock();
        let held = shares.values().filter_map(Weak::upgrade);
        let beyond = held.map(|share| share.octets.load(Ordering::Relaxed).saturating_sub(most));
        self.octets().saturating_sub(beyond.sum())
    }

    /// Octets that the clients of one connector may use.
    fn of_connector(&self) -> u64 {
        self.budget() / 100 * CONNECTOR_MEMORY_PERCENT
    }

    /// Octets that may be.
    pub fn budget(&self) -> u64 {
        self.budget.load(Ordering::Relaxed)
    }

    /// Changes the budget. Memory in use stays in use.
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
    /// An account without memory.
    pub fn account(self: &Arc<Self>) -> MemoryAccount {
        MemoryAccount { share: Arc::clone(self), octets: 0 }
    }

    /// Is more memory used than allowed, by all or in this share?
    fn is_used_up(&self) -> bool {
        self.memory.octets() > self.memory.budget()
            || self.octets.load(Ordering::Relaxed) > self.memory.of_connector()
    }
}

impl MemoryAccount {
    /// Another account in the same share, without memory.
    pub fn another_account(&self) -> Self {
        self.share.account()
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

    /// Is more memory used than allowed, by all or by the clients of this connector?
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
    fn dropped_accounts_return_their_memory() {
        let memory = MessageMemory::new(200);
        let (one, other) = (memory.share(), memory.share());
        let (mut first, mut second) = (one.account(), other.account());
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
    fn one_connector_cannot_use_up_the_memory_of_others() {
        let memory = MessageMemory::new(1000);
        let mut strangers = memory.share_of(ConnectorId(1)).account();
        let mut more = memory.share_of(ConnectorId(1)).account();
        let honest = memory.share_of(ConnectorId(2)).account();
        strangers.set(300);
        more.set(200);
        assert!(!more.is_used_up(), "half of the budget is theirs");
        more.set(201);
        assert!(strangers.is_used_up() && more.is_used_up() && more.another_account().is_used_up());
        assert!(!honest.is_used_up());
        // Memory of one connector beyond its share does not raise the back pressure of the others.
        more.set(600);
        assert_eq!((memory.octets(), memory.octets_for_back_pressure()), (900, 500));
        drop((strangers, more));
        assert_eq!(memory.octets(), 0);
        assert!(!memory.share_of(ConnectorId(1)).account().is_used_up());
    }
}
