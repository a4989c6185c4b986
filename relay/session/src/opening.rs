//! How does a session begin: in plain text or in TLS, and with which reply?

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use relay_smtp::command::Verb;

use crate::actions::Output;
use crate::state::SessionState;
use crate::timers::Timers;
use crate::{Conditions, Context, Session, SessionEnding, Summary};
use relay_connector::connection::Connection;
use relay_policy::{Findings, Peer, Rules};
use relay_smtp::line::LineReader;

/// How a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// The client is greeted in plain text.
    Plain,
    /// TLS begins with the first octet.
    Tls,
}

impl Session {
    /// A session that was just accepted. The first action sends the greeting, or a refusal.
    pub fn new(now: Instant, rules: Arc<Rules>, peer: Peer, connection: Connection) -> Self {
        Self::silent(now, rules, peer, connection).begun(Opening::Plain)
    }

    /// A session with implicit TLS (RFC 8314 section 3). The first action is the handshake; the
    /// client gets its greeting in TLS. A refused client gets no reply: it could only read TLS, and
    /// a handshake for a refusal is too expensive.
    pub fn encrypted(now: Instant, rules: Arc<Rules>, peer: Peer, connection: Connection) -> Self {
        Self::silent(now, rules, peer, connection).begun(Opening::Tls)
    }

    /// A session that keeps its replies with their reasons, see [`Session::take_answers`].
    pub fn explained(
        now: Instant,
        rules: Arc<Rules>,
        peer: Peer,
        connection: Connection,
        opening: Opening,
    ) -> Self {
        let mut session = Self::silent(now, rules, peer, connection);
        session.output.answers = Some(Box::default());
        session.begun(opening)
    }

    fn begun(mut self, opening: Opening) -> Self {
        match opening {
            Opening::Plain => self.greet(),
            Opening::Tls => self.encrypt(),
        }
        self
    }

    /// A session that has said nothing yet.
    fn silent(now: Instant, rules: Arc<Rules>, mut peer: Peer, connection: Connection) -> Self {
        peer.may_use_xclient = rules.proxies.may_use_xclient(connection.client());
        let timers = Timers::new(now, &peer.connector.limits);
        let output = Output::new(&peer.connector);
        let context = Context {
            rules,
            peer,
            connection,
            is_told: false,
            told_hello: None,
            conditions: Conditions::default(),
            findings: Findings::default(),
            memory_is_short: false,
            sender: None,
            summary: Summary::default(),
        };
        Self {
            context,
            state: SessionState::connected(),
            input: BytesMut::new(),
            lines: LineReader::default(),
            output,
            held: None,
            asked: None,
            timers,
            now,
            shutting_down: false,
            cut_off: false,
            input_ended: false,
            greeted: false,
        }
    }

    /// Greets the client, or refuses it.
    pub(super) fn greet(&mut self) {
        self.greeted = true;
        let greeting = relay_policy::connect(Some(&self.context.peer.connector));
        self.output.decided(&greeting);
        if !greeting.reply.is_positive() {
            self.context.summary.note(Verb::Connect, greeting);
            self.close(SessionEnding::Refused);
        }
    }
}
