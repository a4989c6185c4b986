//! How far is one attempt with the servers of its next hop, and which refusals lead to another
//! server?

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::connection::HopConnection;
use crate::hop::CountedWorker;
use crate::patience::Patience;
use relay_mail::outcome::{Cause, Outcome, OutcomeReason};
use relay_mail::queue_id::QueueId;
use relay_smtp::client::{is_missing_extension, says_too_many_recipients};

/// A connection, as its next hop counts it.
pub(super) struct CountedConnection {
    pub(super) connection: HopConnection,
    pub(super) _counted: CountedWorker,
}

impl CountedConnection {
    pub(super) fn address(&self) -> SocketAddr {
        self.connection.address()
    }
}

/// Ends a connection that is not used any more.
pub(super) fn end(line: Option<CountedConnection>) {
    if let Some(line) = line {
        tokio::spawn(line.connection.quit());
    }
}

/// The progress of one attempt with the servers of a next hop.
pub(super) struct CandidateServers {
    pub(super) id: QueueId,
    pub(super) patience: Patience,
    /// Servers that disconnected before they had the message, over a new connection, or that
    /// refused recipients. They are not asked again in this attempt.
    pub(super) tried: Vec<SocketAddr>,
    /// Why the last of them broke off.
    pub(super) broke_off: Option<OutcomeReason>,
    /// The last transaction ended early, so that another server (RFC 5321 section 5.1), or the same
    /// one over another connection, may serve the waiting recipients. Each time there is one server
    /// less to ask, or no connection that was used before.
    pub(super) another_may: bool,
    /// Nothing was sent on the connection before.
    pub(super) is_first_on_connection: bool,
    /// There is an outcome already, so the attempt cannot be passed to another worker.
    pub(super) has_outcome: bool,
    /// The outcomes of earlier servers, by recipient.
    pub(super) earlier: HashMap<usize, Outcome>,
    /// This server has refused all recipients of this attempt.
    pub(super) refuses_all: bool,
    /// The connection to a server that refused only some recipients.
    pub(super) aside: Option<CountedConnection>,
}

impl CandidateServers {
    pub(super) fn new(patience: Patience, id: QueueId) -> Self {
        Self {
            id,
            patience,
            tried: Vec::new(),
            broke_off: None,
            another_may: false,
            is_first_on_connection: false,
            has_outcome: false,
            earlier: HashMap::new(),
            refuses_all: true,
            aside: None,
        }
    }

    /// Does this attempt have no result yet?
    pub(super) fn is_unused(&self) -> bool {
        let has_begun = self.has_outcome || !self.earlier.is_empty();
        !has_begun && self.tried.is_empty() && self.broke_off.is_none()
    }

    pub(super) fn may_retry_on_next_server(&self, outcome: &Outcome) -> bool {
        let Outcome::Deferred(answer) = outcome else { return false };
        let cause = self.broke_off.as_ref().map(|answer| &answer.cause);
        self.another_may && cause == Some(&answer.cause)
    }

    /// A recipient fails permanently only if every server refuses it permanently: a missing
    /// extension of one server does not replace the deferral by another.
    pub(super) fn remember(&mut self, place: usize, outcome: Outcome) {
        let known = self.earlier.entry(place).or_insert_with(|| outcome.clone());
        if matches!(outcome, Outcome::Deferred(_)) {
            *known = outcome;
        }
    }
}

/// May another server of the next hop accept a recipient that this one did not? A temporary refusal
/// is valid for its server only, and so is a missing extension. A 421 ends the connection and is
/// handled elsewhere.
pub(super) fn is_for_another_server(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deferred(OutcomeReason { cause: Cause::Reply { reply, .. }, .. }) => {
            reply.code != 421
        }
        Outcome::Failed(OutcomeReason { cause: Cause::Local { status, .. }, .. }) => {
            is_missing_extension(*status)
        }
        _ => false,
    }
}

/// RFC 5321 section 4.5.3.1.10: recipients beyond the next hop's limit need a further transaction.
pub(super) fn is_for_another_transaction(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Deferred(OutcomeReason { cause: Cause::Reply { reply, .. }, .. }) => {
            says_too_many_recipients(reply)
        }
        _ => false,
    }
}
