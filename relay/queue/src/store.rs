//! The trait of an engine, and its errors.
//!
//! It is designed for an engine that several hosts share: every call that touches storage is a
//! future, and no call blocks the thread that polls it; only the host with the claim works on an
//! entry; and the changes of an attempt (states, next time, its report) are one atomic step.
//! [`super::sqlite`] is the engine of a single host.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use crate::Entry;
use crate::message_file::{MessageFile, MessageReader};
use bytes::Bytes;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use tokio::sync::Notify;

/// The answer to a call, when storage has given it.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Where accepted mail is kept.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The highest id that this store ever had; new ids must be above it.
    fn highest_id(&self) -> u64;

    /// A file for a message that is too large for memory. No entry names it before
    /// [`Store::enqueue`].
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`] if the file cannot be created.
    fn create_file(&self, id: QueueId) -> Pending<'_, MessageFile>;

    /// May a message begin? Asked at DATA, so that a client does not send a message that cannot be
    /// stored.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Refusing`].
    fn accepts(&self) -> Pending<'_, ()>;

    /// The usage of the store, for back pressure.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the file system does not report it.
    fn usage(&self) -> Pending<'_, Usage>;

    /// The number of files in `damaged/`, which are kept for an administrator.
    fn damaged_files(&self) -> Pending<'_, u64> {
        // An engine without `damaged/` has none.
        Box::pin(async { Ok(0) })
    }

    /// Stores a message. Ready only after entry and octets are on stable storage.
    fn enqueue(&self, entry: Entry, message: Message) -> Pending<'_, ()>;

    /// Claims at most `limit` entries that are due, not on hold and not claimed, oldest due first.
    fn claim_due(&self, now: SystemTime, limit: usize) -> Pending<'_, Vec<Entry>>;

    /// Claims one unclaimed entry, due or not, on hold or not.
    fn claim(&self, id: QueueId) -> Pending<'_, Entry> {
        // An engine without claims of single entries has none to give.
        Box::pin(async move { Err(StoreError::Claimed(id)) })
    }

    /// Is this entry claimed? An engine that does not know returns false.
    fn is_claimed(&self, _id: QueueId) -> bool {
        false
    }

    /// Records the outcome of an attempt and gives up the claim, unless the attempt continues.
    /// Ready only after it is on stable storage. After an error the claim stands, and the caller
    /// records again.
    fn record(&self, settlement: Settlement) -> Pending<'_, ()>;

    /// Gives up a claim without an attempt: due again at `due`. Nothing is written.
    fn put_back(&self, id: QueueId, due: SystemTime);

    /// Makes unclaimed entries due at `due`, if they are due later. Nothing is written.
    fn bring_forward(&self, ids: &[QueueId], due: SystemTime);

    /// Opens the bytes of a message.
    fn read(&self, id: QueueId) -> Pending<'_, MessageReader>;

    /// One entry.
    fn find(&self, id: QueueId) -> Pending<'_, Entry>;

    /// At most `limit` entries with ids above `after`, in order of arrival.
    fn list(&self, after: Option<QueueId>, limit: usize) -> Pending<'_, Vec<Entry>>;

    /// Changes an unclaimed entry: holds it, releases it, makes it due.
    fn change(&self, id: QueueId, change: EntryChange) -> Pending<'_, ()>;

    /// Removes an unclaimed entry, without a report.
    fn remove(&self, id: QueueId) -> Pending<'_, ()>;

    /// When the next entry that is neither on hold nor claimed is due.
    fn next_due(&self) -> Option<SystemTime>;

    /// Notified when an entry may be due earlier than [`Store::next_due`] returned.
    fn became_due(&self) -> Arc<Notify>;

    /// How many entries there are.
    fn lengths(&self) -> Lengths;
}

/// The bytes of a message on their way into a store.
#[derive(Debug)]
pub enum Message {
    /// All of a small message, in pieces as they were received.
    Memory(Vec<Bytes>),
    /// A large message, written to its own file and not yet synced.
    File(MessageFile),
}

/// The result of an attempt, recorded in one atomic step.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The changed claimed entry. If no recipient is pending, it leaves the queue.
    pub entry: Entry,
    /// The report to the sender that this attempt caused.
    pub report: Option<(Entry, Bytes)>,
    /// What becomes of the claim.
    pub claim: ClaimAfter,
}

/// What becomes of a claim when the store has recorded the settlement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimAfter {
    /// The attempt continues at another next hop and keeps the claim. Never for an entry without
    /// pending recipients.
    Kept,
    /// The attempt has ended, and the entry can be claimed again.
    Released,
}

/// A change of an entry by an administrator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryChange {
    /// Stop its delivery.
    Hold,
    /// Let its delivery go on.
    Release,
    /// Try it now.
    Retry,
}

/// How many entries a store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Lengths {
    /// All of them.
    pub queued: u64,
    /// Entries on hold.
    pub held: u64,
    /// Those being delivered now.
    pub claimed: u64,
}

/// How full a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages that are due and not claimed, at most [`crate::limits::BACKLOG_COUNTED`].
    pub backlog: u64,
    /// Octets of the file system that are in use.
    pub used_octets: u64,
    /// Octets that are in use or could be used by us.
    pub octets: u64,
    /// Octets that could be used by us.
    pub free_octets: u64,
    /// Octets that must be free for a message to begin.
    pub min_free_octets: u64,
}
