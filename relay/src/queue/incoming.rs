//! A message on its way into the queue: in memory while it is small, then in its own file.

use std::mem;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::content::Content;
use super::store::{Message, Store, StoreError};
use super::{Entry, Envelope, MessageFile, QueueId};
use crate::limits;

/// A message that is being received. Dropped before [`Incoming::commit`] it leaves no trace.
#[derive(Debug)]
pub struct Incoming {
    store: Arc<dyn Store>,
    id: QueueId,
    envelope: Envelope,
    /// Pieces not yet in the file; the whole message while there is none.
    pieces: Vec<Bytes>,
    /// Octets in `pieces`.
    waiting: usize,
    file: Option<MessageFile>,
    content: Content,
}

impl Incoming {
    pub(super) fn new(store: Arc<dyn Store>, id: QueueId, envelope: Envelope) -> Self {
        let content = Content::new(envelope.body);
        Self { store, id, envelope, pieces: Vec::new(), waiting: 0, file: None, content }
    }

    /// The name that the 250 will carry, and the Received line.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Octets written so far.
    pub fn size(&self) -> u64 {
        self.content.size
    }

    /// Appends to the message. Waits for the disk only when [`limits::MESSAGE_IN_MEMORY`] octets
    /// have gathered.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`]; the message cannot be kept and is dropped.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.content.add(&piece);
        self.waiting += piece.len();
        self.pieces.push(piece);
        if self.waiting > limits::MESSAGE_IN_MEMORY {
            self.spill().await?;
        }
        Ok(())
    }

    /// Keeps the message. When this returns `Ok`, bytes and envelope are on stable storage, and
    /// only then may the client be told 250. A dropped future may still commit.
    ///
    /// # Errors
    /// Whatever [`Store::enqueue`] gives; the message is not in the queue.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        let message = if self.file.is_some() {
            self.spill().await?;
            self.file.take().map(Message::File)
        } else {
            None
        };
        let message = message.unwrap_or_else(|| Message::Memory(mem::take(&mut self.pieces)));
        let now = SystemTime::now();
        let entry = Entry::new(self.id, self.envelope, self.content, now);
        self.store.enqueue(entry, message).await
    }

    async fn spill(&mut self) -> Result<(), StoreError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.store.create_file(self.id)?),
        };
        self.waiting = 0;
        file.append(mem::take(&mut self.pieces)).await
    }
}
