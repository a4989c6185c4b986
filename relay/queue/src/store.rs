//! The trait that an engine fulfils, and the errors it may give.
//!
//! It is written for an engine that several hosts share: every call that touches storage is a
//! future, and no call blocks the thread that polls it; an entry is worked on only by the host that claimed it, and what an attempt changed
//! (states, next time, the report it caused) is one atomic step. [`super::sqlite`] is the engine
//! of a single host.

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
    /// The highest id that this store ever held; new ones must be above it.
    fn highest_id(&self) -> u64;

    /// A place for a message that is too large to wait in memory. Nothing refers to it until
    /// [`Store::enqueue`].
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`] when the file cannot be made.
    fn create_file(&self, id: QueueId) -> Pending<'_, MessageFile>;

    /// May a message begin? Asked at DATA, so that a client need not send what cannot be kept.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Refusing`].
    fn accepts(&self) -> Pending<'_, ()>;

    /// How full the store is, for whoever meters it.
    ///
    /// # Errors
    /// [`StoreError::Io`] when its file system does not say.
    fn usage(&self) -> Pending<'_, Usage>;

    /// Files of what was found damaged, kept for an administrator.
    fn damaged_files(&self) -> Pending<'_, u64> {
        // An engine that sets nothing aside has none.
        Box::pin(async { Ok(0) })
    }

    /// Keeps a message. Ready only after entry and bytes are on stable storage.
    fn enqueue(&self, entry: Entry, message: Message) -> Pending<'_, ()>;

    /// Claims at most `limit` entries that are due, not held and not claimed, oldest due first.
    fn claim_due(&self, now: SystemTime, limit: usize) -> Pending<'_, Vec<Entry>>;

    /// Claims one entry that nobody has claimed, due and held or not.
    fn claim(&self, id: QueueId) -> Pending<'_, Entry> {
        // An engine that keeps no claims of single entries has none to give.
        Box::pin(async move { Err(StoreError::Claimed(id)) })
    }

    /// Is this entry claimed? An engine that cannot say so says no.
    fn is_claimed(&self, _id: QueueId) -> bool {
        false
    }

    /// Records what an attempt came to and gives up the claim, unless it is only part of an
    /// attempt. Ready only after it is on stable storage. On an error the claim stands, and the
    /// caller records again.
    fn record(&self, settlement: Settlement) -> Pending<'_, ()>;

    /// Gives up a claim without an attempt: due again at `due`. Nothing is written.
    fn put_back(&self, id: QueueId, due: SystemTime);

    /// Makes entries due at `due` that nobody has claimed, if they are due later. Nothing is written.
    fn bring_forward(&self, ids: &[QueueId], due: SystemTime);

    /// Opens the bytes of a message.
    fn read(&self, id: QueueId) -> Pending<'_, MessageReader>;

    /// One entry.
    fn find(&self, id: QueueId) -> Pending<'_, Entry>;

    /// At most `limit` entries with ids above `after`, in order of arrival.
    fn list(&self, after: Option<QueueId>, limit: usize) -> Pending<'_, Vec<Entry>>;

    /// Changes an entry that nobody has claimed: holds it, releases it, makes it due.
    fn change(&self, id: QueueId, change: EntryChange) -> Pending<'_, ()>;

    /// Forgets an entry that nobody has claimed, without a report.
    fn remove(&self, id: QueueId) -> Pending<'_, ()>;

    /// When the next entry that is neither held nor claimed is due.
    fn next_due(&self) -> Option<SystemTime>;

    /// Woken when an entry may have become due earlier than [`Store::next_due`] said.
    fn became_due(&self) -> Arc<Notify>;

    /// How many entries there are.
    fn lengths(&self) -> Lengths;
}

/// The bytes of a message on their way into a store.
#[derive(Debug)]
pub enum Message {
    /// All of a small message, in the pieces it came in.
    Memory(Vec<Bytes>),
    /// A large one, written to its own file and not yet synced.
    File(MessageFile),
}

/// What an attempt came to, as one atomic step.
#[derive(Clone, Debug)]
pub struct Settlement {
    /// The claimed entry as it is now. When no recipient is pending it leaves the queue.
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

/// What an administrator may change about an entry.
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
    /// Those that an administrator holds.
    pub held: u64,
    /// Those being delivered now.
    pub claimed: u64,
}

/// How full a store is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Messages that are due and that nobody has claimed, [`crate::limits::BACKLOG_COUNTED`] at
    /// most.
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
