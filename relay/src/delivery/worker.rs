//! What a worker of a next hop does: message after message, over one connection as long as it
//! holds.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tracing::{error, info};

use super::connection::{Connection, told};
use super::hop::Hop;
use super::job::Job;
use super::maildir;
use super::reach::{Unreachable, candidates};
use super::route::Destination;
use crate::limits;
use crate::queue::{Answer, Cause, Entry, Outcome, StoreError};
use crate::smtp::client::{Transaction, says_too_many_recipients};
use crate::smtp::reply::Enhanced;
use crate::tracking::Happening;
use crate::tracking::event::{Attempt, Connected};

impl Hop {
    /// Delivers message after message, over one connection as long as it holds.
    pub(super) async fn work(self: Arc<Self>) {
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

    async fn attempt(self: &Arc<Self>, connection: &mut Option<Connection>, job: Job) {
        if let Destination::Maildir(directory) = &self.destination {
            let outcomes = self.store(directory, &job).await;
            return self.record(job, None, outcomes).await;
        }
        let mut waiting: VecDeque<_> = job.places.iter().copied().collect();
        let mut outcomes = Vec::with_capacity(waiting.len());
        let mut servers = Servers::default();
        while !waiting.is_empty() {
            let most = waiting.len().min(limits::RECIPIENTS_PER_TRANSACTION);
            let places: Vec<_> = waiting.drain(..most).collect();
            let of_these = self.transaction(connection, &job.entry, &places, &mut servers).await;
            let Some(of_these) = of_these else {
                if outcomes.is_empty() {
                    return job.put_back(SystemTime::now());
                }
                break;
            };
            // Each transaction that others are put off to delivers to one at least, so there are
            // no more of them than recipients.
            let has_delivered =
                of_these.iter().any(|o| matches!(o, Outcome::Delivered(_) | Outcome::Relayed(_)));
            for (place, outcome) in places.into_iter().zip(of_these) {
                let again = has_delivered && is_for_another_transaction(&outcome);
                if again || servers.may_another_take(&outcome) {
                    waiting.push_back(place);
                } else {
                    outcomes.push((place, outcome));
                }
            }
        }
        let connected = connection.as_ref().map(Connection::connected);
        self.record(job, connected, outcomes).await;
    }

    /// One copy for each of the recipients.
    async fn store(&self, directory: &Path, job: &Job) -> Vec<(usize, Outcome)> {
        let mut outcomes = Vec::with_capacity(job.places.len());
        for &place in &job.places {
            let outcome = match self.queue.store().read(job.entry.id).await {
                Ok(message) => maildir::deliver(directory, &job.entry, place, message).await,
                Err(error) => self.unreadable(&job.entry, &error),
            };
            outcomes.push((place, outcome));
        }
        outcomes
    }

    /// One transaction for some of the recipients; one outcome for each. `None` when it did not
    /// begin, since delivery ends.
    async fn transaction(
        self: &Arc<Self>,
        connection: &mut Option<Connection>,
        entry: &Entry,
        places: &[usize],
        servers: &mut Servers,
    ) -> Option<Vec<Outcome>> {
        let answer = |cause| Answer { hop: Some(self.name.clone()), cause };
        let message = match self.queue.store().read(entry.id).await {
            Ok(message) => message,
            Err(error) => return Some(vec![self.unreadable(entry, &error); places.len()]),
        };
        servers.another_may = false;
        let open = match self.connect(connection, servers).await? {
            Ok(open) => open,
            Err(Unreachable::Now(cause)) => {
                // Where nobody else can be reached, the one that broke off is the reason.
                let last = servers.broke_off.clone().unwrap_or_else(|| answer(cause));
                return Some(vec![Outcome::Deferred(last); places.len()]);
            }
            Err(Unreachable::Ever(cause)) => {
                return Some(vec![Outcome::Failed(answer(cause)); places.len()]);
            }
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
        let outcomes = open.deliver(transaction, message).await;
        if open.was_misled() {
            self.remember_misled(open.address());
        }
        if let Some(cause) = open.broke_off() {
            servers.another_may = true;
            servers.broke_off = Some(answer(cause.clone()));
            // Next hops end connections after a number of messages or a while, which says nothing
            // about them.
            if !servers.is_first_on_connection {
                return Some(outcomes);
            }
            self.remember_failed(vec![open.address()]);
            if !open.was_misled() {
                servers.tried.push(open.address());
            }
        }
        self.learn(&outcomes);
        Some(outcomes)
    }

    fn unreadable(&self, entry: &Entry, error: &StoreError) -> Outcome {
        error!(id = %entry.id, %error, "cannot read a queued message");
        Outcome::Deferred(Answer::local(Some(&self.name), Enhanced(4, 3, 0), error.to_string()))
    }

    /// The open connection, or a new one. `None` when delivery ends before there is one: nothing of
    /// a message is under way then, so nothing is waited for.
    async fn connect<'a>(
        self: &Arc<Self>,
        connection: &'a mut Option<Connection>,
        servers: &mut Servers,
    ) -> Option<Result<&'a mut Connection, Unreachable>> {
        let kept = connection.take();
        let usable = async {
            if let Some(mut open) = kept
                && open.ready().await
            {
                return Ok((open, false));
            }
            self.open(&servers.tried).await.map(|open| (open, true))
        };
        let mut closing = self.closing.subscribe();
        let found = tokio::select! {
            biased;
            found = usable => found,
            () = told(&mut closing) => return None,
        };
        Some(match found {
            Ok((open, is_new)) => {
                servers.is_first_on_connection = is_new;
                if is_new {
                    self.succeeded();
                }
                Ok(connection.insert(open))
            }
            Err(unreachable) => {
                if let Unreachable::Now(cause) = &unreachable
                    && servers.tried.is_empty()
                {
                    self.failed(cause);
                }
                Err(unreachable)
            }
        })
    }

    /// A connection to one of its servers, but for those that the attempt broke off at.
    async fn open(&self, tried: &[SocketAddr]) -> Result<Connection, Unreachable> {
        let mut found = candidates(&self.destination, &self.settings).await?;
        found.retain(|candidate| !tried.contains(&candidate.address));
        let found = self.last_ones_last(found);
        let (protocol, security) = (self.destination.protocol(), self.destination.security());
        let (settings, cut) = (&self.settings, self.cut.subscribe());
        let mut failed: Vec<SocketAddr> = Vec::new();
        let opened =
            Connection::open(&found, protocol, security, settings, &cut, &mut failed).await;
        self.remember_failed(failed);
        opened.map_err(Unreachable::Now)
    }

    /// Puts a message back until the next hop is tried again, and tells its sender what there is
    /// to tell.
    async fn postpone(&self, job: Job, pause: Duration) {
        let now = SystemTime::now();
        if self.queue.owes_a_report(&job.entry, now) {
            let text = "the next hop could not be reached lately and is left alone for now";
            let why = Answer::local(Some(&self.name), Enhanced(4, 4, 1), text);
            job.record_untried(why, now + pause).await;
        } else {
            self.put_off(job, pause);
        }
    }

    async fn record(
        &self,
        job: Job,
        connection: Option<Arc<Connected>>,
        outcomes: Vec<(usize, Outcome)>,
    ) {
        log_attempt(&self.name, &job.entry, &outcomes);
        self.queue.tracker().tell(job.entry.id, || {
            Happening::Attempted(Box::new(Attempt {
                entry: Arc::clone(&job.entry),
                next_hop: self.name.clone(),
                is_local: matches!(self.destination, Destination::Maildir(_)),
                connection,
                outcomes: outcomes.clone(),
            }))
        });
        job.record(outcomes).await;
    }
}

/// How far one attempt has come with the servers of a next hop.
#[derive(Debug, Default)]
struct Servers {
    /// Those that broke off before they had the message, over a connection of its own. They are
    /// not asked again in this attempt.
    tried: Vec<SocketAddr>,
    /// Why the last of them did.
    broke_off: Option<Answer>,
    /// The last transaction broke off, so that those who waited for it may be taken by another
    /// server (RFC 5321 section 5.1), or by the same one over another connection. Each time there
    /// is one server less to ask, or no connection that was used before.
    another_may: bool,
    /// Nothing was sent on the connection before.
    is_first_on_connection: bool,
}

impl Servers {
    fn may_another_take(&self, outcome: &Outcome) -> bool {
        let Outcome::Deferred(answer) = outcome else { return false };
        let cause = self.broke_off.as_ref().map(|answer| &answer.cause);
        self.another_may && cause == Some(&answer.cause)
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
