//! A claimed message, until its attempt is recorded or it is put back.
//!
//! Its recipients may have different next hops: then it is divided into several jobs, one for each
//! next hop, which share one claim. Only some of them run at a time. Their outcomes are recorded
//! soon; the last job gives up the claim.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

use crate::budget::Hold;
use crate::route::Destination;
use parking_lot::{Mutex, MutexGuard};
use relay_mail::outcome::{Outcome, OutcomeReason};
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_queue::limits::INITIAL_RETRY_INTERVAL;
use relay_queue::{Entry, Queue, RecipientState};
use tokio::sync::{Notify, mpsc};
use tokio::time::timeout;
use tracing::{error, warn};

use crate::limits;

/// The part of a claimed message that one next hop must do. If it is dropped, it goes back to the
/// queue, so that no failure of a worker leaves the message claimed forever.
#[derive(Debug)]
pub(super) struct Job {
    /// The message as it was claimed.
    pub(super) entry: Arc<Entry>,
    /// Which of its recipients.
    pub(super) places: Vec<usize>,
    /// Its room in hand, once it was admitted.
    pub(super) hold: Option<Hold>,
    /// A worker gave it up because the next hop did not serve its connection.
    pub(super) was_surplus: bool,
    claim: Arc<MessageClaim>,
    settled: bool,
}

/// The jobs that are made of a message at one time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Round {
    /// How many.
    pub(super) jobs: usize,
    /// [`MessageClaim::end_round`] must follow. Among several jobs, one without room must not end
    /// the attempt before the others are handed out.
    pub(super) must_end: bool,
}

/// A claimed message, whichever next hops work on it.
#[derive(Debug)]
pub(super) struct MessageClaim {
    queue: Queue,
    /// The message as it was claimed.
    claimed: Arc<Entry>,
    /// The message as it is now. Held while something is recorded.
    entry: tokio::sync::Mutex<Arc<Entry>>,
    state: Mutex<State>,
    /// Notified of each write.
    written: Notify,
    /// Receives a claim whose next group may be tried.
    onward: mpsc::UnboundedSender<Arc<MessageClaim>>,
}

/// Recipients with the same next hop.
pub(super) type Group = (Destination, Vec<usize>);

#[derive(Debug)]
struct State {
    /// The message as it was recorded last.
    latest: Arc<Entry>,
    /// The first jobs have been made.
    has_begun: bool,
    /// Groups that no job was made of yet.
    rest: VecDeque<Group>,
    /// Groups that are not settled, those of `rest` included.
    open: usize,
    /// The earliest time that a job was put back to.
    due: Option<SystemTime>,
    /// An attempt was recorded: the next one follows the schedule.
    has_recorded: bool,
    /// Outcomes of jobs that are not recorded yet, and how many jobs wait for the record.
    results: Vec<(usize, Outcome)>,
    unwritten: usize,
    /// Groups went back because there was no room: the attempt continues as soon as there is some.
    is_unfinished: bool,
    /// The queue has the claim no more.
    given_up: bool,
}

impl MessageClaim {
    /// A claimed message. [`MessageClaim::next`] makes its jobs.
    pub(super) fn new(
        queue: Queue,
        entry: Entry,
        groups: impl IntoIterator<Item = Group>,
        onward: mpsc::UnboundedSender<Arc<Self>>,
    ) -> Arc<Self> {
        let entry = Arc::new(entry);
        let rest: VecDeque<_> = groups.into_iter().collect();
        let state = State {
            latest: Arc::clone(&entry),
            open: rest.len(),
            has_begun: false,
            rest,
            due: None,
            has_recorded: false,
            results: Vec::new(),
            unwritten: 0,
            is_unfinished: false,
            given_up: false,
        };
        Arc::new(Self {
            queue,
            claimed: Arc::clone(&entry),
            entry: tokio::sync::Mutex::new(entry),
            state: Mutex::new(state),
            written: Notify::new(),
            onward,
        })
    }

    /// The job of the next group, while fewer than [`limits::JOBS_PER_MESSAGE`] are running.
    pub(super) fn next(self: &Arc<Self>) -> Option<(Destination, Job)> {
        let mut state = self.state.lock();
        if state.open - state.rest.len() >= limits::JOBS_PER_MESSAGE {
            return None;
        }
        let (destination, places) = state.rest.pop_front()?;
        let (entry, claim) = (Arc::clone(&self.claimed), Arc::clone(self));
        Some((
            destination,
            Job { entry, places, hold: None, was_surplus: false, claim, settled: false },
        ))
    }

    pub(super) fn id(&self) -> QueueId {
        self.claimed.id
    }

    /// Jobs are to be made now.
    pub(super) fn begin_round(&self) -> Round {
        let mut state = self.state.lock();
        let is_round = state.open > 1;
        state.open += usize::from(is_round);
        let has_begun = std::mem::replace(&mut state.has_begun, true);
        let most = if has_begun { limits::JOBS_AFTER_ONE } else { limits::JOBS_PER_MESSAGE };
        Round { jobs: state.rest.len().min(most), must_end: is_round }
    }

    /// Ends the round. True if no job of the message is running, because none had room: then the
    /// message is back in the queue.
    pub(super) fn end_round(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        state.open -= 1;
        let none = !state.rest.is_empty() && state.open == state.rest.len();
        if none {
            self.drop_rest(&mut state, SystemTime::now() + limits::PARKED_LOOK);
        }
        if state.open == 0 {
            self.close(state);
        }
        none
    }

    /// Gives up the groups without a job, since delivery ends.
    pub(super) fn put_back_rest(self: &Arc<Self>) {
        let mut state = self.state.lock();
        self.drop_rest(&mut state, SystemTime::now());
        self.close(state);
    }

    fn drop_rest(&self, state: &mut State, due: SystemTime) {
        state.open -= state.rest.len();
        state.is_unfinished |= !state.rest.is_empty();
        state.rest.clear();
        state.due = Some(state.due.map_or(due, |earlier| earlier.min(due)));
    }
}

impl Job {
    /// Puts these recipients back without an attempt: due again at `due`.
    pub(super) fn put_back(mut self, due: SystemTime) {
        self.settled = true;
        self.claim.put_back(due);
    }

    /// Puts these recipients back because there is no room for them. If other jobs of the message
    /// are running, they wait until one of those has ended. Otherwise the message goes back to the
    /// queue, due at `due`, and this returns true: the caller then has it called when there is
    /// room.
    pub(super) fn put_back_for_free_connection(
        mut self,
        destination: &Destination,
        due: SystemTime,
    ) -> bool {
        self.settled = true;
        // The room is returned before others are notified.
        self.hold = None;
        let mut state = self.claim.state.lock();
        if state.open - state.rest.len() > 1 {
            let places = std::mem::take(&mut self.places);
            state.rest.push_back((destination.clone(), places));
            return false;
        }
        self.claim.drop_rest(&mut state, due);
        state.is_unfinished = true;
        state.open -= 1;
        self.claim.close(state);
        true
    }

    /// Records the outcomes of the attempt. While the disk refuses, this waits.
    pub(super) async fn record(self, outcomes: Vec<(usize, Outcome)>) {
        self.settle(outcomes, None).await;
    }

    /// Records that there was no attempt, and why: these recipients are due again at `due`. For the
    /// consequences of the message's age. While the disk refuses, this waits.
    pub(super) async fn record_without_attempt(self, why: OutcomeReason, due: SystemTime) {
        let is_new = |place: &usize| {
            let recipient = self.entry.recipients.get(*place);
            recipient.is_some_and(|it| it.state == RecipientState::Pending(None))
        };
        let new = self.places.iter().copied().filter(is_new);
        let outcomes = new.map(|place| (place, Outcome::Deferred(why.clone()))).collect();
        self.settle(outcomes, Some(due)).await;
    }

    /// Passes the outcomes on, and waits until they are recorded. The record of a message with many
    /// recipients is written for several results together: with one write for each, the octets
    /// written would grow with the square of the recipients.
    async fn settle(mut self, outcomes: Vec<(usize, Outcome)>, untried_until: Option<SystemTime>) {
        let claim = Arc::clone(&self.claim);
        self.settled = true;
        let others = {
            let mut state = claim.state.lock();
            state.has_recorded |= untried_until.is_none();
            state.due = [state.due, untried_until].into_iter().flatten().min();
            state.results.extend(outcomes);
            state.unwritten += 1;
            state.open -= 1;
            claim.go_on(&mut state);
            let enough = (self.entry.recipients.len() / limits::RECORDS_PER_ATTEMPT).max(1);
            let is_full = state.open == 0 || state.results.len() >= enough;
            // Made under the lock, so that no write is missed.
            (!is_full).then(|| claim.written.notified())
        };
        if let Some(written) = others {
            let _ = timeout(limits::RESULTS_WAIT, written).await;
        }
        claim.write().await;
    }
}

impl MessageClaim {
    fn put_back(self: &Arc<Self>, due: SystemTime) {
        let mut state = self.state.lock();
        state.due = Some(state.due.map_or(due, |earlier| earlier.min(due)));
        state.open -= 1;
        self.go_on(&mut state);
        self.close(state);
    }

    /// Writes results that are not recorded yet. While the disk refuses, this waits.
    async fn write(self: &Arc<Self>) {
        let mut entry = self.entry.lock().await;
        let now = SystemTime::now();
        let (results, jobs, is_last, untried_until) = {
            let mut state = self.state.lock();
            let untried_until = state.due.filter(|_| !state.has_recorded);
            let results = std::mem::take(&mut state.results);
            (results, state.unwritten, state.open == 0, untried_until)
        };
        // Another job has recorded them.
        if jobs == 0 {
            return;
        }
        let before = Entry::clone(&entry);
        let recorded = match untried_until {
            _ if !is_last => self.queue.record_part(before, results, now).await,
            Some(due) => self.queue.record_untried(before, results, due, now).await,
            None => self.queue.record(before, results, now).await,
        };
        // After an error, too, there is no claim left to give back.
        let gone = is_last || recorded.is_err();
        match recorded {
            Ok(after) => *entry = Arc::new(after),
            Err(StoreError::Closed) => {}
            Err(error) => error!(id = %self.id(), %error, "cannot record an attempt"),
        }
        let mut state = self.state.lock();
        state.given_up |= gone;
        state.unwritten -= jobs;
        state.latest = Arc::clone(&entry);
        self.written.notify_waiters();
        self.close(state);
    }

    /// The next group may be tried.
    fn go_on(self: &Arc<Self>, state: &mut State) {
        if !state.rest.is_empty() && self.onward.send(Arc::clone(self)).is_err() {
            self.drop_rest(state, SystemTime::now());
        }
    }

    /// A job has ended. The last one gives up the claim, unless recording did.
    fn close(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        if state.open > 0 || state.unwritten > 0 || state.given_up {
            return;
        }
        state.given_up = true;
        let now = SystemTime::now();
        let scheduled = || self.queue.due_after_part(&state.latest, now);
        let due = match state.due {
            Some(due) if state.is_unfinished => due.min(scheduled()),
            _ if state.has_recorded => scheduled(),
            due => due.unwrap_or(now),
        };
        self.queue.store().put_back(self.claimed.id, due);
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if !self.settled {
            let id = self.entry.id;
            warn!(%id, "internal error in an attempt; the message returns to the queue");
            // Later, so that a repeated panic does not end the attempt again and again without a
            // pause.
            self.claim.put_back(SystemTime::now() + INITIAL_RETRY_INTERVAL);
        }
    }
}
