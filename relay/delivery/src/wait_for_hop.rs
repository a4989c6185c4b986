//! Messages for which a next hop has no room, or that wait until it is alive again.
//!
//! The messages are in the queue, unclaimed, and due late; only their ids are here. When the next
//! hop has room they are made due, oldest first. So a backlog for a slow or dead next hop uses no
//! memory, is not claimed and read again and again, and is delivered as soon as there is room.
//! Pure.

use std::collections::BTreeSet;

use relay_mail::queue_id::QueueId;
use relay_queue::limits::CLAIMED_AT_ONCE;

use crate::limits;

/// The ids, and how many of them are on their way back.
#[derive(Debug, Default)]
pub(super) struct WaitingForHop {
    parked: BTreeSet<QueueId>,
    /// Made due, and not seen again yet.
    coming: usize,
}

impl WaitingForHop {
    /// A message is in the queue until there is room.
    pub(super) fn add(&mut self, id: QueueId) {
        self.parked.insert(id);
    }

    /// A message has been claimed; it may have waited here or not.
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

    /// The messages to make due while `waiting` are in hand and `room` are allowed.
    pub(super) fn next(&mut self, waiting: usize, room: usize) -> Vec<QueueId> {
        if waiting == 0 {
            // Some have left the queue in another way, or are on hold.
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
    use crate::wait_for_hop::*;

    const ALL: usize = 1000;

    #[test]
    fn no_more_are_woken_than_there_is_room_for() {
        let mut waiting_for_hop = WaitingForHop::default();
        (0..100).for_each(|number| waiting_for_hop.add(QueueId::from_u64(number)));
        assert_eq!(waiting_for_hop.next(0, 10).len(), 10);
        assert_eq!(waiting_for_hop.next(0, 10).len(), 10, "the first ten never arrived");
        (0..6).for_each(|number| waiting_for_hop.remove(QueueId::from_u64(number)));
        assert_eq!(waiting_for_hop.next(1, 10), [], "half of the room is in use");
    }

    #[test]
    fn the_oldest_are_woken_when_there_is_room() {
        let most = CLAIMED_AT_ONCE as u64;
        let id = QueueId::from_u64;
        let mut waiting_for_hop = WaitingForHop::default();
        (0..2 * most).rev().for_each(|number| waiting_for_hop.add(id(number)));
        assert_eq!(waiting_for_hop.next(limits::PARKED_REFILL, ALL), []);
        assert_eq!(waiting_for_hop.next(1, ALL), (0..most).map(id).collect::<Vec<_>>());
        assert_eq!(waiting_for_hop.next(1, ALL), [], "enough messages are expected");
        (0..most).for_each(|number| waiting_for_hop.remove(id(number)));
        waiting_for_hop.remove(id(most));
        assert_eq!(waiting_for_hop.next(1, ALL), (most + 1..2 * most).map(id).collect::<Vec<_>>());
        assert!(waiting_for_hop.is_empty());
    }

    #[test]
    fn messages_that_never_arrive_delay_no_others() {
        let mut waiting_for_hop = WaitingForHop::default();
        (0..1000).for_each(|number| waiting_for_hop.add(QueueId::from_u64(number)));
        let mut came = 0;
        while !waiting_for_hop.is_empty() {
            came += waiting_for_hop.next(0, ALL).len();
        }
        assert_eq!(came, 1000);
    }
}
