//! A message that has been claimed, until its attempt is recorded or it goes back.
//!
//! Its recipients may have different next hops: then it is several jobs, one for each, and one
//! claim that all of them share. What each came to is recorded at once; the last one gives up the
//! claim.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::OwnedSemaphorePermit;
use tracing::{error, warn};

use crate::limits;
use crate::queue::{Answer, Entry, Outcome, Queue, RecipientState, StoreError};

/// What one next hop is to do of a claimed message. One that is dropped goes back to the queue, so
/// that nothing that happens to its worker leaves the message claimed for good.
#[derive(Debug)]
pub(super) struct Job {
    /// The message as it was claimed.
    pub(super) entry: Arc<Entry>,
    /// Which of its recipients.
    pub(super) places: Vec<usize>,
    claim: Arc<Claim>,
    settled: bool,
}

/// A claim, and the permit that bounds how many there are.
#[derive(Debug)]
struct Claim {
    queue: Queue,
    /// The message as it is now. Held while something is recorded.
    entry: tokio::sync::Mutex<Arc<Entry>>,
    state: Mutex<State>,
    _permit: Option<OwnedSemaphorePermit>,
}

#[derive(Debug)]
struct State {
    /// Jobs that are not settled.
    open: usize,
    /// The earliest time that a job was put back to.
    due: Option<SystemTime>,
    /// An attempt was recorded: the next one goes by the schedule.
    has_recorded: bool,
    /// The queue has the claim no more.
    given_up: bool,
}

impl Job {
    /// One job for each of these groups of recipients.
    pub(super) fn split(
        queue: Queue,
        entry: Entry,
        groups: Vec<Vec<usize>>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Vec<Self> {
        let entry = Arc::new(entry);
        let state = State { open: groups.len(), due: None, has_recorded: false, given_up: false };
        let claim = Arc::new(Claim {
            queue,
            entry: tokio::sync::Mutex::new(Arc::clone(&entry)),
            state: Mutex::new(state),
            _permit: permit,
        });
        let job = |places| {
            let (entry, claim) = (Arc::clone(&entry), Arc::clone(&claim));
            Self { entry, places, claim, settled: false }
        };
        groups.into_iter().map(job).collect()
    }

    /// Gives these recipients back without an attempt: due again at `due`.
    pub(super) fn put_back(mut self, due: SystemTime) {
        self.settled = true;
        self.claim.put_back(&self.entry, due);
    }

    /// Records what the attempt came to. Takes as long as the disk refuses.
    pub(super) async fn record(self, outcomes: Vec<(usize, Outcome)>) {
        self.settle(outcomes, None).await;
    }

    /// Records that there was no attempt, and why: these recipients are due again at `due`. For what
    /// follows from the message's age. Takes as long as the disk refuses.
    pub(super) async fn record_untried(self, why: Answer, due: SystemTime) {
        let is_new = |place: &usize| {
            let recipient = self.entry.recipients.get(*place);
            recipient.is_some_and(|it| it.state == RecipientState::Pending(None))
        };
        let new = self.places.iter().copied().filter(is_new);
        let outcomes = new.map(|place| (place, Outcome::Deferred(why.clone()))).collect();
        self.settle(outcomes, Some(due)).await;
    }

    async fn settle(mut self, outcomes: Vec<(usize, Outcome)>, untried_until: Option<SystemTime>) {
        let claim = Arc::clone(&self.claim);
        let mut entry = claim.entry.lock().await;
        let now = SystemTime::now();
        let (is_last, untried_until) = {
            let mut state = claim.state();
            state.has_recorded |= untried_until.is_none();
            state.due = [state.due, untried_until].into_iter().flatten().min();
            (state.open == 1, state.due.filter(|_| !state.has_recorded))
        };
        let before = Entry::clone(&entry);
        let recorded = match untried_until {
            _ if !is_last => claim.queue.record_part(before, outcomes, now).await,
            Some(due) => claim.queue.record_untried(before, outcomes, due, now).await,
            None => claim.queue.record(before, outcomes, now).await,
        };
        self.settled = true;
        // In the cases of an error, too, there is no claim left to give back.
        let gone = is_last || recorded.is_err();
        {
            let mut state = claim.state();
            state.given_up |= gone;
        }
        match recorded {
            Ok(after) => *entry = Arc::new(after),
            Err(StoreError::Closed) => {}
            Err(error) => error!(id = %self.entry.id, %error, "cannot record an attempt"),
        }
        let entry = Arc::clone(&entry);
        claim.close(&entry);
    }
}

impl Claim {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put_back(&self, entry: &Entry, due: SystemTime) {
        {
            let mut state = self.state();
            state.due = Some(state.due.map_or(due, |earlier| earlier.min(due)));
        }
        self.close(entry);
    }

    /// A job is settled. The last one gives up the claim, unless recording did.
    fn close(&self, entry: &Entry) {
        let mut state = self.state();
        state.open -= 1;
        if state.open > 0 || state.given_up {
            return;
        }
        let scheduled = || self.queue.due_after_part(entry, SystemTime::now());
        let due = if state.has_recorded {
            scheduled()
        } else {
            state.due.unwrap_or_else(SystemTime::now)
        };
        self.queue.store().put_back(entry.id, due);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.settled {
            let id = self.entry.id;
            warn!(%id, "an attempt did not end as it should; the message goes back");
            // Not at once, lest whatever ended the attempt end it again without a pause.
            self.claim.put_back(&self.entry, SystemTime::now() + limits::INITIAL_RETRY_INTERVAL);
        }
    }
}
