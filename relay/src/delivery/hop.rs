//! One next hop: the messages that wait for it, the connections to it, and whether it is alive.
//!
//! A connection takes message after message while some wait. A next hop that cannot be reached is
//! left alone for a while, longer each time; then one connection alone finds out whether it is
//! back. Messages that come up meanwhile are put back, which costs them no attempt.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::Settings;
use super::connection::{Connection, cut_off};
use super::job::Job;
use super::route::SmartHost;
use crate::limits;
use crate::queue::{Answer, Cause, Entry, Outcome, Queue};
use crate::smtp::client::{Transaction, says_too_many_recipients};
use crate::smtp::reply::Enhanced;

/// A next hop and its workers.
#[derive(Debug)]
pub(super) struct Hop {
    name: String,
    host: SmartHost,
    queue: Queue,
    settings: Settings,
    state: Mutex<State>,
    arrived: Notify,
    /// Becomes true when attempts under way are to end.
    cut: watch::Sender<bool>,
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
        let (state, arrived, cut) = (Mutex::default(), Notify::new(), watch::Sender::new(false));
        Arc::new(Self { name, host, queue, settings, state, arrived, cut })
    }

    /// Hands a message to a worker, or puts it back until the next hop is tried again. Never
    /// waits: what has to be written, a worker writes.
    pub(super) fn push(self: &Arc<Self>, job: Job) {
        let now = SystemTime::now();
        if let Some(pause) = self.pause()
            && !self.queue.has_expired(&job.entry, now)
        {
            return job.put_back(now + pause);
        }
        let mut state = self.state();
        state.waiting.push_back(job);
        self.staff(&mut state);
    }

    /// Puts back what waits and lets attempts under way end. Those that take longer than
    /// [`Settings::drain`] are cut off, except after the end of data: then the next hop may have
    /// the message already, and only its reply keeps it from being sent again. These end with
    /// the time-out for that reply.
    pub(super) async fn close(&self) {
        let (waiting, mut workers) = {
            let mut state = self.state();
            state.closing = true;
            (std::mem::take(&mut state.waiting), std::mem::take(&mut state.workers))
        };
        for job in waiting {
            let due = job.entry.due;
            job.put_back(due);
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
    fn pause(&self) -> Option<Duration> {
        let until = self.state().paused_until?;
        let pause = until.saturating_duration_since(Instant::now());
        Some(pause).filter(|pause| !pause.is_zero())
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
                Some(pause) => self.postpone(job, pause).await,
                None => self.attempt(&mut connection, job).await,
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

    async fn attempt(self: &Arc<Self>, connection: &mut Option<Connection>, job: Job) {
        let mut waiting: VecDeque<_> = job.entry.pending().map(|(place, _)| place).collect();
        let mut outcomes = Vec::with_capacity(waiting.len());
        while !waiting.is_empty() {
            let most = waiting.len().min(limits::RECIPIENTS_PER_TRANSACTION);
            let places: Vec<_> = waiting.drain(..most).collect();
            let of_these = self.transaction(connection, &job.entry, &places).await;
            // Each transaction that others are put off to delivers to one at least, so there are
            // no more of them than recipients.
            let has_delivered =
                of_these.iter().any(|o| matches!(o, Outcome::Delivered(_) | Outcome::Relayed(_)));
            for (place, outcome) in places.into_iter().zip(of_these) {
                if has_delivered && is_for_another_transaction(&outcome) {
                    waiting.push_back(place);
                } else {
                    outcomes.push((place, outcome));
                }
            }
        }
        self.record(job, outcomes).await;
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
            dsn: entry.dsn.clone(),
            recipients: recipients.map(|recipient| recipient.addressee()).collect(),
            size: entry.size,
            eight_bit: entry.eight_bit,
            binary: entry.binary,
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
        let mut cut = self.cut.subscribe();
        let opened = tokio::select! {
            opened = self.open() => opened,
            () = cut_off(&mut cut) => {
                let text = "the attempt was cut off before there was a connection";
                return Err(Cause::Local { status: Enhanced(4, 3, 2), text: text.to_owned() });
            }
        };
        let open = opened.inspect_err(|cause| self.failed(cause))?;
        self.succeeded();
        Ok(connection.insert(open))
    }

    async fn open(&self) -> Result<Connection, Cause> {
        let addresses = self.host.addresses().await.map_err(|error| Cause::Local {
            // X.4.3 of RFC 3463: directory server failure.
            status: Enhanced(4, 4, 3),
            text: error.to_string(),
        })?;
        Connection::open(&self.name, &addresses, &self.settings, &self.cut.subscribe()).await
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
    async fn postpone(&self, job: Job, pause: Duration) {
        let now = SystemTime::now();
        if self.queue.has_expired(&job.entry, now) {
            let text = "the next hop could not be reached lately and is left alone for now";
            let answer = Answer::local(Some(&self.name), Enhanced(4, 4, 1), text);
            let outcome = Outcome::Deferred(answer);
            let pending = job.entry.pending();
            let outcomes = pending.map(|(place, _)| (place, outcome.clone())).collect();
            self.record(job, outcomes).await;
        } else {
            job.put_back(now + pause);
        }
    }

    async fn record(&self, job: Job, outcomes: Vec<(usize, Outcome)>) {
        log_attempt(&self.name, &job.entry, &outcomes);
        job.record(outcomes).await;
    }
}

/// RFC 5321 section 4.5.3.1.10: recipients beyond the next hop's limit go in a further transaction.
fn is_for_another_transaction(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deferred(Answer { cause: Cause::Reply(reply), .. }) => {
            says_too_many_recipients(reply)
        }
        _ => false,
    }
}

async fn all_end(workers: &mut JoinSet<()>) {
    while workers.join_next().await.is_some() {}
}

/// One line for each attempt.
fn log_attempt(hop: &str, entry: &Entry, outcomes: &[(usize, Outcome)]) {
    let (mut delivered, mut deferred, mut failed) = (0, 0, 0);
    let mut replies = Vec::new();
    for (_, outcome) in outcomes {
        let (count, answer) = match outcome {
            Outcome::Delivered(answer) | Outcome::Relayed(answer) => (&mut delivered, answer),
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
