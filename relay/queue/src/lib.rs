//! Accepted mail, from the 250 reply until it is delivered or reported.
//!
//! This crate decides the state of a message and, in `outcomes`, the consequences of an attempt.
//! [`schedule`] decides the time of the next attempt, and `delivery` the next hop. The engine behind
//! [`store::Store`] writes to the disk; a store that several hosts share could replace the database
//! of this host.

pub mod adapt;
pub mod admin;
pub mod bulk;
mod content;
mod entry;
pub mod event;
pub mod export;
pub mod filter;
mod ids;
mod incoming;
pub mod limits;
pub mod memory;
mod message_file;
mod outcomes;
mod record;
mod report;
pub mod schedule;
pub mod sqlite;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
pub(crate) mod tests;
mod track;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use crate::event::{Observer, QueueEvent};
use crate::ids::QueueIds;
use crate::memory::{MemoryAccount, MessageMemory};
use crate::schedule::Schedule;
use crate::sqlite::SqliteStore;
use crate::store::{Lengths, Store};
use arc_swap::ArcSwap;
use relay_mail::envelope::Envelope;
use relay_mail::limits::MESSAGE_MEMORY;
use relay_mail::path::Domain;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::BeginError;

pub use crate::entry::{Entry, Recipient, RecipientState};
pub use crate::incoming::{Incoming, IncomingReader};
pub use crate::message_file::{MessageFile, MessageReader};
pub use crate::sqlite::{Damage, Offline, OpenError, Recovery, StoreSettings, Unserved, is_part};
pub use relay_mail::store_error::StoreError;

/// Settings of a queue besides its engine.
#[derive(Clone, Debug)]
pub struct QueueSettings {
    /// The host name in reports.
    pub hostname: Domain,
    /// When messages are tried again and given up.
    pub schedule: Schedule,
}

/// The queue, as the server and delivery see it. All clones are the same queue.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    ids: QueueIds,
    settings: ArcSwap<QueueSettings>,
    memory: Arc<MessageMemory>,
    delivered: AtomicU64,
    deferred: AtomicU64,
    failed: AtomicU64,
    reports: AtomicU64,
    observer: OnceLock<Arc<dyn Observer>>,
}

/// Counters since the daemon began. They count recipients, not messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Recipients that a next hop accepted.
    pub delivered: u64,
    /// Attempts that deferred a recipient.
    pub deferred: u64,
    /// Recipients that were given up.
    pub failed: u64,
    /// Reports that were sent to senders.
    pub reports: u64,
    /// The current contents of the queue.
    #[serde(flatten)]
    pub lengths: Lengths,
}

impl Queue {
    /// Opens the queue of a single host: the database in `store.directory`.
    ///
    /// # Errors
    /// [`OpenError`] if the directory cannot be used at all, or if another process uses it.
    pub fn open(
        store: &StoreSettings,
        settings: QueueSettings,
    ) -> Result<(Self, Recovery), OpenError> {
        let (store, recovery) = SqliteStore::open(store)?;
        Ok((Self::with_store(Arc::new(store), settings), recovery))
    }

    /// A queue upon any engine.
    pub fn with_store(store: Arc<dyn Store>, settings: QueueSettings) -> Self {
        let shared = Shared {
            ids: QueueIds::above(store.highest_id()),
            settings: ArcSwap::from_pointee(settings),
            memory: MessageMemory::new(MESSAGE_MEMORY),
            delivered: AtomicU64::new(0),
            deferred: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            reports: AtomicU64::new(0),
            observer: OnceLock::new(),
        };
        Self { store, shared: Arc::new(shared) }
    }

    /// Begins a message. Nothing is stored before [`Incoming::commit`].
    ///
    /// # Errors
    /// [`BeginError::Store`] if the disk is short of space or a sync has failed.
    pub async fn begin(&self, envelope: Envelope) -> Result<Incoming, BeginError> {
        self.begin_for(envelope, self.shared.memory.share().account()).await
    }

    /// As [`Queue::begin`], for a session: its `memory` is charged with the memory of the message.
    ///
    /// # Errors
    /// As [`Queue::begin`].
    pub async fn begin_for(
        &self,
        envelope: Envelope,
        memory: MemoryAccount,
    ) -> Result<Incoming, BeginError> {
        if envelope.recipients.is_empty() {
            return Err(BeginError::NoRecipient);
        }
        self.store.accepts().await?;
        let id = self.shared.ids.next(SystemTime::now());
        Ok(Incoming::new(Arc::clone(&self.store), memory, id, envelope))
    }

    /// Replaces the settings: for the next attempt of every message, and for reports.
    pub fn set_settings(&self, settings: QueueSettings) {
        self.shared.settings.store(Arc::new(settings));
    }

    /// The budget of memory for messages on their way in.
    pub fn message_memory(&self) -> &Arc<MessageMemory> {
        &self.shared.memory
    }

    /// The engine: claims, reads, lists and changes entries.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The highest id that was ever in this queue: new ids are above it.
    pub fn highest_id(&self) -> QueueId {
        self.shared.ids.last()
    }

    /// Sets the observer of all later events. Only the first call has an effect: a second observer
    /// would not have the earlier events.
    pub fn set_observer(&self, observer: Arc<dyn Observer>) {
        let _ = self.shared.observer.set(observer);
    }

    /// Passes an event of a message to the observer. If there is no listening observer, the event
    /// is not made.
    pub fn tell(&self, id: QueueId, event: impl FnOnce() -> QueueEvent) {
        if let Some(observer) = self.shared.observer.get().filter(|it| it.is_listening()) {
            observer.observe(id, event());
        }
    }

    /// What the queue has done, and its current contents.
    pub fn counters(&self) -> Counters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Counters {
            delivered: read(&self.shared.delivered),
            deferred: read(&self.shared.deferred),
            failed: read(&self.shared.failed),
            reports: read(&self.shared.reports),
            lengths: self.store.lengths(),
        }
    }
}
