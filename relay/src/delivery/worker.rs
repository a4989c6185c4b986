//! What a worker of a next hop does: message after message, over one connection as long as it
//! holds.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use relay_mail::outcome::{Answer, Cause, Outcome};
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Enhanced;
use relay_mail::store_error::StoreError;
use relay_smtp::client::{MailRefusal, Transaction};
use tracing::{error, info};

use super::connection::{Connection, Dial, told};
use super::hop::Hop;
use super::job::Job;
use super::maildir;
use super::reach::{Unreachable, candidates};
use super::remotes::Key;
use super::route::Destination;
use super::servers::{Line, Servers, end, is_for_another_server, is_for_another_transaction};
use crate::limits;
use crate::queue::Entry;
use crate::queue::event::{Attempt, Connected, QueueEvent};

/// What a worker does after a job.
enum After {
    /// The next one.
    GoesOn,
    /// It ends, and another worker takes the job: the next hop allows no further connection.
    Ends(Job),
}

/// What a transaction came to.
enum Done {
    /// One outcome for each recipient, and the server that named them, if it was one.
    Outcomes(Vec<Outcome>, Option<SocketAddr>),
    /// It did not begin, since delivery ends.
    Stopped,
    /// It did not begin: the next hop serves others of our connections, and not this one.
    Surplus,
    /// It did not begin: there is no room for a further connection to this address.
    Full(Key),
}

impl Hop {
    /// Delivers message after message, over one connection as long as it holds.
    pub(super) async fn work(self: Arc<Self>) {
        let mut line = None;
        while let Some(job) = self.next_job(line.as_ref().map(Line::address)).await {
            let after = match self.pause() {
                // What works goes on.
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

    async fn attempt(self: &Arc<Self>, line: &mut Option<Line>, mut job: Job) -> After {
        let _under_way = self.begins();
        if let Destination::Maildir(directory) = &self.destination {
            let outcomes = self.store(directory, &job).await;
            self.learn(outcomes.iter().map(|(_, outcome)| outcome));
            self.record(job, None, outcomes).await;
            return After::GoesOn;
        }
        let mut outcomes = Vec::with_capacity(job.places.len());
        let mut servers = Servers::new(self.patience(&job), job.entry.id);
        let (mut waiting, most) = self.arrange(&job);
        let mut refused = Vec::new();
        loop {
            while !waiting.is_empty() {
                let places: Vec<_> = waiting.drain(..waiting.len().min(most)).collect();
                let done = self.transaction(line, &job, &places, &mut servers).await;
                let is_first = !servers.has_outcome && servers.earlier.is_empty();
                let (of_these, server) = match done {
                    Done::Outcomes(outcomes, server) => (outcomes, server),
                    Done::Surplus => {
                        job.was_surplus = true;
                        return After::Ends(job);
                    }
                    Done::Full(key) if is_first => {
                        self.wait_for_remote(job, key);
                        return After::GoesOn;
                    }
                    Done::Stopped if is_first => {
                        job.put_back(SystemTime::now());
                        return After::GoesOn;
                    }
                    Done::Full(_) | Done::Stopped => {
                        // What is known of these is recorded; the others stay as they were.
                        refused.extend(places.into_iter().chain(waiting.drain(..)));
                        break;
                    }
                };
                // Each transaction that others are put off to delivers to one at least, so there
                // are no more of them than recipients.
                let has_delivered = of_these
                    .iter()
                    .any(|o| matches!(o, Outcome::Delivered(_) | Outcome::Relayed(_)));
                let mut refused_here = 0;
                for (place, outcome) in places.into_iter().zip(of_these) {
                    let again = has_delivered && is_for_another_transaction(&outcome);
                    if again || servers.may_another_take(&outcome) {
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

    /// Where the server has refused recipients for a reason that another may not have, and there
    /// is another: its connection is put aside, and true is returned.
    async fn change_server(&self, line: &mut Option<Line>, servers: &mut Servers) -> bool {
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

    /// A server that refused some recipients only goes on to be used for other messages.
    fn restore(&self, line: &mut Option<Line>, servers: Servers) {
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

    /// One transaction for some of the recipients. A connection that was used before may have served
    /// its time, with whatever code the next hop says so: only what a new one says of MAIL counts.
    async fn transaction(
        self: &Arc<Self>,
        line: &mut Option<Line>,
        job: &Job,
        places: &[usize],
        servers: &mut Servers,
    ) -> Done {
        let done = self.transaction_on(line, job, places, servers).await;
        let refusal = line.as_ref().and_then(|open| open.connection.mail_refusal());
        if servers.is_first_on_connection || refusal.is_none() {
            return done;
        }
        end(line.take());
        self.transaction_on(line, job, places, servers).await
    }

    /// One transaction on the connection that is open, or a new one.
    async fn transaction_on(
        self: &Arc<Self>,
        line: &mut Option<Line>,
        job: &Job,
        places: &[usize],
        servers: &mut Servers,
    ) -> Done {
        let entry = &job.entry;
        let answer = |cause| Answer { hop: Some(self.name.clone()), cause };
        servers.another_may = false;
        let open = match self.connect(line, servers).await {
            None => return Done::Stopped,
            Some(Ok(open)) => &mut open.connection,
            Some(Err(Unreachable::Full(key))) => return Done::Full(key),
            Some(Err(Unreachable::Now(cause))) => {
                if servers.is_untouched() && self.is_surplus(0) {
                    return Done::Surplus;
                }
                // Where no other can be reached, the one that broke off is the reason.
                let last = servers.broke_off.clone().unwrap_or_else(|| answer(cause));
                let outcomes = places.iter().map(|place| match servers.earlier.remove(place) {
                    Some(Outcome::Deferred(known)) => Outcome::Deferred(known),
                    _ => Outcome::Deferred(last.clone()),
                });
                return Done::Outcomes(outcomes.collect(), None);
            }
            Some(Err(Unreachable::Ever(cause))) => {
                return Done::Outcomes(vec![Outcome::Failed(answer(cause)); places.len()], None);
            }
        };
        // Not before there is a connection: without room for one the message is not needed.
        let message = match self.queue.store().read(entry.id).await {
            Ok(message) => message,
            Err(error) => {
                return Done::Outcomes(vec![self.unreadable(entry, &error); places.len()], None);
            }
        };
        let recipients = places.iter().filter_map(|&place| entry.recipients.get(place));
        let transaction = Transaction {
            sender: entry.sender.clone(),
            dsn: entry.dsn.clone(),
            recipients: recipients.map(|recipient| recipient.addressee()).collect(),
            size: entry.size_as_sent(self.destination.security().send_organization_headers),
            unterminated: entry.unterminated,
            eight_bit: entry.eight_bit,
            binary: entry.binary,
            smtputf8: entry.message_needs_smtputf8(),
        };
        let adapted = self.adapted(&open.capabilities(), entry, &transaction).await;
        let (transaction, message) = adapted.unwrap_or((transaction, message));
        let outcomes = open.deliver(transaction, message, &servers.patience).await;
        let (address, broke_off) = (open.address(), open.broke_off().cloned());
        if open.was_misled() {
            self.remember_misled(address);
        }
        let is_refused = broke_off.is_some() && !open.was_misled()
            || open.mail_refusal() == Some(MailRefusal::Connection);
        if is_refused
            && servers.is_first_on_connection
            && servers.is_untouched()
            && !job.was_surplus
            && self.is_surplus(1)
        {
            end(line.take());
            return Done::Surplus;
        }
        if let Some(accepted) = open.broke_off_at_recipient() {
            self.remember_break(accepted, places.len());
        }
        if let Some(cause) = broke_off {
            servers.another_may = true;
            servers.broke_off = Some(answer(cause));
            // Next hops end connections after a number of messages or a while, which says nothing
            // about them.
            if !servers.is_first_on_connection {
                return Done::Outcomes(outcomes, Some(address));
            }
            self.remember_failed(vec![address]);
            if !open.was_misled() {
                servers.tried.push(address);
            }
        }
        self.learn(outcomes.iter());
        Done::Outcomes(outcomes, Some(address))
    }

    fn unreadable(&self, entry: &Entry, error: &StoreError) -> Outcome {
        error!(id = %entry.id, %error, "cannot read a queued message");
        Outcome::Deferred(Answer::local(Some(&self.name), Enhanced(4, 3, 0), error.to_string()))
    }

    /// The open connection, or a new one. `None` when delivery ends before there is one: nothing of
    /// a message is under way then, so nothing is waited for.
    async fn connect<'a>(
        self: &Arc<Self>,
        line: &'a mut Option<Line>,
        servers: &mut Servers,
    ) -> Option<Result<&'a mut Line, Unreachable>> {
        let (kept, began) = (line.take(), Instant::now());
        let mut failed = Vec::new();
        let Servers { tried, patience, id, .. } = servers;
        let usable = async {
            if let Some(mut open) = kept
                && open.connection.ready().await
            {
                return Ok((open, false));
            }
            let connecting = self.connects();
            let opened = self.open(tried, *id, &mut failed).await;
            drop(connecting);
            let connection = opened?;
            let _counted = self.connected(connection.address());
            Ok((Line { connection, _counted }, true))
        };
        let mut closing = self.settings.end.closing.subscribe();
        let found = tokio::select! {
            biased;
            found = usable => found,
            () = told(&mut closing) => return None,
            () = patience.ends() => {
                let text = "no server of the next hop could be used in the time of one attempt";
                // X.4.1 of RFC 3463: no answer from host.
                let status = Enhanced(4, 4, 1);
                Err(Unreachable::Now(Cause::Local { status, text: text.to_owned() }))
            }
        };
        Some(match found {
            Ok((open, is_new)) => {
                self.remember_failed(failed);
                servers.is_first_on_connection = is_new;
                Ok(line.insert(open))
            }
            Err(Unreachable::Now(cause)) if servers.tried.is_empty() && !self.has_others() => {
                // Another next hop may have all the connections that a server allows.
                let refused = || failed.iter().find_map(|address| self.remotes.refused(*address));
                if began.elapsed() < limits::STALLED_AFTER
                    && servers.is_untouched()
                    && let Some(key) = refused()
                {
                    return Some(Err(Unreachable::Full(key)));
                }
                self.remember_failed(failed);
                self.failed(&cause);
                Err(Unreachable::Now(cause))
            }
            Err(unreachable) => {
                self.remember_failed(failed);
                Err(unreachable)
            }
        })
    }

    /// A connection to one of its servers, but for those that the attempt broke off at.
    async fn open(
        &self,
        tried: &[SocketAddr],
        id: QueueId,
        failed: &mut Vec<SocketAddr>,
    ) -> Result<Connection, Unreachable> {
        let mut found = candidates(&self.destination, &self.settings).await?;
        found.retain(|candidate| !tried.contains(&candidate.address));
        let found = self.last_ones_last(found);
        let dial = Dial {
            protocol: self.destination.protocol(),
            security: self.destination.security(),
            settings: &self.settings,
            cut: &self.settings.end.cut.subscribe(),
            counted: Some((&self.remotes, id)),
        };
        Connection::open(&found, &dial, failed).await
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
