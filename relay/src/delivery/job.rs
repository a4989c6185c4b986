//! A message that has been claimed, until its attempt is recorded or it goes back.

use std::time::SystemTime;

use tokio::sync::OwnedSemaphorePermit;
use tracing::{error, warn};

use crate::limits;
use crate::queue::{Entry, Outcome, Queue, QueueId, StoreError};

/// A claimed message, and the permit that bounds how many there are. One that is dropped goes
/// back to the queue, so that nothing that happens to its worker leaves it claimed for good.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) entry: Entry,
    claim: Claim,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct Claim {
    queue: Queue,
    id: QueueId,
    settled: bool,
}

impl Job {
    pub(super) fn new(queue: Queue, entry: Entry, permit: Option<OwnedSemaphorePermit>) -> Self {
        let claim = Claim { queue, id: entry.id, settled: false };
        Self { entry, claim, _permit: permit }
    }

    /// Gives the message back without an attempt: due again at `due`.
    pub(super) fn put_back(mut self, due: SystemTime) {
        self.claim.settled = true;
        self.claim.queue.store().put_back(self.claim.id, due);
    }

    /// Records what the attempt came to. Takes as long as the disk refuses.
    pub(super) async fn record(self, outcomes: Vec<(usize, Outcome)>) {
        let Self { entry, mut claim, _permit } = self;
        let recorded = claim.queue.record(entry, outcomes, SystemTime::now()).await;
        // In the cases of an error, too, there is no claim left to give back.
        claim.settled = true;
        match recorded {
            Ok(_) | Err(StoreError::Closed) => {}
            Err(error) => error!(id = %claim.id, %error, "cannot record an attempt"),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.settled {
            warn!(id = %self.id, "an attempt did not end as it should; the message goes back");
            // Not at once, lest whatever ended the attempt end it again without a pause.
            let due = SystemTime::now() + limits::INITIAL_RETRY_INTERVAL;
            self.queue.store().put_back(self.id, due);
        }
    }
}
