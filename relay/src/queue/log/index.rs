//! What the log holds, in memory: where each message is, and which is due next.
//!
//! Pure. The log is the truth; this is made from it at start-up and follows every commit.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::SystemTime;

use super::segment::{Place, Segment};
use crate::queue::store::Lengths;
use crate::queue::{QueueId, StoreError};

/// Where the bytes of a message are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// In the record that brought the message.
    InLog(Place),
    /// In a file of this size and CRC-32.
    InFile { size: u64, checksum: u32 },
}

/// What is known of a message without reading it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) due: SystemTime,
    pub(super) held: bool,
    /// The record that holds the entry as it is now.
    pub(super) entry: Place,
    pub(super) body: Body,
    /// Being delivered, or being changed by a commit that is under way.
    claimed: bool,
}

#[derive(Debug)]
struct SegmentUse {
    segment: Arc<Segment>,
    length: u64,
    /// Octets of the frames that items refer to.
    live: u64,
}

/// All messages, all segments.
#[derive(Debug, Default)]
pub(super) struct Index {
    items: BTreeMap<QueueId, Item>,
    /// Items that are neither held nor claimed.
    due: BTreeSet<(SystemTime, QueueId)>,
    segments: BTreeMap<u32, SegmentUse>,
    held: u64,
    claimed: u64,
}

impl Item {
    pub(super) fn new(due: SystemTime, held: bool, entry: Place, body: Body) -> Self {
        Self { due, held, entry, body, claimed: false }
    }

    /// The record that holds its message, if a record does.
    pub(super) fn message_place(&self) -> Place {
        match self.body {
            Body::InLog(place) => place,
            Body::InFile { .. } => self.entry,
        }
    }

    /// The frames it needs: one, or two after an update.
    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        let body = match self.body {
            Body::InLog(place) if place != self.entry => Some(place),
            _ => None,
        };
        [Some(self.entry), body].into_iter().flatten()
    }
}

impl Index {
    /// Adds an item, or puts it in the place of the one with the same id, unclaimed.
    pub(super) fn put(&mut self, id: QueueId, item: Item) {
        self.remove(id);
        for place in item.places() {
            if let Some(segment) = self.segments.get_mut(&place.segment) {
                segment.live += u64::from(place.length);
            }
        }
        self.items.insert(id, item);
        self.schedule(id, &item);
    }

    /// Moves an item to another place; claim and schedule stay.
    pub(super) fn relocate(&mut self, id: QueueId, entry: Place, body: Body) {
        let Some(old) = self.items.get(&id).copied() else { return };
        self.put(id, Item { entry, body, ..old });
    }

    /// Forgets an item.
    pub(super) fn remove(&mut self, id: QueueId) -> Option<Item> {
        let item = self.items.remove(&id)?;
        self.unschedule(id, &item);
        for place in item.places() {
            if let Some(segment) = self.segments.get_mut(&place.segment) {
                segment.live = segment.live.saturating_sub(u64::from(place.length));
            }
        }
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

    /// Claims at most `limit` items that are due.
    pub(super) fn claim_due(&mut self, now: SystemTime, limit: usize) -> Vec<QueueId> {
        let due = self.due.iter().take(limit).take_while(|(due, _)| *due <= now);
        let ids: Vec<_> = due.map(|&(_, id)| id).collect();
        ids.into_iter().filter(|&id| self.claim(id).is_ok()).collect()
    }

    /// Claims one item.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Claimed`] by somebody else.
    pub(super) fn claim(&mut self, id: QueueId) -> Result<Item, StoreError> {
        let item = self.find(id)?;
        if item.claimed {
            return Err(StoreError::Claimed(id));
        }
        self.reschedule(id, Item { claimed: true, ..item });
        Ok(item)
    }

    /// Gives up a claim; due again at `due`.
    pub(super) fn put_back(&mut self, id: QueueId, due: SystemTime) {
        if let Ok(item) = self.find(id) {
            self.reschedule(id, Item { claimed: false, due, ..item });
        }
    }

    /// Stops an item whose entry cannot be read from being claimed again and again.
    pub(super) fn hold_unreadable(&mut self, id: QueueId) {
        if let Ok(item) = self.find(id) {
            self.reschedule(id, Item { claimed: false, held: true, ..item });
        }
    }

    pub(super) fn next_due(&self) -> Option<SystemTime> {
        self.due.first().map(|&(due, _)| due)
    }

    pub(super) fn lengths(&self) -> Lengths {
        Lengths { queued: self.items.len() as u64, held: self.held, claimed: self.claimed }
    }

    pub(super) fn segment(&self, number: u32) -> Option<Arc<Segment>> {
        self.segments.get(&number).map(|known| Arc::clone(&known.segment))
    }

    pub(super) fn add_segment(&mut self, segment: Arc<Segment>) {
        let number = segment.number;
        self.segments.insert(number, SegmentUse { segment, length: 0, live: 0 });
    }

    pub(super) fn set_segment_length(&mut self, number: u32, length: u64) {
        if let Some(known) = self.segments.get_mut(&number) {
            known.length = length;
        }
    }

    pub(super) fn remove_segment(&mut self, number: u32) {
        self.segments.remove(&number);
    }

    /// The oldest segment and the octets in it that are still needed.
    pub(super) fn oldest_segment(&self) -> Option<(Arc<Segment>, u64)> {
        self.segments.values().next().map(|known| (Arc::clone(&known.segment), known.live))
    }

    /// Segments, octets in them, and how many of those are still needed.
    pub(super) fn usage(&self) -> (usize, u64, u64) {
        let length = self.segments.values().map(|known| known.length).sum();
        let live = self.segments.values().map(|known| known.live).sum();
        (self.segments.len(), length, live)
    }

    /// The messages that need a frame in a segment.
    pub(super) fn in_segment(&self, number: u32) -> Vec<QueueId> {
        let needs = |item: &Item| item.places().any(|place| place.segment == number);
        self.items.iter().filter(|(_, item)| needs(item)).map(|(id, _)| *id).collect()
    }

    /// Every item whose message is in a file.
    pub(super) fn in_files(&self) -> impl Iterator<Item = (QueueId, u64)> + '_ {
        self.items.iter().filter_map(|(id, item)| match item.body {
            Body::InFile { size, .. } => Some((*id, size)),
            Body::InLog(_) => None,
        })
    }

    fn reschedule(&mut self, id: QueueId, item: Item) {
        if let Some(old) = self.items.insert(id, item) {
            self.unschedule(id, &old);
        }
        self.schedule(id, &item);
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
