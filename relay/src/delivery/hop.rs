//! One next hop: the messages that wait for it, the connections to it, and whether it is alive.
//!
//! A connection takes message after message while some wait. A next hop that cannot be reached is
//! left alone for a while, longer each time; then one connection alone finds out whether it is
//! back. Messages that come up meanwhile are put back, which costs them no attempt, and so are those
//! that there is no room for; [`super::parking`] knows which of them to fetch.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

use super::Settings;
use super::concurrency::Window;
use super::job::Job;
use super::parking::Parking;
use super::reach::Candidate;
use super::route::Destination;
use crate::limits;
use crate::queue::{Answer, Cause, Outcome, Queue};

/// A next hop and its workers.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) name: String,
    pub(super) destination: Destination,
    pub(super) queue: Queue,
    pub(super) settings: Arc<Settings>,
    state: Mutex<State>,
    arrived: Notify,
    /// Becomes true when no attempt is to begin any more.
    pub(super) closing: watch::Sender<bool>,
    /// Becomes true when attempts under way are to end.
    pub(super) cut: watch::Sender<bool>,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Job>,
    workers: JoinSet<()>,
    /// Workers that have not decided to end.
    alive: usize,
    /// Workers that wait for a job.
    idle: usize,
    window: Window,
    parking: Parking,
    /// Messages that come up when the pause ends.
    returning: usize,
    /// Failed connections in a row.
    failures: u32,
    paused_until: Option<Instant>,
    /// Addresses that could not be used, and until when they come after the others.
    last: HashMap<SocketAddr, Instant>,
    /// Addresses that did not bear what they offered, and until when they are spoken to plainly.
    plainly: HashMap<SocketAddr, Instant>,
}

impl Hop {
    pub(super) fn new(
        destination: Destination,
        queue: Queue,
        settings: Arc<Settings>,
    ) -> Arc<Self> {
        let name = destination.to_string();
        let state = State {
            waiting: VecDeque::new(),
            workers: JoinSet::new(),
            alive: 0,
            idle: 0,
            window: Window::new(settings.concurrency),
            parking: Parking::default(),
            returning: 0,
            failures: 0,
            paused_until: None,
            last: HashMap::new(),
            plainly: HashMap::new(),
        };
        let (closing, cut) = (watch::Sender::new(false), watch::Sender::new(false));
        Arc::new(Self {
            name,
            destination,
            queue,
            settings,
            state: Mutex::new(state),
            arrived: Notify::new(),
            closing,
            cut,
        })
    }

    /// Hands a message to a worker, or puts it back until the next hop is tried again or has
    /// room. No next hop takes more of the messages in hand than are left for all others, which
    /// is `free`. Never waits: what has to be written, a worker writes.
    pub(super) fn push(self: &Arc<Self>, job: Job, free: usize) {
        let pause = self.pause();
        let mut state = self.state();
        state.parking.came(job.entry.id);
        if let Some(pause) = pause
            && !self.queue.owes_a_report(&job.entry, SystemTime::now())
        {
            drop(state);
            return self.put_off(job, pause);
        }
        let room = free.max(self.settings.concurrency * limits::CLAIMS_PER_CONNECTION);
        if state.waiting.len() >= room {
            drop(state);
            return match pause {
                // Its sender is to be told something, and nobody fetches it meanwhile.
                Some(_) => self.put_back(job, limits::REPORT_LOOK),
                None => self.park(job),
            };
        }
        state.waiting.push_back(job);
        self.staff(&mut state);
    }

    /// Puts a message back while the next hop is left alone. A few come up when the pause ends, and
    /// the others once it is known to be alive.
    pub(super) fn put_off(&self, job: Job, pause: Duration) {
        let comes_up = {
            let mut state = self.state();
            state.returning += 1;
            state.returning <= limits::PAUSE_ENDS_WITH
        };
        if comes_up { self.put_back(job, pause) } else { self.park(job) }
    }

    /// Puts a message back until there is room.
    fn park(&self, job: Job) {
        let id = job.entry.id;
        // First: one that is claimed still cannot be fetched.
        self.put_back(job, limits::PARKED_LOOK);
        let mut state = self.state();
        state.parking.park(id);
        // There may be room by now, and nobody left to notice.
        self.fetch(&mut state);
    }

    /// Puts a message back for a while, but not beyond the time when its sender is to be warned.
    fn put_back(&self, job: Job, wait: Duration) {
        let now = SystemTime::now();
        let due = self.queue.wakes(&job.entry, now + wait, now);
        job.put_back(due);
    }

    /// Makes messages due that there is room for now; all of them when nobody here will.
    fn fetch(&self, state: &mut State) {
        let ids = if *self.closing.borrow() {
            state.parking.take()
        } else if state.failures > 0 {
            return;
        } else {
            state.parking.next(state.waiting.len())
        };
        self.queue.store().bring_forward(&ids, SystemTime::now());
    }

    /// Is there nothing to do and nothing to remember?
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        let is_known = state.failures > 0 || !state.parking.is_empty();
        state.alive == 0 && state.waiting.is_empty() && !is_known
    }

    /// Puts back what waits, and what is without a connection yet, and lets attempts under way end.
    /// Those that take longer than [`Settings::drain`] are cut off, except after the end of data:
    /// then the next hop may have the message already, and only its reply keeps it from being sent
    /// again. These end with the time-out for that reply.
    pub(super) async fn close(&self) {
        let (waiting, mut workers) = {
            let mut state = self.state();
            // Under the lock, so that no worker begins after it.
            self.closing.send_replace(true);
            self.fetch(&mut state);
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.workers))
        };
        for job in waiting {
            job.put_back(SystemTime::now());
        }
        self.arrived.notify_waiters();
        if timeout(self.settings.drain, all_end(&mut workers)).await.is_err() {
            let attempts = workers.len();
            warn!(hop = self.name, attempts, "attempts that are not at their end are cut off");
            self.cut.send_replace(true);
            all_end(&mut workers).await;
        }
    }

    /// How long the next hop is still to be left alone.
    pub(super) fn pause(&self) -> Option<Duration> {
        let until = self.state().paused_until?;
        let pause = until.saturating_duration_since(Instant::now());
        Some(pause).filter(|pause| !pause.is_zero())
    }

    /// It is left alone no longer. One connection alone finds out whether it is back, as ever.
    pub(super) fn resume(&self) {
        self.state().paused_until = None;
    }

    /// A poisoned lock is as good as any: no invariant spans two of the fields.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes or spawns workers for what waits.
    fn staff(self: &Arc<Self>, state: &mut State) {
        while state.workers.try_join_next().is_some() {}
        let most = if state.failures > 0 { 1 } else { state.window.size() };
        if *self.closing.borrow() {
            return;
        }
        if state.idle > 0 {
            self.arrived.notify_one();
        }
        if state.waiting.len() > state.idle && state.alive < most {
            state.alive += 1;
            state.workers.spawn(Arc::clone(self).work());
        }
    }

    /// The next message. None ends the worker: at once without a connection to keep, else when
    /// nothing came for a while.
    pub(super) async fn next_job(&self, has_connection: bool) -> Option<Job> {
        let patience = if has_connection { self.settings.idle } else { Duration::ZERO };
        let deadline = Instant::now() + patience;
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.state();
                if state.alive > state.window.size() {
                    state.alive -= 1;
                    return None;
                }
                let job = state.waiting.pop_front();
                self.fetch(&mut state);
                if job.is_some() {
                    return job;
                }
                // Decided under the lock that `push` takes, so that no job is left alone.
                if *self.closing.borrow() || Instant::now() >= deadline {
                    state.alive -= 1;
                    return None;
                }
                state.idle += 1;
            }
            let _ = tokio::time::timeout_at(deadline, arrived).await;
            self.state().idle -= 1;
        }
    }

    /// There is a connection.
    pub(super) fn succeeded(self: &Arc<Self>) {
        let mut state = self.state();
        if std::mem::take(&mut state.failures) > 0 {
            state.paused_until = None;
            info!(hop = self.name, "the next hop answers again");
            self.staff(&mut state);
        }
    }

    /// There is no way to have a connection now.
    pub(super) fn failed(&self, cause: &Cause) {
        let mut state = self.state();
        let now = Instant::now();
        // Workers that were connecting at the same time have made the same discovery.
        if state.paused_until.is_some_and(|until| until > now) {
            return;
        }
        state.window.failed();
        state.returning = 0;
        let doublings = state.failures.min(31);
        state.failures = state.failures.saturating_add(1);
        let pause = self.settings.pause_first.saturating_mul(1 << doublings);
        let pause = pause.min(self.settings.pause_longest);
        state.paused_until = Some(now + pause);
        let answer = Answer { hop: None, cause: cause.clone() };
        warn!(hop = self.name, seconds = pause.as_secs(), %answer, "the next hop is left alone");
    }

    /// What an attempt says about how much the next hop can take.
    pub(super) fn learn(self: &Arc<Self>, outcomes: &[Outcome]) {
        let mut state = self.state();
        let is_taken =
            |outcome: &Outcome| matches!(outcome, Outcome::Delivered(_) | Outcome::Relayed(_));
        if outcomes.iter().any(is_taken) {
            state.window.succeeded();
            self.staff(&mut state);
        } else if outcomes.iter().any(is_trouble) {
            state.window.failed();
        }
    }

    /// These addresses come after the others for a while.
    pub(super) fn remember_failed(&self, addresses: Vec<SocketAddr>) {
        let mut state = self.state();
        let now = Instant::now();
        state.last.retain(|_, until| *until > now);
        let until = now + limits::ADDRESS_PAUSE;
        state.last.extend(addresses.into_iter().map(|address| (address, until)));
    }

    /// This address did not bear what it offers.
    pub(super) fn remember_misled(&self, address: SocketAddr) {
        let mut state = self.state();
        let now = Instant::now();
        state.plainly.retain(|_, until| *until > now);
        state.plainly.insert(address, now + limits::PLAIN_SPEECH);
    }

    /// The servers to try, in order; those that lately could not be used come last.
    pub(super) fn last_ones_last(&self, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
        let (state, now) = (self.state(), Instant::now());
        let holds = |list: &HashMap<SocketAddr, Instant>, candidate: &Candidate| {
            list.get(&candidate.address).is_some_and(|&until| until > now)
        };
        for candidate in &mut candidates {
            candidate.plainly = holds(&state.plainly, candidate);
        }
        candidates.sort_by_key(|candidate| holds(&state.last, candidate));
        candidates
    }
}

/// Does it show that the next hop has too much, or is in trouble? A refusal of the message is
/// neither.
fn is_trouble(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deferred(Answer { cause: Cause::Reply(reply), .. }) => reply.code == 421,
        Outcome::Deferred(Answer { cause: Cause::Local { .. }, .. }) => true,
        Outcome::Delivered(_) | Outcome::Relayed(_) | Outcome::Failed(_) => false,
    }
}

async fn all_end(workers: &mut JoinSet<()>) {
    while workers.join_next().await.is_some() {}
}
