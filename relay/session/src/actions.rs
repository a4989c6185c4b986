//! The driver's actions, in order, with replies collected as RFC 2920 section 3.2 requires.

use std::collections::VecDeque;
use std::time::SystemTime;

use crate::answers::ExplainedReplies;
use crate::limits::OUTPUT_OCTETS;
use crate::protocol_log::ProtocolRecords;
use bytes::Bytes;
use relay_connector::{Connection, Connector};
use relay_mail::envelope::Envelope;
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Reply;
use relay_mail::store_error::StoreError;
use relay_policy::pressure::Pressure;
use relay_policy::{Because, Decision, Inquiry};

/// An action of the driver.
#[derive(Debug)]
pub enum Action {
    /// Drop the message that was begun: nothing of it may be stored.
    AbandonMessage,
    /// Find this out, then [`super::Session::handle_finding`].
    Ask(Inquiry),
    /// Begin a message, then [`super::Session::handle_message_begun`].
    BeginMessage(Envelope),
    /// Close the connection. The last action of every session.
    Close,
    /// Bring the message to stable storage, then [`super::Session::handle_stored`].
    CommitMessage,
    /// Put these fields before the octets of the message. It comes before a commit.
    PutInFront(Bytes),
    /// Find the connector of this client, then call [`super::Session::handle_client`].
    Reclassify(Connection),
    /// Send these octets to the client.
    Send(Bytes),
    /// Begin TLS, without reading anything more in plain text, then [`super::Session::handle_tls`].
    StartTls,
    /// Append these octets to the message; if that fails, call
    /// [`super::Session::handle_write_failed`].
    Write(Bytes),
}

/// A message that was begun.
#[derive(Clone, Copy, Debug)]
pub struct MessageBegun {
    /// Its name in the queue.
    pub id: QueueId,
    /// When, for the Received field. The session owns no clock.
    pub at: SystemTime,
}

/// Facts that a session cannot know itself and that may change while it lasts.
#[derive(Clone, Debug)]
pub struct Conditions {
    /// How short this host is of disk and memory.
    pub pressure: Pressure,
    /// Did the queue accept messages recently? The reply to MAIL depends on it; DATA asks again.
    pub queue: Result<(), StoreError>,
    /// Is there a certificate for a handshake now?
    pub certificate: bool,
    /// Has the client's source had too many failed logons?
    pub logon_is_refused: bool,
    /// Random, and new each time: nonces are made from it. `None`: no random numbers are available
    /// now.
    pub seed: Option<[u8; 32]>,
}

/// Replies that are collected until another action is due, and the actions in order.
#[derive(Debug)]
pub(super) struct Output {
    actions: VecDeque<Action>,
    replies: Vec<u8>,
    /// `enhanced_status_codes_enabled`.
    has_codes: bool,
    /// Replies are noted in it.
    pub(super) protocol: ProtocolRecords,
    /// Replies and their reasons, if an explanation needs them.
    pub(super) answers: Option<Box<ExplainedReplies>>,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            pressure: Pressure::default(),
            queue: Ok(()),
            certificate: true,
            logon_is_refused: false,
            seed: None,
        }
    }
}

impl Output {
    /// Nothing to do.
    pub(super) fn new(connector: &Connector) -> Self {
        Self {
            actions: VecDeque::new(),
            replies: Vec::new(),
            has_codes: connector.extensions.enhanced_status_codes_enabled,
            protocol: ProtocolRecords::new(connector.protocol_logging_level),
            answers: None,
        }
    }

    /// Replies are those of this connector from now on.
    pub(super) fn set_connector(&mut self, connector: &Connector) {
        self.has_codes = connector.extensions.enhanced_status_codes_enabled;
        self.protocol = ProtocolRecords::new(connector.protocol_logging_level);
    }

    pub(super) fn reply(&mut self, reply: &Reply) {
        let start = self.replies.len();
        let reply = reply.with_enhanced_codes(self.has_codes);
        reply.encode(&mut self.replies);
        self.protocol.reply(reply.code, &self.replies[start..]);
        if let Some(answers) = &mut self.answers {
            answers.reply(reply);
        }
    }

    /// The reply of a decision.
    pub(super) fn decided(&mut self, decision: &Decision) {
        self.because(&decision.because);
        self.reply(&decision.reply);
    }

    /// Reasons of the next reply.
    pub(super) fn because(&mut self, because: &[Because]) {
        if let Some(answers) = &mut self.answers {
            answers.because(because);
        }
    }

    /// Replies first: the client must have them before the action.
    pub(super) fn push(&mut self, action: Action) {
        let replies = self.take_replies();
        self.actions.extend(replies);
        self.actions.push_back(action);
    }

    /// Octets of replies and records that wait.
    pub(super) fn octets(&self) -> usize {
        self.replies.capacity() + self.protocol.octets()
    }

    /// The next action, unless there are only replies: more may follow.
    pub(super) fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The replies that have gathered.
    pub(super) fn take_replies(&mut self) -> Option<Action> {
        let replies = std::mem::take(&mut self.replies);
        (!replies.is_empty()).then(|| Action::Send(Bytes::from(replies)))
    }

    /// Must the replies be sent before more may gather?
    pub(super) fn is_full(&self) -> bool {
        self.replies.len() >= OUTPUT_OCTETS || !self.replies.is_empty() && self.protocol.is_full()
    }
}
