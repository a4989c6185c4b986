//! Errors of a queue that stores messages, for sessions and for readers of the queue.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::queue_id::QueueId;

/// Why a message could not begin.
#[derive(Clone, Debug, thiserror::Error)]
pub enum BeginError {
    /// An envelope without a recipient; the session must not request this.
    #[error("the envelope has no recipient")]
    NoRecipient,
    /// The store accepts no message now. The client may try again: `452 4.3.1`.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An error of a store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system or the queue is full. The client may try again: `452 4.3.1`.
    #[error("the queue is full: {0}")]
    Full(String),
    /// Reading or writing failed. The client may try again: `451 4.3.0`.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// The operation, as a verb.
        doing: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: Arc<io::Error>,
    },
    /// An earlier sync failed; nothing is accepted or read until the database is open again.
    #[error("the queue's database is closed after an error, until it can be opened again")]
    Refusing,
    /// The stored octets are not those that were committed.
    #[error("message {id} is damaged: {what}")]
    Damaged {
        /// The message.
        id: QueueId,
        /// The damage.
        what: String,
    },
    /// The entry of the message could not be parsed again. The client may try again: `451 4.3.0`.
    #[error("the message is refused because its entry could not be parsed again: {what}")]
    Unfit {
        /// The error in the entry.
        what: String,
    },
    /// There is no such message.
    #[error("no message {0} in the queue")]
    NotFound(QueueId),
    /// An attempt is delivering the message now.
    #[error("message {0} is being delivered; try again when the attempt has ended")]
    Claimed(QueueId),
    /// The store has been closed.
    #[error("the queue is closed")]
    Closed,
}

impl StoreError {
    /// Sorts an I/O error: no space, no inodes and no quota are [`StoreError::Full`].
    pub fn io(doing: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => {
                Self::Full(format!("cannot {doing} {}: {source}", path.display()))
            }
            _ => Self::Io { doing, path, source: Arc::new(source) },
        }
    }
}
