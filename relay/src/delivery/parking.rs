//! The messages that a next hop has no room for, or that wait for it to be alive again.
//!
//! They are in the queue, unclaimed, and due late; here are only their ids. When the next hop has
//! room they are made due, oldest first. So a backlog for a slow or dead next hop fills no memory,
//! is not claimed and read again and again, and is not kept waiting once there is room. Pure.

use std::collections::BTreeSet;

use crate::limits;
use crate::queue::QueueId;

/// The ids, and how many of them are on their way back.
#[derive(Debug, Default)]
pub(super) struct Parking {
    parked: BTreeSet<QueueId>,
    /// Made due, and not seen again yet.
    coming: usize,
}

impl Parking {
    /// A message is in the queue until there is room.
    pub(super) fn park(&mut self, id: QueueId) {
        self.parked.insert(id);
    }

    /// A message has come, from here or from elsewhere.
    pub(super) fn came(&mut self, id: QueueId) {
        self.parked.remove(&id);
        self.coming = self.coming.saturating_sub(1);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Which ones to make due while `waiting` are in hand.
    pub(super) fn next(&mut self, waiting: usize) -> Vec<QueueId> {
        if waiting == 0 {
            // Some have left the queue by another way, or are held.
            self.coming = 0;
        }
        if waiting + self.coming >= limits::PARKED_REFILL {
            return Vec::new();
        }
        let mut ids = Vec::new();
        while ids.len() < limits::CLAIMED_AT_ONCE
            && let Some(id) = self.parked.pop_first()
        {
            ids.push(id);
        }
        self.coming += ids.len();
        ids
    }

    /// All of them.
    pub(super) fn take(&mut self) -> Vec<QueueId> {
        std::mem::take(&mut self.parked).into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_come_when_there_is_room() {
        let most = limits::CLAIMED_AT_ONCE as u64;
        let id = QueueId::from_u64;
        let mut parking = Parking::default();
        (0..2 * most).rev().for_each(|number| parking.park(id(number)));
        assert_eq!(parking.next(limits::PARKED_REFILL), []);
        assert_eq!(parking.next(1), (0..most).map(id).collect::<Vec<_>>());
        assert_eq!(parking.next(1), [], "those that come are enough");
        (0..most).for_each(|number| parking.came(id(number)));
        parking.came(id(most));
        assert_eq!(parking.next(1), (most + 1..2 * most).map(id).collect::<Vec<_>>());
        assert!(parking.is_empty());
    }

    #[test]
    fn those_that_never_come_hold_nobody_up() {
        let mut parking = Parking::default();
        (0..1000).for_each(|number| parking.park(QueueId::from_u64(number)));
        let mut came = 0;
        while !parking.is_empty() {
            came += parking.next(0).len();
        }
        assert_eq!(came, 1000);
    }
}
