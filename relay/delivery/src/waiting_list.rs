//! Messages that wait in the queue for room that several next hops share. Pure.
//!
//! Only their ids are here; the messages are in the queue, unclaimed and due late. When there is
//! room, the oldest are woken: they are made due, and room is reserved for them until they arrive.
//! A message that does not arrive within [`limits::CALLED_WAIT`] (it was held or removed) loses the
//! reservation.

use std::collections::{BTreeSet, HashMap};

use relay_mail::queue_id::QueueId;
use tokio::time::Instant;

use crate::limits;

/// The ids that wait, and those that were called.
#[derive(Debug, Default)]
pub(super) struct WaitingList {
    parked: BTreeSet<QueueId>,
    called: HashMap<QueueId, Instant>,
}

impl WaitingList {
    /// A message waits in the queue.
    pub(super) fn park(&mut self, id: QueueId) {
        self.parked.insert(id);
    }

    /// A message has been claimed. Was it woken? Then its reservation is free now.
    pub(super) fn came(&mut self, id: QueueId) -> bool {
        self.parked.remove(&id);
        self.called.remove(&id).is_some()
    }

    /// The oldest message, now called.
    pub(super) fn wake(&mut self, now: Instant) -> Option<QueueId> {
        let id = self.parked.pop_first()?;
        self.called.insert(id, now);
        Some(id)
    }

    /// Drops the reservations of messages that did not arrive. Returns how many there were.
    pub(super) fn expire(&mut self, now: Instant) -> usize {
        let before = self.called.len();
        self.called.retain(|_, at| now.saturating_duration_since(*at) < limits::CALLED_WAIT);
        before - self.called.len()
    }

    /// Does a message wait that was not called?
    pub(super) fn has_waiting(&self) -> bool {
        !self.parked.is_empty()
    }

    /// Reservations.
    pub(super) fn woken_count(&self) -> usize {
        self.called.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.parked.is_empty() && self.called.is_empty()
    }

    /// All that wait.
    pub(super) fn take(&mut self) -> impl Iterator<Item = QueueId> {
        std::mem::take(&mut self.parked).into_iter()
    }
}
