//! How does a worker of a next hop deliver its messages, one after the other, over one connection
//! as long as it can be used?
//!
//! [`transaction`]: the result of one transaction.

mod transaction;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::hop::Hop;
use crate::job::Job;
use crate::maildir;
use crate::reach::candidates;
use crate::route::Destination;
use crate::servers::{
    CandidateServers, CountedConnection, end, is_for_another_server, is_for_another_transaction,
};
use crate::worker::transaction::TransactionEnd;
use relay_mail::outcome::{Outcome, OutcomeReason};
use relay_mail::reply::Enhanced;
use relay_queue::Entry;
use relay_queue::event::{Attempt, NextHopConnection, QueueEvent};
use tracing::info;

/// The worker's next step after a job.
enum After {
    /// The next job.
    GoesOn,
    /// It ends, and another worker continues with the job: the next hop allows no further
    /// connection.
    Ends(Job),
}

impl Hop {
    /// Delivers message after message, over one connection as long as it can be used.
    pub(super) async fn work(self: Arc<Self>) {
        let mut line = None;
        while let Some(job) = self.next_job(line.as_ref().map(CountedConnection::address)).await {
            let after = match self.remaining_back_off() {
                // A connection that works is used in spite of the back-off.
                Some(pause) if line.is_none() => {
                    self.postpone(job, pause).await;
                    After::GoesOn
                }
                _ => self.attempt(&mut line, job).await,
            };
            if let After::Ends(job) = after {
                self.hand_over(job);
                break;
            }
        }
        if let Some(line) = line {
            line.connection.quit().await;
        }
    }

    async fn attempt(
        self: &Arc<Self>,
        line: &mut Option<CountedConnection>,
        mut job: Job,
    ) -> After {
        let _under_way = self.begins();
        if let Destination::Maildir(directory) = &self.destination {
            let outcomes = self.store(directory, &job).await;
            self.record_result(outcomes.iter().map(|(_, outcome)| outcome));
            self.record(job, None, outcomes).await;
            return After::GoesOn;
        }
        let mut outcomes = Vec::with_capacity(job.places.len());
        let mut servers = CandidateServers::new(self.patience(&job), job.entry.id);
        let (mut waiting, most) = self.order_recipients(&job);
        let mut refused = Vec::new();
        loop {
            while !waiting.is_empty() {
                let places: Vec<_> = waiting.drain(..waiting.len().min(most)).collect();
                let done = self.transaction(line, &job, &places, &mut servers).await;
                let is_first = !servers.has_outcome && servers.earlier.is_empty();
                let (of_these, server) = match done {
                    TransactionEnd::Outcomes(outcomes, server) => (outcomes, server),
                    TransactionEnd::Surplus => {
                        job.was_surplus = true;
                        return After::Ends(job);
                    }
                    TransactionEnd::Full(key) if is_first => {
                        self.wait_for_remote(job, key);
                        return After::GoesOn;
                    }
                    TransactionEnd::Stopped if is_first => {
                        job.put_back(SystemTime::now());
                        return After::GoesOn;
                    }
                    TransactionEnd::Full(_) | TransactionEnd::Stopped => {
                        // The known outcomes are recorded; the other recipients stay as they were.
                        refused.extend(places.into_iter().chain(waiting.drain(..)));
                        break;
                    }
                };
                // Each transaction before such a deferral delivers to at least one recipient, so
                // there are no more transactions than recipients.
                let has_delivered = of_these
                    .iter()
                    .any(|o| matches!(o, Outcome::Delivered(_) | Outcome::Relayed(_)));
                let mut refused_here = 0;
                for (place, outcome) in places.into_iter().zip(of_these) {
                    let again = has_delivered && is_for_another_transaction(&outcome);
                    if again || servers.may_retry_on_next_server(&outcome) {
                        waiting.push_back(place);
                    } else if server.is_some() && is_for_another_server(&outcome) {
                        refused_here += 1;
                        servers.remember(place, outcome);
                        refused.push(place);
                    } else {
                        servers.earlier.remove(&place);
                        servers.has_outcome = true;
                        outcomes.push((place, outcome));
                    }
                }
                servers.refuses_all &= refused_here > 0 && !has_delivered;
            }
            if refused.is_empty() || !self.change_server(line, &mut servers).await {
                break;
            }
            waiting.extend(refused.drain(..));
        }
        let known = refused.into_iter();
        outcomes.extend(known.filter_map(|place| Some((place, servers.earlier.remove(&place)?))));
        let connected = line.as_ref().map(|line| line.connection.connected());
        self.restore(line, servers);
        self.record(job, connected, outcomes).await;
        After::GoesOn
    }

    /// If the server has refused recipients for a reason that another server may not have, and
    /// there is another: puts its connection aside and returns true.
    async fn change_server(
        &self,
        line: &mut Option<CountedConnection>,
        servers: &mut CandidateServers,
    ) -> bool {
        let Some(open) = line.as_ref() else { return false };
        let address = open.connection.address();
        servers.tried.push(address);
        let Ok(found) = candidates(&self.destination, &self.settings).await else { return false };
        if found.iter().all(|candidate| servers.tried.contains(&candidate.address)) {
            return false;
        }
        if servers.refuses_all {
            self.remember_failed(vec![address]);
        }
        match servers.aside {
            None if !servers.refuses_all => servers.aside = line.take(),
            _ => end(line.take()),
        }
        servers.refuses_all = true;
        true
    }

    /// A server that refused only some recipients can still be used for other messages.
    fn restore(&self, line: &mut Option<CountedConnection>, servers: CandidateServers) {
        if let Some(aside) = servers.aside {
            end(line.replace(aside));
        }
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

    /// Puts a message back until the next hop is tried again, and sends its sender a report if one
    /// is due.
    async fn postpone(&self, job: Job, pause: Duration) {
        let now = SystemTime::now();
        if self.queue.has_pending_report(&job.entry, now) {
            let text = "the next hop could not be reached and is in back-off";
            let why = OutcomeReason::local(Some(&self.name), Enhanced(4, 4, 1), text);
            job.record_without_attempt(why, now + pause).await;
        } else {
            self.put_off(job, pause);
        }
    }

    async fn record(
        &self,
        job: Job,
        connection: Option<Arc<NextHopConnection>>,
        outcomes: Vec<(usize, Outcome)>,
    ) {
        log_attempt(&self.name, &job.entry, &outcomes);
        self.queue.tell(job.entry.id, || {
            QueueEvent::Attempted(Box::new(Attempt {
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
        let said = OutcomeReason { hop: None, cause: answer.cause.clone() }.to_string();
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
