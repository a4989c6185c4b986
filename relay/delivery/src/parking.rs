//! The messages that a next hop has no room for, or that wait for it to be alive again.
//!
//! They are in the queue, unclaimed, and due late; here are only their ids. When the next hop has
//! room they are made due, oldest first. So a backlog for a slow or dead next hop fills no memory,
//! is not claimed and read again and again, and is not kept waiting once there is room. Pure.

use std::collections::BTreeSet;

use relay_mail::queue_id::QueueId;
use relay_queue::limits::CLAIMED_AT_ONCE;

use crate::limits;

/// The ids, and how many of them are on their way back.
#[derive(Debug, Default)]
pub(super) struct Parking {
    parked: BTreeSet<QueueId>,
    /// Made due, and not seen again yet.
    coming: usize,
}

impl Parking {
    /// A message is in the queue until there is room.
    pub(super) fn add(&mut self, id: QueueId) {
        self.parked.insert(id);
    }

    /// A message has come, from here or from elsewhere.
    pub(super) fn remove(&mut self, id: QueueId) {
        self.parked.remove(&id);
        self.coming = self.coming.saturating_sub(1);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.parked.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parked.is_empty()
    }

    /// Which ones to make due while `waiting` are in hand and `room` may be.
    pub(super) fn next(&mut self, waiting: usize, room: usize) -> Vec<QueueId> {
        if waiting == 0 {
            // Some have left the queue by another way, or are held.
            self.coming = 0;
        }
        let in_hand = waiting + self.coming;
        if in_hand >= limits::PARKED_REFILL.min(room.div_ceil(2)) {
            return Vec::new();
        }
        let most = CLAIMED_AT_ONCE.min(room.saturating_sub(in_hand));
        let mut ids = Vec::new();
        while ids.len() < most
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
    use crate::parking::*;

    const ALL: usize = 1000;

    #[test]
    fn no_more_come_than_there_is_room_for() {
        let mut parking = Parking::default();
        (0..100).for_each(|number| parking.add(QueueId::from_u64(number)));
        assert_eq!(parking.next(0, 10).len(), 10);
        assert_eq!(parking.next(0, 10).len(), 10, "those never came");
        (0..6).for_each(|number| parking.remove(QueueId::from_u64(number)));
        assert_eq!(parking.next(1, 10), [], "half of the room is in use");
    }

    #[test]
    fn the_oldest_come_when_there_is_room() {
        let most = CLAIMED_AT_ONCE as u64;
        let id = QueueId::from_u64;
        let mut parking = Parking::default();
        (0..2 * most).rev().for_each(|number| parking.add(id(number)));
        assert_eq!(parking.next(limits::PARKED_REFILL, ALL), []);
        assert_eq!(parking.next(1, ALL), (0..most).map(id).collect::<Vec<_>>());
        assert_eq!(parking.next(1, ALL), [], "those that come are enough");
        (0..most).for_each(|number| parking.remove(id(number)));
        parking.remove(id(most));
        assert_eq!(parking.next(1, ALL), (most + 1..2 * most).map(id).collect::<Vec<_>>());
        assert!(parking.is_empty());
    }

    #[test]
    fn those_that_never_come_hold_nobody_up() {
        let mut parking = Parking::default();
        (0..1000).for_each(|number| parking.add(QueueId::from_u64(number)));
        let mut came = 0;
        while !parking.is_empty() {
            came += parking.next(0, ALL).len();
        }
        assert_eq!(came, 1000);
    }
}
