//! One next hop: the messages that wait for it, its connections, and whether it is alive.
//!
//! A connection delivers message after message while some wait. A next hop that cannot be reached
//! is in back-off for a while, longer after each failure; then a single connection finds out
//! whether it is back. Messages that are due meanwhile are put back, which does not count as an
//! attempt, and so are those without room; [`super::wait_for_hop`] knows which of them to fetch.

mod recipients;
mod room;
mod view;
mod workers;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, SystemTime};

use crate::budget::DeliveryBudget;
use crate::concurrency::Window;
use crate::connection::until_true;
use crate::hop::recipients::BrokeOff;
use crate::hop::view::Trouble;
use crate::job::Job;
use crate::reach::Candidate;
use crate::remotes::Remotes;
use crate::route::Destination;
use crate::wait_for_hop::WaitingForHop;
use crate::{Cut, DeliverySettings};
use parking_lot::Mutex;
use relay_mail::outcome::{Cause, Outcome, OutcomeReason};
use relay_queue::Queue;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::task::TaskTracker;
use tracing::warn;

pub(super) use crate::hop::workers::CountedWorker;
use crate::limits;

pub use crate::hop::view::{HopState, HopStatus, Hops};

/// A next hop and its workers.
#[derive(Debug)]
pub(super) struct Hop {
    pub(super) name: String,
    pub(super) destination: Destination,
    pub(super) queue: Queue,
    pub(super) settings: Arc<DeliverySettings>,
    budget: Arc<DeliveryBudget>,
    pub(super) remotes: Arc<Remotes>,
    /// Jobs in hand.
    in_hand: Arc<AtomicUsize>,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug)]
struct State {
    waiting: VecDeque<Job>,
    /// The tracker forgets a worker that has ended: a next hop may fail for days, and there may be
    /// thousands of next hops.
    workers: TaskTracker,
    /// Workers that have not decided to end.
    alive: usize,
    /// Workers that wait for a job.
    idle: usize,
    /// Connections, by address.
    connected: HashMap<SocketAddr, usize>,
    /// Workers that are opening a connection.
    connecting: usize,
    window: Window,
    waiting_for_hop: WaitingForHop,
    /// When the attempts under way began.
    under_way: Vec<Instant>,
    /// When it last replied to a message, with any reply.
    proved: Option<Instant>,
    /// Messages that become due when the back-off ends.
    returning: usize,
    /// Failed connections in a row.
    failures: u32,
    paused_until: Option<Instant>,
    /// Since when it cannot be reached, and why.
    trouble: Option<Trouble>,
    /// Since when it answers, and serves no attempt, and why.
    breaking_off: Option<Trouble>,
    /// Where it last broke off at a RCPT.
    broke_off: Option<BrokeOff>,
    /// Addresses that could not be used, and until when they come after the others.
    last: HashMap<SocketAddr, Instant>,
    /// Addresses that failed with an extension they offer, and until when no extension is used.
    basic_smtp_until: HashMap<SocketAddr, Instant>,
}

impl Hop {
    pub(super) fn new(
        destination: Destination,
        queue: Queue,
        (settings, budget, remotes): (Arc<DeliverySettings>, Arc<DeliveryBudget>, Arc<Remotes>),
    ) -> Arc<Self> {
        let name = destination.to_string();
        let state = State {
            waiting: VecDeque::new(),
            workers: TaskTracker::new(),
            alive: 0,
            idle: 0,
            connected: HashMap::new(),
            connecting: 0,
            window: Window::new(settings.concurrency),
            waiting_for_hop: WaitingForHop::default(),
            under_way: Vec::new(),
            proved: None,
            returning: 0,
            failures: 0,
            paused_until: None,
            trouble: None,
            breaking_off: None,
            broke_off: None,
            last: HashMap::new(),
            basic_smtp_until: HashMap::new(),
        };
        Arc::new(Self {
            name,
            destination,
            queue,
            settings,
            budget,
            remotes,
            in_hand: Arc::default(),
            state: Mutex::new(state),
            arrived: Notify::new(),
        })
    }

    /// Is there nothing to do and nothing to remember? A back-off that has ended is not remembered:
    /// strangers can name any number of next hops.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        let rests = state.paused_until.is_some_and(|until| until > Instant::now());
        state.alive == 0 && state.waiting.is_empty() && state.waiting_for_hop.is_empty() && !rests
    }

    /// Puts back messages that wait or have no connection yet, and lets running attempts end.
    /// Attempts longer than [`DeliverySettings::drain`] are cut off, except after the end of data:
    /// then the next hop may already have the message, and only its reply prevents a second
    /// delivery. These attempts end with the time-out for that reply, or because of
    /// [`DeliverySettings::cut_all`].
    pub(super) async fn close(&self) {
        let (waiting, workers) = {
            let mut state = self.state.lock();
            // Under the lock, so that no worker begins after it.
            self.settings.end.closing.send_replace(true);
            self.fetch_waiting_messages(&mut state);
            (std::mem::take(&mut state.waiting), state.workers.clone())
        };
        workers.close();
        for job in waiting {
            job.put_back(SystemTime::now());
        }
        self.arrived.notify_waiters();
        let mut daemon_ends = self.settings.daemon_ends.subscribe();
        let patience = async {
            tokio::select! {
                () = sleep(self.settings.drain) => {}
                () = until_true(&mut daemon_ends) => sleep(limits::DELIVERY_CUT).await,
            }
        };
        let in_time = tokio::select! {
            biased;
            () = workers.wait() => true,
            () = patience => false,
        };
        if !in_time {
            let attempts = workers.len();
            warn!(
                hop = self.name,
                attempts, "stopping attempts that have not sent their end of data"
            );
            self.settings.end.cut(Cut::Unsent);
            let mut cut_all = self.settings.cut_all.subscribe();
            tokio::select! {
                biased;
                () = workers.wait() => return,
                () = until_true(&mut cut_all) => {}
            }
            self.settings.end.cut(Cut::All);
            workers.wait().await;
        }
    }

    /// How long the next hop is still to be left alone.
    pub(super) fn remaining_back_off(&self) -> Option<Duration> {
        let until = self.state.lock().paused_until?;
        let pause = until.saturating_duration_since(Instant::now());
        Some(pause).filter(|pause| !pause.is_zero())
    }

    /// Ends the back-off. As after every back-off, a single connection finds out whether the next
    /// hop is back.
    pub(super) fn resume(&self) {
        self.state.lock().paused_until = None;
    }

    /// Is no attempt to begin any more?
    fn is_closing(&self) -> bool {
        *self.settings.end.closing.borrow()
    }

    /// Wakes or spawns workers for what waits.
    fn staff(self: &Arc<Self>, state: &mut State) {
        let most = state.most_workers();
        if self.is_closing() {
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

    /// The next message. None ends the worker: at once if it has no connection, otherwise after an
    /// idle time.
    pub(super) async fn next_job(&self, connection: Option<SocketAddr>) -> Option<Job> {
        let patience = if connection.is_some() { self.settings.idle } else { Duration::ZERO };
        let deadline = Instant::now() + patience;
        loop {
            let (arrived, wanted) = (self.arrived.notified(), self.remotes.wanted());
            // If other messages wait for room at its address, an idle connection is not kept.
            let is_kept = connection.is_some_and(|address| !self.remotes.has_waiters(address));
            {
                let mut state = self.state.lock();
                if state.alive > state.most_workers() {
                    state.alive -= 1;
                    return None;
                }
                let job = state.waiting.pop_front();
                self.fetch_waiting_messages(&mut state);
                if job.is_some() {
                    return job;
                }
                // Decided under the lock that `push` uses, so that no job is left without a worker.
                if self.is_closing() || Instant::now() >= deadline || !is_kept {
                    state.alive -= 1;
                    return None;
                }
                state.idle += 1;
            }
            tokio::select! {
                _ = timeout_at(deadline, arrived) => {}
                () = wanted => {}
            }
            self.state.lock().idle -= 1;
        }
    }

    /// There is no way to have a connection now.
    pub(super) fn failed(&self, cause: &Cause) {
        let mut state = self.state.lock();
        let now = Instant::now();
        // Other workers that were connecting at the same time have failed for the same reason.
        if state.paused_until.is_some_and(|until| until > now) {
            return;
        }
        state.window.failed();
        state.returning = 0;
        let pause = self.settings.back_off.pause(state.failures);
        state.failures = state.failures.saturating_add(1);
        state.paused_until = Some(now + pause);
        state.trouble = Some(Trouble::after_failure(state.trouble.take(), cause));
        let answer = OutcomeReason { hop: None, cause: cause.clone() };
        warn!(hop = self.name, seconds = pause.as_secs(), %answer, "the next hop is in back-off");
    }

    /// Records what an attempt shows about the next hop, and about its capacity.
    pub(super) fn record_result<'a>(
        self: &Arc<Self>,
        outcomes: impl Iterator<Item = &'a Outcome> + Clone,
    ) {
        let mut state = self.state.lock();
        let now = Instant::now();
        if outcomes.clone().any(is_proof) {
            state.proved = Some(now);
            state.breaking_off = None;
            self.has_answered(&mut state);
            self.fetch_waiting_messages(&mut state);
        } else if let Some(outcome) = outcomes.clone().find(|outcome| is_trouble(outcome)) {
            let before = state.breaking_off.take();
            state.breaking_off = Some(Trouble::after_failure(before, &outcome.answer().cause));
        }
        if outcomes.clone().any(is_taken) {
            state.window.succeeded(now);
            self.staff(&mut state);
        } else if outcomes.clone().any(is_trouble) {
            state.window.failed();
        }
    }

    /// These addresses come after the others for a while, except those with an open connection.
    pub(super) fn remember_failed(&self, addresses: Vec<SocketAddr>) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.last.retain(|_, until| *until > now);
        let until = now + limits::ADDRESS_PAUSE;
        for address in addresses {
            if !state.connected.contains_key(&address) {
                state.last.insert(address, until);
            }
        }
    }

    /// This address fails with an extension that it offers.
    pub(super) fn remember_pipelining_failure(&self, address: SocketAddr) {
        let mut state = self.state.lock();
        let now = Instant::now();
        state.basic_smtp_until.retain(|_, until| *until > now);
        state.basic_smtp_until.insert(address, now + limits::PLAIN_SPEECH);
    }

    /// The servers to try, in order; those that recently failed come last.
    pub(super) fn deprioritise_recently_failed(
        &self,
        mut candidates: Vec<Candidate>,
    ) -> Vec<Candidate> {
        let (state, now) = (self.state.lock(), Instant::now());
        let holds = |list: &HashMap<SocketAddr, Instant>, candidate: &Candidate| {
            list.get(&candidate.address).is_some_and(|&until| until > now)
        };
        for candidate in &mut candidates {
            candidate.use_basic_smtp = holds(&state.basic_smtp_until, candidate);
        }
        candidates.sort_by_key(|candidate| holds(&state.last, candidate));
        candidates
    }
}

impl State {
    /// Connections.
    fn open(&self) -> usize {
        self.connected.values().sum()
    }

    /// While the next hop does not reply, a single connection finds out whether it is back; stalled
    /// connections do not prevent it.
    fn most_workers(&self) -> usize {
        if self.failures > 0 { self.open() + 1 } else { self.window.size() }
    }

    /// Has an attempt been running for long, and has none ended meanwhile?
    fn is_stalled(&self, now: Instant) -> bool {
        self.stalled_since(now).is_some()
    }

    /// Since when an attempt has been running for long while none has ended.
    fn stalled_since(&self, now: Instant) -> Option<Instant> {
        let oldest = *self.under_way.iter().min()?;
        let since = self.proved.map_or(oldest, |proved| proved.max(oldest));
        (now.saturating_duration_since(since) >= limits::STALLED_AFTER).then_some(since)
    }
}

fn is_taken(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Delivered(_) | Outcome::Relayed(_))
}

/// Does the outcome show that the next hop is alive? Its reply to the message does not matter.
fn is_proof(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Delivered(_) | Outcome::Relayed(_) => true,
        Outcome::Deferred(answer) | Outcome::Failed(answer) => {
            matches!(&answer.cause, Cause::Reply { reply, .. } if reply.code != 421)
        }
    }
}

/// Does the outcome show that the next hop is overloaded or fails? A refusal of the message shows
/// neither.
fn is_trouble(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deferred(OutcomeReason { cause: Cause::Reply { reply, .. }, .. }) => {
            reply.code == 421
        }
        // X.3.n of RFC 3463 is about this host: a message that cannot be read, a stop of the
        // daemon.
        Outcome::Deferred(OutcomeReason { cause: Cause::Local { status, .. }, .. }) => {
            status.1 != 3
        }
        Outcome::Delivered(_) | Outcome::Relayed(_) | Outcome::Failed(_) => false,
    }
}
