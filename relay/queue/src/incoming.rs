//! A message on its way into the queue: in memory while it is small, then in its own file.

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

/// A message that is being received. Dropped before [`Incoming::commit`] it leaves no trace.
#[derive(Debug)]
pub struct Incoming {
    store: Arc<dyn Store>,
    /// What envelope and pieces take of the budget that all share.
    memory: MemoryAccount,
    id: QueueId,
    envelope: Envelope,
    /// Octets that the envelope keeps, all that it points to counted.
    envelope_octets: u64,
    /// Pieces not yet in the file; the whole message while there is none.
    pieces: Vec<Bytes>,
    /// Octets in `pieces`.
    waiting: usize,
    file: Option<MessageFile>,
    /// What goes before all of that.
    fields: Bytes,
    content: Content,
}

/// Gives the octets that were written so far, piece by piece, without what was put in front.
#[derive(Debug)]
pub struct IncomingReader {
    file: Option<(Arc<File>, PathBuf)>,
    /// What has been read of the file, and what there is.
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

    /// Puts whole fields before everything written: what they say is known only when all of the
    /// message has come. Instead of those that were put there before.
    pub fn put_in_front(&mut self, fields: Bytes) {
        self.content.add_in_front(&fields);
        self.fields = fields;
    }

    /// Reads what was written so far. To write meanwhile changes nothing of it.
    pub fn reader(&self) -> IncomingReader {
        IncomingReader {
            file: self.file.as_ref().map(MessageFile::handle),
            at: 0,
            end: self.file.as_ref().map_or(0, MessageFile::size),
            pieces: self.pieces.clone().into_iter(),
        }
    }

    /// Appends to the message. Waits for the disk only when [`limits::MESSAGE_IN_MEMORY`] octets
    /// have gathered, or when the budget of all messages is used up.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`]; the message cannot be kept and is dropped.
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

    /// Charges the budget with what is held now.
    fn meter(&mut self) {
        self.memory.set(self.envelope_octets + self.waiting as u64);
    }
}

impl IncomingReader {
    /// The next piece, at most [`limits::MESSAGE_READ`] octets of a large message; none at the
    /// end.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the disk does not give back what it has taken.
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
