//! Who gives up a claim after the future that made it was dropped?
//!
//! The owner of the work at that moment: the future, the thread that reads the entry, or the
//! committer that has the change. If the future gave up the claim while the committer still had the
//! change, a delivery could claim the message, and the commit would end the claim of that delivery.

use std::sync::Arc;
use std::time::SystemTime;

use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;

use super::Shared;

/// The claim on one message. Dropping it makes the message due again at `due`.
#[derive(Debug)]
pub(super) struct ClaimGuard {
    shared: Arc<Shared>,
    id: QueueId,
    /// Of the steady clock.
    due: SystemTime,
    is_held: bool,
}

impl ClaimGuard {
    /// Claims the message.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], or [`StoreError::Claimed`] by another.
    pub(super) fn take(shared: &Arc<Shared>, id: QueueId) -> Result<Self, StoreError> {
        let due = shared.index.lock().claim(id)?.due;
        Ok(Self { shared: Arc::clone(shared), id, due, is_held: true })
    }

    /// Claims at most `limit` messages that are due, neither held nor claimed, oldest due first.
    pub(super) fn take_due(shared: &Arc<Shared>, now: SystemTime, limit: usize) -> Vec<Self> {
        let claimed = shared.index.lock().claim_due(now, limit).into_iter();
        claimed
            .map(|(due, id)| Self { shared: Arc::clone(shared), id, due, is_held: true })
            .collect()
    }

    pub(super) fn id(&self) -> QueueId {
        self.id
    }

    /// When the message was due before the claim, by the monotonic clock.
    pub(super) fn due(&self) -> SystemTime {
        self.due
    }

    /// Keeps the claim: it has a new owner, or the index no longer has the message.
    pub(super) fn release(mut self) {
        self.is_held = false;
    }
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        if self.is_held {
            self.shared.put_back(self.id, self.due);
        }
    }
}
