//! The log lines of a session, and its part of the counters.

use std::sync::Arc;
use std::time::Instant;

use crate::Shared;
use crate::counts::Counts;
use crate::inquiries::Asker;
use crate::protocol_log::ProtocolLogWriter;
use crate::refusals::Kind;
use relay_connector::{Connection, ConnectorId, ProtocolLoggingLevel};
use relay_kernel::classifier::Classification;
use relay_mail::path::ReversePath;
use relay_mail::queue_id::QueueId;
use relay_message::changes::Changes;
use relay_queue::Incoming;
use relay_queue::event::MessageStorage;
use relay_session::{Decisions, Session, SessionEnding, Summary};
use relay_smtp::command::Verb;
use relay_tracking::event::{Confirmation, Receipt, RefusalEvent};

/// The data of a connection that its session does not know.
pub(super) struct Record {
    classification: Classification,
    protocol_log: ProtocolLogWriter,
    counts: Arc<Counts>,
    /// The connection is a proxy's own, so it may be a health check.
    is_probe: bool,
    since: Instant,
    counted: Counted,
}

/// The counted part of a summary.
#[derive(Clone, Copy, Default)]
struct Counted {
    messages_accepted: u32,
    messages_refused: u32,
    commands_refused: u32,
    logon_failures: u32,
    logons_refused: u32,
}

/// The data of a message that its session does not know.
pub(super) struct Keeping {
    pub(super) id: QueueId,
    sender: ReversePath,
    size: u64,
    place: MessageStorage,
}

impl Keeping {
    /// Must be called before the commit, which consumes the message.
    pub(super) fn of(incoming: &Incoming) -> Self {
        let sender = incoming.envelope().sender.clone();
        Self { id: incoming.id(), sender, size: incoming.size(), place: incoming.kept() }
    }
}

impl Record {
    pub(super) fn new(
        classification: Classification,
        protocol_log: ProtocolLogWriter,
        counts: Arc<Counts>,
    ) -> Self {
        let (since, counted) = (Instant::now(), Counted::default());
        let is_probe = false;
        Self { classification, protocol_log, counts, is_probe, since, counted }
    }

    /// Marks the connection as a proxy's own. If it ends before the first octet, it was a health
    /// check, which is counted and not logged.
    pub(super) fn expect_probe(&mut self) {
        self.is_probe = true;
    }

    /// The session belongs to another client from now on.
    pub(super) fn become_client(&mut self, classification: Classification) {
        self.classification = classification;
    }

    /// Begins the protocol log, if the connector has one, with the connector.
    pub(super) fn write_connected(&mut self, connection: &Connection) {
        let Some(chosen) = &self.classification.connector else { return };
        if chosen.connector.protocol_logging_level == ProtocolLoggingLevel::None {
            return;
        }
        let range = chosen.range().map(ToString::to_string).unwrap_or_default();
        let connector = &chosen.connector.name;
        self.protocol_log.connected(connector, connection, &range);
    }

    /// Writes the new entries of the session's protocol log.
    pub(super) fn write_protocol(&mut self, session: &mut Session) {
        let records = session.take_protocol_records();
        let connector = &session.peer().connector.name;
        for record in &records {
            self.protocol_log.write(connector, session.connection(), record);
        }
    }

    /// Records the new refusals of the session.
    pub(super) fn write_refused(&mut self, session: &mut Session, shared: &Shared) {
        let (refused, left_out) = session.take_refused();
        let tracker = &shared.tracker;
        if left_out > 0 {
            tracker.suppress(left_out);
        }
        for refused in refused {
            let kind = match refused.command {
                Some(Verb::Connect) => Kind::Connection,
                None if refused.recipients.is_empty() => Kind::Session,
                _ => Kind::Command,
            };
            let (peer, summary) = (session.peer(), session.summary());
            let refusal = RefusalEvent {
                session: Some(self.protocol_log.number()),
                connection: *session.connection(),
                connector: Some(peer.connector.name.clone()),
                principal: Some(peer.principal),
                user: peer.user.clone(),
                hello: summary.hello.clone(),
                refused,
                suppressed: 0,
            };
            shared.refusals.record(tracker, kind, refusal);
        }
    }

    /// Counts the new events, so that `status` is never behind a session. Returns the new failed
    /// logons.
    pub(super) fn count(&mut self, summary: &Summary) -> u32 {
        let id = self.connector_id();
        let now = Counted {
            messages_accepted: summary.messages_accepted,
            messages_refused: summary.messages_refused,
            commands_refused: summary.commands_refused,
            logon_failures: summary.logon_failures,
            logons_refused: summary.logons_refused,
        };
        let before = std::mem::replace(&mut self.counted, now);
        for _ in before.messages_accepted..now.messages_accepted {
            self.counts.message_accepted(id);
        }
        for _ in before.messages_refused..now.messages_refused {
            self.counts.message_refused(id);
        }
        for _ in before.commands_refused..now.commands_refused {
            self.counts.command_refused(id);
        }
        for _ in before.logons_refused..now.logons_refused {
            self.counts.logon_refused(id);
        }
        for _ in before.logon_failures..now.logon_failures {
            self.counts.logon_failed(id);
        }
        now.logon_failures.saturating_sub(before.logon_failures)
    }

    /// Writes the log line of the session.
    pub(super) fn write(&self, session: &Session) {
        let (peer, summary) = (session.peer(), session.summary());
        let connection = session.connection();
        let (remote, local) = (connection.remote(), connection.local());
        if summary.ending == Some(SessionEnding::Refused) {
            self.counts.connection_refused(self.connector_id());
        }
        if self.is_probe && summary.is_silent() {
            self.counts.probe(self.connector_id());
            return tracing::debug!(%remote, %local, "health check of a proxy");
        }
        let chosen = self.classification.connector.as_ref();
        let range = chosen.and_then(|chosen| chosen.range()).map(tracing::field::display);
        let list = |items: Vec<String>| (!items.is_empty()).then(|| items.join("; "));
        let queue_ids = summary.queue_ids.iter().map(ToString::to_string).collect();
        let verdicts = summary.verdicts.iter().map(ToString::to_string).collect();
        tracing::info!(
            session_id = self.protocol_log.session_id(),
            %remote,
            proxy = connection.proxy().map(tracing::field::display),
            %local,
            connector = peer.connector.name,
            range,
            generation = self.classification.rules.generation,
            decided_by = self.classification.decided_by.name(),
            why = self.classification.decided_by.why(),
            principal = peer.principal.name(),
            user = peer.user_name().map(tracing::field::display),
            submitter = summary.submitter,
            hello = summary.hello,
            client_certificate = summary.client_certificate,
            tls = summary.tls.as_ref().map(tracing::field::display),
            accepted = summary.messages_accepted,
            refused = summary.messages_refused,
            queue_ids = list(queue_ids),
            refusals = summary.refusals,
            verdicts = list(verdicts),
            checks = list(summary.checks.clone()),
            tls_failure = summary.tls_failure,
            ending = summary.ending.map(tracing::field::display),
            seconds = self.since.elapsed().as_secs_f64(),
            "session"
        );
    }

    /// Logs the changes of a header section: fields are never removed without a log line.
    pub(super) fn write_changes(&self, id: QueueId, changes: &Changes, connection: &Connection) {
        if !changes.is_empty() {
            let session_id = self.protocol_log.session_id();
            let changes = changes.texts().join("; ");
            let remote = connection.remote();
            tracing::info!(session_id, %id, %remote, changes, "header section changed");
        }
    }

    /// The data of a message that was stored.
    pub(super) fn receipt(
        &self,
        session: &Session,
        decisions: Decisions,
        kept: Keeping,
        confirmation: Confirmation,
    ) -> Receipt {
        let (peer, summary) = (session.peer(), session.summary());
        Receipt {
            session: self.protocol_log.number(),
            connection: *session.connection(),
            connector: self.classification.connector.clone(),
            generation: self.classification.rules.generation,
            decided_by: self.classification.decided_by,
            principal: peer.principal,
            user: peer.user.clone(),
            hello: summary.hello.clone(),
            tls: summary.tls.clone(),
            client_certificate: summary.client_certificate.clone(),
            submitter: summary.submitter.clone(),
            sender: kept.sender,
            decisions,
            size: kept.size,
            kept: kept.place,
            confirmation,
        }
    }

    /// The client of the session's inquiries.
    pub(super) fn asker(&self, session: &Session) -> Asker {
        Asker { connector: self.connector_id(), client: session.connection().client() }
    }

    pub(super) fn connector_id(&self) -> ConnectorId {
        self.classification.connector.as_ref().map_or(ConnectorId::NONE, |chosen| chosen.id)
    }
}
