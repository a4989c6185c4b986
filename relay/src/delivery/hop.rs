//! One next hop: the messages that wait for it, the connections to it, and whether it is alive.
//!
//! A connection takes message after message while some wait. A next hop that cannot be reached is
//! left alone for a while, longer each time; then one connection alone finds out whether it is
//! back. Messages that come up meanwhile are put back, which costs them no attempt.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::Settings;
use super::connection::Connection;
use super::route::SmartHost;
use crate::limits;
use crate::queue::{Answer, Cause, Entry, Outcome, Queue, StoreError};
use crate::smtp::client::Transaction;
use crate::smtp::reply::Enhanced;

/// A message that has been claimed, and the permit that bounds how many are.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) entry: Entry,
    pub(super) _permit: OwnedSemaphorePermit,
}

/// A next hop and its workers.
#[derive(Debug)]
pub(super) struct Hop {
    name: String,
    host: SmartHost,
    queue: Queue,
    settings: Settings,
    state: Mutex<State>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Job>,
    workers: JoinSet<()>,
    /// Workers that have not decided to end.
    alive: usize,
    /// Workers that wait for a job.
    idle: usize,
    /// Failed connections in a row.
    failures: u32,
    paused_until: Option<Instant>,
    closing: bool,
}

impl Hop {
    pub(super) fn new(host: SmartHost, queue: Queue, settings: Settings) -> Arc<Self> {
        let name = host.to_string();
        let (state, arrived) = (Mutex::default(), Notify::new());
        Arc::new(Self { name, host, queue, settings, state, arrived })
    }

    /// How long the next hop is still to be left alone.
    pub(super) fn pause(&self) -> Option<Duration> {
        let until = self.state().paused_until?;
        let pause = until.saturating_duration_since(Instant::now());
        Some(pause).filter(|pause| !pause.is_zero())
    }

    /// Hands a message to a worker.
    pub(super) fn push(self: &Arc<Self>, job: Job) {
        let mut state = self.state();
        state.waiting.push_back(job);
        self.staff(&mut state);
    }

    /// Puts back what waits and lets attempts under way end, for a bounded time.
    pub(super) async fn close(&self) {
        let (waiting, mut workers) = {
            let mut state = self.state();
            state.closing = true;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.workers))
        };
        for job in waiting {
            self.queue.store().put_back(job.entry.id, job.entry.due);
        }
        self.arrived.notify_waiters();
        let drained =
            timeout(limits::DELIVERY_DRAIN, async { while workers.join_next().await.is_some() {} });
        if drained.await.is_err() {
            warn!(hop = self.name, attempts = workers.len(), "attempts are cut off");
            workers.shutdown().await;
        }
    }

    /// A poisoned lock is as good as any: no invariant spans two of the fields.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes or spawns workers for what waits.
    fn staff(self: &Arc<Self>, state: &mut State) {
        while state.workers.try_join_next().is_some() {}
        let most = if state.failures > 0 { 1 } else { self.settings.concurrency };
        if state.closing {
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

    /// Delivers message after message, over one connection as long as it holds.
    async fn work(self: Arc<Self>) {
        let mut connection = None;
        while let Some(job) = self.next_job(connection.is_some()).await {
            match self.pause() {
                Some(pause) => self.postpone(job.entry, pause).await,
                None => self.attempt(&mut connection, job.entry).await,
            }
        }
        if let Some(connection) = connection {
            connection.quit().await;
        }
    }

    /// The next message. None ends the worker: at once without a connection to keep, else when
    /// nothing came for a while.
    async fn next_job(&self, has_connection: bool) -> Option<Job> {
        let patience = if has_connection { self.settings.idle } else { Duration::ZERO };
        let deadline = Instant::now() + patience;
        loop {
            let arrived = self.arrived.notified();
            {
                let mut state = self.state();
                if let Some(job) = state.waiting.pop_front() {
                    return Some(job);
                }
                // Decided under the lock that `push` takes, so that no job is left alone.
                if state.closing || Instant::now() >= deadline {
                    state.alive -= 1;
                    return None;
                }
                state.idle += 1;
            }
            let _ = tokio::time::timeout_at(deadline, arrived).await;
            self.state().idle -= 1;
        }
    }

    async fn attempt(self: &Arc<Self>, connection: &mut Option<Connection>, entry: Entry) {
        let places: Vec<_> = entry.pending().map(|(place, _)| place).collect();
        let mut outcomes = Vec::with_capacity(places.len());
        for places in places.chunks(limits::RECIPIENTS_PER_TRANSACTION) {
            let of_these = self.transaction(connection, &entry, places).await;
            outcomes.extend(places.iter().copied().zip(of_these));
        }
        self.record(entry, outcomes).await;
    }

    /// One transaction for some of the recipients; one outcome for each.
    async fn transaction(
        self: &Arc<Self>,
        connection: &mut Option<Connection>,
        entry: &Entry,
        places: &[usize],
    ) -> Vec<Outcome> {
        let defer = |cause: Cause| {
            let answer = Answer { hop: Some(self.name.clone()), cause };
            vec![Outcome::Deferred(answer); places.len()]
        };
        let message = match self.queue.store().read(entry.id).await {
            Ok(message) => message,
            Err(error) => {
                error!(id = %entry.id, %error, "cannot read a queued message");
                return defer(Cause::Local { status: Enhanced(4, 3, 0), text: error.to_string() });
            }
        };
        let open = match self.connect(connection).await {
            Ok(open) => open,
            Err(cause) => return defer(cause),
        };
        let recipients = places.iter().filter_map(|&place| entry.recipients.get(place));
        let transaction = Transaction {
            sender: entry.sender.clone(),
            recipients: recipients.map(|recipient| recipient.path.clone()).collect(),
            size: entry.size,
            eight_bit: entry.eight_bit,
            smtputf8: entry.needs_smtputf8(),
        };
        open.deliver(transaction, message).await
    }

    /// The open connection, or a new one.
    async fn connect<'a>(
        self: &Arc<Self>,
        connection: &'a mut Option<Connection>,
    ) -> Result<&'a mut Connection, Cause> {
        if let Some(mut open) = connection.take()
            && open.ready().await
        {
            return Ok(connection.insert(open));
        }
        let open = self.open().await.inspect_err(|cause| self.failed(cause))?;
        self.succeeded();
        Ok(connection.insert(open))
    }

    async fn open(&self) -> Result<Connection, Cause> {
        let addresses = self.host.addresses().await.map_err(|error| Cause::Local {
            // X.4.3 of RFC 3463: directory server failure.
            status: Enhanced(4, 4, 3),
            text: error.to_string(),
        })?;
        Connection::open(&self.name, &addresses, &self.settings).await
    }

    fn succeeded(self: &Arc<Self>) {
        let mut state = self.state();
        if std::mem::take(&mut state.failures) > 0 {
            state.paused_until = None;
            info!(hop = self.name, "the next hop answers again");
            self.staff(&mut state);
        }
    }

    fn failed(&self, cause: &Cause) {
        let mut state = self.state();
        let now = Instant::now();
        // Workers that were connecting at the same time have made the same discovery.
        if state.paused_until.is_some_and(|until| until > now) {
            return;
        }
        let doublings = state.failures.min(31);
        state.failures = state.failures.saturating_add(1);
        let pause = self.settings.pause_first.saturating_mul(1 << doublings);
        let pause = pause.min(self.settings.pause_longest);
        state.paused_until = Some(now + pause);
        let answer = Answer { hop: None, cause: cause.clone() };
        warn!(hop = self.name, seconds = pause.as_secs(), %answer, "the next hop is left alone");
    }

    /// Puts a message back until the next hop is tried again, unless its time is over.
    pub(super) async fn postpone(&self, entry: Entry, pause: Duration) {
        let now = SystemTime::now();
        if self.queue.has_expired(&entry, now) {
            let text = "the next hop could not be reached lately and is left alone for now";
            let answer = Answer::local(Some(&self.name), Enhanced(4, 4, 1), text);
            let outcome = Outcome::Deferred(answer);
            let outcomes = entry.pending().map(|(place, _)| (place, outcome.clone())).collect();
            self.record(entry, outcomes).await;
        } else {
            self.queue.store().put_back(entry.id, now + pause);
        }
    }

    async fn record(&self, entry: Entry, outcomes: Vec<(usize, Outcome)>) {
        let id = entry.id;
        log_attempt(&self.name, &entry, &outcomes);
        match self.queue.record(entry, outcomes, SystemTime::now()).await {
            Ok(_) | Err(StoreError::Closed) => {}
            Err(error) => error!(%id, %error, "cannot record an attempt"),
        }
    }
}

/// One line for each attempt.
fn log_attempt(hop: &str, entry: &Entry, outcomes: &[(usize, Outcome)]) {
    let (mut delivered, mut deferred, mut failed) = (0, 0, 0);
    let mut replies = Vec::new();
    for (_, outcome) in outcomes {
        let (count, answer) = match outcome {
            Outcome::Delivered(answer) => (&mut delivered, answer),
            Outcome::Deferred(answer) => (&mut deferred, answer),
            Outcome::Failed(answer) => (&mut failed, answer),
        };
        *count += 1;
        let said = Answer { hop: None, cause: answer.cause.clone() }.to_string();
        if !replies.contains(&said) {
            replies.push(said);
        }
    }
    let recipients: Vec<_> = outcomes
        .iter()
        .filter_map(|(place, _)| entry.recipients.get(*place))
        .map(|recipient| recipient.path.to_string())
        .collect();
    info!(
        id = %entry.id,
        hop,
        sender = %entry.sender,
        recipients = recipients.join(" "),
        delivered,
        deferred,
        failed,
        replies = replies.join(" | "),
        "attempt"
    );
}
