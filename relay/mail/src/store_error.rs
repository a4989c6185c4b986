//! What a queue that keeps messages could not do, for sessions and for those who read it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::queue_id::QueueId;

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

/// What a store could not do.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system or the queue is full. The client may try again: `452 4.3.1`.
    #[error("the queue is full: {0}")]
    Full(String),
    /// Reading or writing failed. The client may try again: `451 4.3.0`.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// A sync failed before; nothing is taken or read until the database is open again.
    #[error("the queue's database is closed after an error, until it could be opened anew")]
    Refusing,
    /// The stored bytes are not those that were committed.
    #[error("message {id} is damaged: {what}")]
    Damaged {
        /// Which message.
        id: QueueId,
        /// What is wrong with it.
        what: String,
    },
    /// What would be kept of it could not be read again. The client may try again: `451 4.3.0`.
    #[error("the message cannot be kept, since its entry could not be read again: {what}")]
    Unfit {
        /// What is wrong with it.
        what: String,
    },
    /// There is no such message.
    #[error("no message {0} in the queue")]
    NotFound(QueueId),
    /// The message is being delivered at this moment.
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
