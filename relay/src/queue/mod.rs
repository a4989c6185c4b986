//! Accepted mail, from the 250 until it is delivered or reported.
//!
//! This module decides what a message's state is and what follows from an attempt. When it is
//! tried again is for [`schedule`] to say, where it goes for [`crate::delivery`], and how bytes
//! get to the disk for the engine behind [`store::Store`], so that one shared by several hosts
//! can take the place of the log of this one.

mod entry;
mod id;
mod incoming;
mod message_file;
pub mod store;

use std::sync::Arc;
use std::time::SystemTime;

pub use self::entry::{Answer, Cause, Entry, Outcome, Recipient, RecipientState};
pub use self::id::{InvalidQueueId, QueueId};
pub use self::incoming::Incoming;
pub use self::message_file::{MessageFile, MessageReader};
pub use self::store::StoreError;

use self::id::QueueIds;
use self::store::Store;
use crate::smtp::path::{ForwardPath, ReversePath};

/// How a message body is written on the wire (RFC 6152).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BodyType {
    /// `BODY=8BITMIME`.
    EightBitMime,
    /// `BODY=7BIT`, and what holds without the parameter.
    #[default]
    SevenBit,
}

/// Sender, recipients and their parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The argument of MAIL.
    pub sender: ReversePath,
    /// The arguments of RCPT that got a 250, in order. Never empty once a message is begun.
    pub recipients: Vec<ForwardPath>,
    /// BODY of MAIL.
    pub body: BodyType,
    /// SMTPUTF8 of MAIL (RFC 6531).
    pub smtputf8: bool,
}

/// The queue, as the server and the delivery see it. Clones are the same queue.
#[derive(Clone, Debug)]
pub struct Queue {
    store: Arc<dyn Store>,
    ids: Arc<QueueIds>,
}

/// Why a message could not be begun.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BeginError {
    /// An envelope without a recipient; the session must not have asked.
    #[error("the envelope has no recipient")]
    NoRecipient,
    /// The store takes nothing now. The client may try again: `452 4.3.1`.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Queue {
    /// A queue upon any engine.
    pub fn with_store(store: Arc<dyn Store>) -> Self {
        let ids = Arc::new(QueueIds::above(store.highest_id()));
        Self { store, ids }
    }

    /// Begins a message. Nothing is kept before [`Incoming::commit`].
    ///
    /// # Errors
    /// [`BeginError::Store`] when the disk is short or a sync has failed.
    pub fn begin(&self, envelope: Envelope) -> Result<Incoming, BeginError> {
        if envelope.recipients.is_empty() {
            return Err(BeginError::NoRecipient);
        }
        self.store.accepts()?;
        let id = self.ids.next(SystemTime::now());
        Ok(Incoming::new(Arc::clone(&self.store), id, envelope))
    }
}
