//! What is the result of one transaction, and which connection does it use?

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::connection::{Dial, HopConnection, until_true};
use crate::hop::Hop;
use crate::job::Job;
use crate::reach::{Unreachable, candidates};
use crate::remotes::Key;
use crate::servers::{CandidateServers, CountedConnection, end};
use relay_mail::outcome::{Cause, Outcome, OutcomeReason};
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Enhanced;
use relay_mail::store_error::StoreError;
use relay_queue::Entry;
use relay_smtp::client::{MailRefusal, Transaction};
use tracing::error;

use crate::limits;

/// The result of a transaction.
pub(super) enum TransactionEnd {
    /// One outcome for each recipient, and the server that gave them, if it was a server.
    Outcomes(Vec<Outcome>, Option<SocketAddr>),
    /// It did not begin, since delivery ends.
    Stopped,
    /// It did not begin: the next hop serves other connections of this host, and refused this one.
    Surplus,
    /// It did not begin: there is no room for a further connection to this address.
    Full(Key),
}

impl Hop {
    /// One transaction for some of the recipients. The next hop may end a connection that was used
    /// before, with any reply code; so only the reply of a new connection to MAIL counts.
    pub(super) async fn transaction(
        self: &Arc<Self>,
        line: &mut Option<CountedConnection>,
        job: &Job,
        places: &[usize],
        servers: &mut CandidateServers,
    ) -> TransactionEnd {
        let done = self.transaction_on(line, job, places, servers).await;
        let refusal = line.as_ref().and_then(|open| open.connection.mail_refusal());
        if servers.is_first_on_connection || refusal.is_none() {
            return done;
        }
        end(line.take());
        self.transaction_on(line, job, places, servers).await
    }

    /// One transaction on the open connection, or on a new one.
    async fn transaction_on(
        self: &Arc<Self>,
        line: &mut Option<CountedConnection>,
        job: &Job,
        places: &[usize],
        servers: &mut CandidateServers,
    ) -> TransactionEnd {
        let entry = &job.entry;
        let answer = |cause| OutcomeReason { hop: Some(self.name.clone()), cause };
        servers.another_may = false;
        let open = match self.connect(line, servers).await {
            None => return TransactionEnd::Stopped,
            Some(Ok(open)) => &mut open.connection,
            Some(Err(Unreachable::AddressBusy(key))) => return TransactionEnd::Full(key),
            Some(Err(Unreachable::Temporary(cause))) => {
                if servers.is_unused() && self.is_surplus(0) {
                    return TransactionEnd::Surplus;
                }
                // If no other server can be reached, the server that disconnected is the reason.
                let last = servers.broke_off.clone().unwrap_or_else(|| answer(cause));
                let outcomes = places.iter().map(|place| match servers.earlier.remove(place) {
                    Some(Outcome::Deferred(known)) => Outcome::Deferred(known),
                    _ => Outcome::Deferred(last.clone()),
                });
                return TransactionEnd::Outcomes(outcomes.collect(), None);
            }
            Some(Err(Unreachable::Permanent(cause))) => {
                return TransactionEnd::Outcomes(
                    vec![Outcome::Failed(answer(cause)); places.len()],
                    None,
                );
            }
        };
        // Read only after there is a connection: without room for one the message is not needed.
        let message = match self.queue.store().read(entry.id).await {
            Ok(message) => message,
            Err(error) => {
                return TransactionEnd::Outcomes(
                    vec![self.unreadable(entry, &error); places.len()],
                    None,
                );
            }
        };
        let recipients = places.iter().filter_map(|&place| entry.recipients.get(place));
        let transaction = Transaction {
            sender: entry.sender.clone(),
            dsn: entry.dsn.clone(),
            recipients: recipients.map(|recipient| recipient.addressee()).collect(),
            size: entry.size_as_sent(self.destination.security().audience()),
            unterminated: entry.unterminated,
            eight_bit: entry.eight_bit,
            binary: entry.binary,
            smtputf8: entry.message_needs_smtputf8(),
        };
        let adapted = self.adapted(&open.capabilities(), entry, &transaction).await;
        let (transaction, message) = adapted.unwrap_or((transaction, message));
        let outcomes = open.deliver(transaction, message, &servers.patience).await;
        let (address, broke_off) = (open.address(), open.disconnected_early().cloned());
        if open.broke_on_pipelining() {
            self.remember_pipelining_failure(address);
        }
        let is_refused = broke_off.is_some() && !open.broke_on_pipelining()
            || open.mail_refusal() == Some(MailRefusal::Connection);
        if is_refused
            && servers.is_first_on_connection
            && servers.is_unused()
            && !job.was_surplus
            && self.is_surplus(1)
        {
            end(line.take());
            return TransactionEnd::Surplus;
        }
        if let Some(accepted) = open.broke_off_at_recipient() {
            self.remember_break(accepted, places.len());
        }
        if let Some(cause) = broke_off {
            servers.another_may = true;
            servers.broke_off = Some(answer(cause));
            // Next hops end connections after a number of messages or some time, which is no fault
            // of theirs.
            if !servers.is_first_on_connection {
                return TransactionEnd::Outcomes(outcomes, Some(address));
            }
            self.remember_failed(vec![address]);
            if !open.broke_on_pipelining() {
                servers.tried.push(address);
            }
        }
        self.record_result(outcomes.iter());
        TransactionEnd::Outcomes(outcomes, Some(address))
    }

    pub(super) fn unreadable(&self, entry: &Entry, error: &StoreError) -> Outcome {
        error!(id = %entry.id, %error, "cannot read a queued message");
        Outcome::Deferred(OutcomeReason::local(
            Some(&self.name),
            Enhanced(4, 3, 0),
            error.to_string(),
        ))
    }

    /// The open connection, or a new one. `None` if delivery ends before there is one: no
    /// transaction is running then, so nothing needs to be waited for.
    async fn connect<'a>(
        self: &Arc<Self>,
        line: &'a mut Option<CountedConnection>,
        servers: &mut CandidateServers,
    ) -> Option<Result<&'a mut CountedConnection, Unreachable>> {
        let (kept, began) = (line.take(), Instant::now());
        let mut failed = Vec::new();
        let CandidateServers { tried, patience, id, .. } = servers;
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
            Ok((CountedConnection { connection, _counted }, true))
        };
        let mut closing = self.settings.end.closing.subscribe();
        let found = tokio::select! {
            biased;
            found = usable => found,
            () = until_true(&mut closing) => return None,
            () = patience.wait_for_deadline() => {
                let text = "no server of the next hop could be used in the time of one attempt";
                // X.4.1 of RFC 3463: no answer from host.
                let status = Enhanced(4, 4, 1);
                Err(Unreachable::Temporary(Cause::Local { status, text: text.to_owned() }))
            }
        };
        Some(match found {
            Ok((open, is_new)) => {
                self.remember_failed(failed);
                servers.is_first_on_connection = is_new;
                Ok(line.insert(open))
            }
            Err(Unreachable::Temporary(cause))
                if servers.tried.is_empty() && !self.has_others() =>
            {
                // Another next hop may have all the connections that a server allows.
                let refused = || failed.iter().find_map(|address| self.remotes.refused(*address));
                if began.elapsed() < limits::STALLED_AFTER
                    && servers.is_unused()
                    && let Some(key) = refused()
                {
                    return Some(Err(Unreachable::AddressBusy(key)));
                }
                self.remember_failed(failed);
                self.failed(&cause);
                Err(Unreachable::Temporary(cause))
            }
            Err(unreachable) => {
                self.remember_failed(failed);
                Err(unreachable)
            }
        })
    }

    /// A connection to one of its servers, except those at which the attempt ended early.
    async fn open(
        &self,
        tried: &[SocketAddr],
        id: QueueId,
        failed: &mut Vec<SocketAddr>,
    ) -> Result<HopConnection, Unreachable> {
        let mut found = candidates(&self.destination, &self.settings).await?;
        found.retain(|candidate| !tried.contains(&candidate.address));
        let found = self.deprioritise_recently_failed(found);
        let dial = Dial {
            protocol: self.destination.protocol(),
            security: self.destination.security(),
            settings: &self.settings,
            cut: &self.settings.end.cut.subscribe(),
            counted: Some((&self.remotes, id)),
        };
        HopConnection::open(&found, &dial, failed).await
    }
}
