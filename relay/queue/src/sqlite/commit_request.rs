//! What does a caller ask the committer to write, in one transaction?

use std::time::SystemTime;

use crate::MessageFile;
use crate::record::StoredBody;
use crate::sqlite::claim::ClaimGuard;
use crate::sqlite::database::{BodyRow, EntryRow};
use crate::store::ClaimAfter;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

/// Steps that are committed together or not at all.
pub(super) struct CommitRequest {
    pub(super) steps: Vec<CommitStep>,
    pub(super) purpose: CommitPurpose,
    /// On a message that the steps change and that no delivery has claimed.
    pub(super) claim: Option<ClaimGuard>,
    pub(super) done: oneshot::Sender<Result<(), StoreError>>,
    /// Bounds how many requests wait.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// The purpose of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CommitPurpose {
    /// New mail. When space is short, the committer refuses it first.
    NewMail,
    /// A change of queued mail, which may free space.
    Change,
}

/// One change, and its effect on the index.
pub(super) enum CommitStep {
    /// A message is new.
    Put { entry: EntryRow, due: SystemTime, body: NewBody },
    /// Its entry has changed.
    Update { entry: EntryRow, due: SystemTime, claim: ClaimAfter },
    /// It has left the queue.
    Remove { id: QueueId },
}

/// The bytes of a new message.
pub(super) enum NewBody {
    Row(BodyRow),
    /// Already synced.
    File(MessageFile),
}

impl NewBody {
    /// The stored form in the record.
    pub(super) fn stored(&self) -> StoredBody {
        match self {
            Self::Row(_) => StoredBody::InDatabase,
            Self::File(file) => StoredBody::InFile { checksum: file.checksum() },
        }
    }
}

impl CommitRequest {
    pub(super) fn octets(&self) -> usize {
        let octets = |step: &CommitStep| match step {
            CommitStep::Put { entry, body: NewBody::Row(body), .. } => {
                entry.record.len() + body.message.len()
            }
            CommitStep::Put { entry, .. } | CommitStep::Update { entry, .. } => entry.record.len(),
            CommitStep::Remove { .. } => 0,
        };
        self.steps.iter().map(octets).sum()
    }

    pub(super) fn answer(self, result: Result<(), StoreError>) {
        let Self { claim, done, .. } = self;
        // Before the reply, because the caller may repeat its request at once.
        drop(claim);
        let _ = done.send(result);
    }
}
