//! A queue engine that stores messages in memory and fails as configured. It only accepts messages:
//! only the test reads them.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_queue::store::{EntryChange, Lengths, Message, Pending, Settlement, Store, Usage};
use relay_queue::{Entry, MessageFile, MessageReader};
use tokio::sync::Notify;

/// The behaviour of the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// Stores nothing.
    Failing,
    /// Refuses to begin a message.
    Full,
    #[default]
    Working,
}

#[derive(Debug, Default)]
pub struct MemoryStore {
    behaviour: Behaviour,
    kept: Mutex<Vec<(Entry, Vec<u8>)>>,
}

impl MemoryStore {
    pub fn new(behaviour: Behaviour) -> Self {
        Self { behaviour, kept: Mutex::default() }
    }

    pub fn kept(&self) -> Vec<(Entry, Vec<u8>)> {
        self.kept.lock().clone()
    }
}

fn full() -> StoreError {
    StoreError::Full("the test says so".to_owned())
}

fn not_here<'a, T: Send + 'a>() -> Pending<'a, T> {
    Box::pin(async { Err(StoreError::Closed) })
}

impl Store for MemoryStore {
    fn highest_id(&self) -> u64 {
        0
    }

    fn create_file(&self, _: QueueId) -> Pending<'_, MessageFile> {
        Box::pin(async { Err(full()) })
    }

    fn accepts(&self) -> Pending<'_, ()> {
        Box::pin(async {
            match self.behaviour {
                Behaviour::Full => Err(full()),
                Behaviour::Failing | Behaviour::Working => Ok(()),
            }
        })
    }

    fn usage(&self) -> Pending<'_, Usage> {
        Box::pin(async { Ok(Usage::default()) })
    }

    fn enqueue(&self, entry: Entry, message: Message) -> Pending<'_, ()> {
        Box::pin(async move {
            match (self.behaviour, message) {
                (Behaviour::Working, Message::Memory(pieces)) => {
                    self.kept.lock().push((entry, pieces.concat()));
                    Ok(())
                }
                _ => Err(full()),
            }
        })
    }

    fn claim_due(&self, _: SystemTime, _: usize) -> Pending<'_, Vec<Entry>> {
        not_here()
    }

    fn record(&self, _: Settlement) -> Pending<'_, ()> {
        not_here()
    }

    fn put_back(&self, _: QueueId, _: SystemTime) {}

    fn bring_forward(&self, _: &[QueueId], _: SystemTime) {}

    fn read(&self, _: QueueId) -> Pending<'_, MessageReader> {
        not_here()
    }

    fn find(&self, _: QueueId) -> Pending<'_, Entry> {
        not_here()
    }

    fn list(&self, _: Option<QueueId>, _: usize) -> Pending<'_, Vec<Entry>> {
        not_here()
    }

    fn change(&self, _: QueueId, _: EntryChange) -> Pending<'_, ()> {
        not_here()
    }

    fn remove(&self, _: QueueId) -> Pending<'_, ()> {
        not_here()
    }

    fn next_due(&self) -> Option<SystemTime> {
        None
    }

    fn became_due(&self) -> Arc<Notify> {
        Arc::default()
    }

    fn lengths(&self) -> Lengths {
        Lengths::default()
    }
}
