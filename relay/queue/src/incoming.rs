//! A message that is being received: in memory while it is small, then in its own file.

use std::fs::File;
use std::mem;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;
use std::vec;

use crate::content::Content;
use crate::event::MessageStorage;
use crate::memory::MemoryAccount;
use crate::store::{Message, Store};
use crate::{Entry, MessageFile};
use bytes::Bytes;
use relay_mail::envelope::Envelope;
use relay_mail::heap::HeapOctets;
use relay_mail::limits::SMALL_WRITE_OCTETS;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use tokio::task::spawn_blocking;

use crate::limits;

/// A message that is being received. If it is dropped before [`Incoming::commit`], no trace is
/// left.
#[derive(Debug)]
pub struct Incoming {
    store: Arc<dyn Store>,
    /// The memory of envelope and pieces, counted in the budget of all messages.
    memory: MemoryAccount,
    id: QueueId,
    envelope: Envelope,
    /// Octets of the envelope, with all allocations that it points to.
    envelope_octets: u64,
    /// Pieces that are not in the file yet; the whole message if there is no file.
    pieces: Vec<Bytes>,
    /// Octets in `pieces`.
    waiting: usize,
    file: Option<MessageFile>,
    /// The fields before all of that.
    fields: Bytes,
    content: Content,
}

/// Returns the octets that were written so far, piece by piece, without the fields put in front.
#[derive(Debug)]
pub struct IncomingReader {
    file: Option<(Arc<File>, PathBuf)>,
    /// The position in the file, and its length.
    at: u64,
    end: u64,
    pieces: vec::IntoIter<Bytes>,
}

impl Incoming {
    pub(super) fn new(
        store: Arc<dyn Store>,
        memory: MemoryAccount,
        id: QueueId,
        envelope: Envelope,
    ) -> Self {
        let envelope_octets = envelope.heap_octets() as u64;
        let content = Content::new(envelope.body);
        let (pieces, waiting, file, fields) = (Vec::new(), 0, None, Bytes::new());
        let mut incoming = Self {
            store,
            memory,
            id,
            envelope,
            envelope_octets,
            pieces,
            waiting,
            file,
            fields,
            content,
        };
        incoming.meter();
        incoming
    }

    /// The name that the 250 will carry, and the Received line.
    pub fn id(&self) -> QueueId {
        self.id
    }

    /// Sender and recipients.
    pub fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// Octets written so far, and put in front.
    pub fn size(&self) -> u64 {
        self.content.size
    }

    /// Where it will be kept, once it is whole.
    pub fn kept(&self) -> MessageStorage {
        if self.file.is_some() { MessageStorage::File } else { MessageStorage::Database }
    }

    /// Sets the fields that precede everything written, and replaces fields set before. Their
    /// values are known only after all of the message has arrived.
    pub fn put_in_front(&mut self, fields: Bytes) {
        self.content.add_in_front(&fields);
        self.fields = fields;
    }

    /// Reads the octets written so far. Later writes do not change what it returns.
    pub fn reader(&self) -> IncomingReader {
        IncomingReader {
            file: self.file.as_ref().map(MessageFile::handle),
            at: 0,
            end: self.file.as_ref().map_or(0, MessageFile::size),
            pieces: self.pieces.clone().into_iter(),
        }
    }

    /// Appends to the message. Waits for the disk only when [`limits::MESSAGE_IN_MEMORY`] octets
    /// are buffered, or when the budget of all messages is used up.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`]; the message cannot be stored and is dropped.
    pub async fn write(&mut self, piece: Bytes) -> Result<(), StoreError> {
        self.content.add(&piece);
        self.waiting += piece.len();
        self.pieces.push(piece);
        self.meter();
        let most = match self.memory.is_used_up() {
            true => SMALL_WRITE_OCTETS,
            false => limits::MESSAGE_IN_MEMORY,
        };
        if self.waiting > most {
            self.spill().await?;
        }
        Ok(())
    }

    /// Stores the message. When this returns `Ok`, octets and envelope are on stable storage; only
    /// then may the client get the 250. If the future is dropped, the message may be committed all
    /// the same.
    ///
    /// # Errors
    /// The errors of [`Store::enqueue`]; the message is not in the queue.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        let message = if self.file.is_some() {
            self.spill().await?;
            self.file.take().map(Message::File)
        } else {
            None
        };
        let now = SystemTime::now();
        let mut entry = Entry::new(self.id, self.envelope, self.content, now);
        let message = match message {
            Some(file) => {
                // Sessions put ASCII in front, which is UTF-8.
                entry.fields_before_file = String::from_utf8_lossy(&self.fields).into_owned();
                file
            }
            None => {
                let fields = Some(self.fields).filter(|fields| !fields.is_empty());
                Message::Memory(fields.into_iter().chain(self.pieces).collect())
            }
        };
        self.store.enqueue(entry, message).await
    }

    async fn spill(&mut self) -> Result<(), StoreError> {
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(self.store.create_file(self.id).await?),
        };
        self.waiting = 0;
        let appended = file.append(mem::take(&mut self.pieces)).await;
        self.meter();
        appended
    }

    /// Charges the budget with the current memory.
    fn meter(&mut self) {
        self.memory.set(self.envelope_octets + self.waiting as u64);
    }
}

impl IncomingReader {
    /// The next piece, at most [`limits::MESSAGE_READ`] octets of a large message; none at the end.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the disk does not return the octets that were written.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        let Some((file, path)) = self.file.as_ref().filter(|_| self.at < self.end) else {
            return Ok(self.pieces.next());
        };
        let (file, at) = (Arc::clone(file), self.at);
        let length = (self.end - at).min(limits::MESSAGE_READ as u64);
        let read = move || {
            let mut piece = vec![0; length as usize];
            file.read_exact_at(&mut piece, at).map(|()| Bytes::from(piece))
        };
        let piece = spawn_blocking(read).await.map_err(|_| StoreError::Closed)?;
        let piece = piece.map_err(|error| StoreError::io("read", path, error))?;
        self.at += length;
        Ok(Some(piece))
    }
}
