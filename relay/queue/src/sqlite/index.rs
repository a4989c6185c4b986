//! The messages of the queue and their due times, in memory.
//!
//! Pure. The database decides; this index is built from it at start-up and follows every commit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::time::SystemTime;

use crate::record::StoredBody;
use crate::store::Lengths;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;

use crate::limits;

/// The facts about a message that are known without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) due: SystemTime,
    pub(super) held: bool,
    pub(super) body: StoredBody,
    /// Being delivered, or being changed by a commit.
    pub(super) claimed: bool,
}

/// All messages.
#[derive(Debug, Default)]
pub(super) struct Index {
    items: BTreeMap<QueueId, Item>,
    /// Items that are neither held nor claimed.
    due: BTreeSet<(SystemTime, QueueId)>,
    held: u64,
    claimed: u64,
}

impl Index {
    /// Adds an item, or replaces the item with the same id.
    pub(super) fn put(&mut self, id: QueueId, item: Item) {
        if let Some(old) = self.items.insert(id, item) {
            self.unschedule(id, &old);
        }
        self.schedule(id, &item);
    }

    /// Forgets an item.
    pub(super) fn remove(&mut self, id: QueueId) -> Option<Item> {
        let item = self.items.remove(&id)?;
        self.unschedule(id, &item);
        Some(item)
    }

    pub(super) fn find(&self, id: QueueId) -> Result<Item, StoreError> {
        self.items.get(&id).copied().ok_or(StoreError::NotFound(id))
    }

    /// At most `limit` items above `after`.
    pub(super) fn list(&self, after: Option<QueueId>, limit: usize) -> Vec<QueueId> {
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        self.items.range(range).take(limit).map(|(id, _)| *id).collect()
    }

    /// Claims at most `limit` items that are due. Returns when each was due.
    pub(super) fn claim_due(
        &mut self,
        now: SystemTime,
        limit: usize,
    ) -> Vec<(SystemTime, QueueId)> {
        let due = self.due.iter().take(limit).take_while(|(due, _)| *due <= now);
        let mut due: Vec<_> = due.copied().collect();
        due.retain(|&(_, id)| self.claim(id).is_ok());
        due
    }

    /// Claims one item.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Claimed`] by another caller.
    pub(super) fn claim(&mut self, id: QueueId) -> Result<Item, StoreError> {
        let item = self.find(id)?;
        if item.claimed {
            return Err(StoreError::Claimed(id));
        }
        self.put(id, Item { claimed: true, ..item });
        Ok(item)
    }

    /// Gives up a claim; due again at `due`.
    pub(super) fn put_back(&mut self, id: QueueId, due: SystemTime) {
        if let Ok(item) = self.find(id) {
            self.put(id, Item { claimed: false, due, ..item });
        }
    }

    /// Due at `due`, unless it is claimed or due before that.
    pub(super) fn make_due(&mut self, id: QueueId, due: SystemTime) {
        if let Ok(item) = self.find(id)
            && !item.claimed
            && item.due > due
        {
            self.put(id, Item { due, ..item });
        }
    }

    /// Prevents an item whose entry cannot be read from being claimed again and again.
    pub(super) fn hold_damaged(&mut self, id: QueueId) {
        if let Ok(item) = self.find(id) {
            self.put(id, Item { claimed: false, held: true, ..item });
        }
    }

    /// Makes items that are due after `latest` due at `now`.
    pub(super) fn limit_due_times(&mut self, latest: SystemTime, now: SystemTime) {
        let late = |(id, item): (&QueueId, &Item)| (item.due > latest).then_some((*id, *item));
        let late: Vec<_> = self.items.iter().filter_map(late).collect();
        for (id, item) in late {
            self.put(id, Item { due: now, ..item });
        }
    }

    pub(super) fn next_due(&self) -> Option<SystemTime> {
        self.due.first().map(|&(due, _)| due)
    }

    /// How many items are due, [`limits::BACKLOG_COUNTED`] at most.
    pub(super) fn backlog(&self, now: SystemTime) -> u64 {
        let due = self.due.iter().take_while(|(due, _)| *due <= now);
        due.take(limits::BACKLOG_COUNTED).count() as u64
    }

    pub(super) fn lengths(&self) -> Lengths {
        Lengths { queued: self.items.len() as u64, held: self.held, claimed: self.claimed }
    }

    /// The highest id.
    pub(super) fn highest(&self) -> Option<QueueId> {
        self.items.last_key_value().map(|(id, _)| *id)
    }

    /// Every unclaimed item that `other` does not have.
    pub(super) fn missing_in(&self, other: &Self) -> Vec<QueueId> {
        let missing =
            |(id, item): &(&QueueId, &Item)| !item.claimed && !other.items.contains_key(*id);
        self.items.iter().filter(missing).map(|(id, _)| *id).collect()
    }

    /// Every item whose message is in a file.
    pub(super) fn in_files(&self) -> impl Iterator<Item = QueueId> + '_ {
        let in_file = |item: &Item| matches!(item.body, StoredBody::InFile { .. });
        self.items.iter().filter(move |(_, item)| in_file(item)).map(|(id, _)| *id)
    }

    fn schedule(&mut self, id: QueueId, item: &Item) {
        self.held += u64::from(item.held);
        self.claimed += u64::from(item.claimed);
        if !item.held && !item.claimed {
            self.due.insert((item.due, id));
        }
    }

    fn unschedule(&mut self, id: QueueId, item: &Item) {
        self.held -= u64::from(item.held);
        self.claimed -= u64::from(item.claimed);
        self.due.remove(&(item.due, id));
    }
}
