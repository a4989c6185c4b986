//! The receiving side of one connection. Its input is octets and `now`, its output actions.
//!
//! Methods belong to three families. `handle_*` reports an event from outside.
//! [`Session::poll_action`] returns the driver's next action; the driver calls it after every
//! `handle_*` until it returns `None`, and performs each action before it asks for the next. The
//! other methods only return values.
//!
//! The session decides what is read when, and the order of all steps. The other questions have
//! their own modules:
//! - how a session begins: [`opening`], and how it ends: [`closing`];
//! - which command is legal in which state: [`state`];
//! - how a client authenticates: [`authentication`];
//! - how a command waits for an answer: [`inquiry`];
//! - what happens to a message: [`reception`] and [`queue_answers`], what follows after its octets:
//!   [`end_of_data`], and in which parts it is written: [`message_parts`];
//! - what is logged: [`protocol_log`], for message tracking: [`decisions`], and for explanations:
//!   [`answers`];
//! - whose session it is after XCLIENT: [`xclient`];
//! - the time limits of a client: [`timers`].
//!
//! [`relay_policy`] decides whether something is allowed. [`player`] plays a session without a
//! socket.

mod actions;
mod answers;
mod authentication;
mod closing;
mod content_checks;
mod decisions;
mod encryption;
mod end_of_data;
mod hello;
mod inquiry;
pub mod limits;
mod memory_use;
mod message_parts;
mod opening;
pub mod player;
mod protocol_log;
mod queue_answers;
mod reception;
mod refusal;
mod refusal_reports;
mod refused;
mod state;
mod summary;
mod timers;
mod xclient;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use crate::actions::Output;
use crate::inquiry::{PendingInquiry, Waiting};
use crate::limits::INPUT_OCTETS;
use crate::reception::ReceptionProgress;
use crate::refusal::DelayedReply;
use crate::state::{Effect, SessionState};
use crate::timers::Timers;
use bytes::BytesMut;
use relay_connector::connection::Connection;
use relay_mail::hello::HelloName;
use relay_mail::reply;
use relay_message::finding::{SenderFinding, SenderFound};
use relay_policy::{self, Consequence, Decision, Findings, Peer, Rules};
use relay_smtp::command::{Command, Verb};
use relay_smtp::foreign::other_protocol;
use relay_smtp::line::LineReader;

pub use crate::actions::{Action, Conditions, MessageBegun};
pub use crate::decisions::{Decided, Decisions};
pub use crate::encryption::HandshakeFailure;
pub use crate::opening::Opening;
pub use crate::protocol_log::{ProtocolEvent, ProtocolRecord};
pub use crate::refused::Refused;
pub use crate::summary::{CommandRefusal, SessionEnding, Summary};

/// The receiving side of one connection.
#[derive(Debug)]
pub struct Session {
    context: Context,
    state: SessionState,
    input: BytesMut,
    lines: LineReader,
    output: Output,
    held: Option<DelayedReply>,
    asked: Option<PendingInquiry>,
    timers: Timers,
    now: Instant,
    shutting_down: bool,
    cut_off: bool,
    /// The client has ended its side: nothing follows after `input`.
    input_ended: bool,
    /// Has the client got its greeting? With implicit TLS it gets the greeting in TLS.
    greeted: bool,
}

/// Data that is common to all states.
#[derive(Debug)]
struct Context {
    rules: Arc<Rules>,
    peer: Peer,
    connection: Connection,
    /// The client was named by a proxy with XCLIENT.
    is_told: bool,
    /// The client's name that the proxy stated.
    told_hello: Option<HelloName>,
    conditions: Conditions,
    /// For the command at hand.
    findings: Findings,
    /// Is the memory for messages on their way in used up?
    memory_is_short: bool,
    /// The findings of the checks at the last MAIL, if they ran.
    sender: Option<SenderFound>,
    summary: Summary,
}

impl Session {
    /// The client sent these octets. Call this only while [`Session::wants_bytes`].
    pub fn handle_bytes(&mut self, now: Instant, octets: &[u8]) {
        self.now = now;
        match self.state {
            SessionState::Closed => {}
            // Plain text instead of a TLS handshake: an attacker may have inserted it.
            SessionState::StartingTls => self.close(SessionEnding::PlaintextAfterStartTls),
            _ => {
                if matches!(self.state, SessionState::Receiving(_) | SessionState::Skipping(_)) {
                    self.timers.message_octets(now, octets);
                }
                self.input.extend_from_slice(octets);
            }
        }
    }

    /// The current conditions. Call this before [`Session::handle_bytes`] if
    /// [`Session::wants_conditions`].
    pub fn handle_conditions(&mut self, conditions: Conditions) {
        self.context.conditions = conditions;
    }

    /// The driver's next action.
    pub fn poll_action(&mut self) -> Option<Action> {
        loop {
            if let Some(action) = self.output.next_action() {
                return Some(action);
            }
            if self.output.is_full() || !self.step() {
                let replies = self.output.take_replies();
                if replies.is_some() || !self.waits_in_vain() {
                    return replies;
                }
                if let Some(refusal) = self.refuse_unended() {
                    self.output.reply(&refusal);
                }
                self.close(SessionEnding::Disconnected);
            }
        }
    }

    /// May the driver read from the client? Not while enough input is unprocessed, so that a client
    /// that sends faster than the disk writes has to wait. While memory is short, nothing is read
    /// after a command that has no reply yet.
    pub fn wants_bytes(&self) -> bool {
        let waits = self.held.is_some() || self.asked.is_some();
        let most = if self.context.memory_is_short && waits { 1 } else { INPUT_OCTETS };
        self.input.len() < most && !self.input_ended && !matches!(self.state, SessionState::Closed)
    }

    /// Does the next step depend on conditions? In the middle of a message it does not.
    pub fn wants_conditions(&self) -> bool {
        !matches!(
            self.state,
            SessionState::Receiving(_)
                | SessionState::Skipping(_)
                | SessionState::StartingTls
                | SessionState::Closed
        )
    }

    /// Nothing happens any more.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, SessionState::Closed)
    }

    /// The addresses of the connection. XCLIENT changes the client's.
    pub const fn connection(&self) -> &Connection {
        &self.context.connection
    }

    /// The client of the session.
    pub fn peer(&self) -> &Peer {
        &self.context.peer
    }

    /// The events so far, for the log.
    pub fn summary(&self) -> &Summary {
        &self.context.summary
    }

    /// Processes one command or one part of a message. `false`: an event is needed first.
    fn step(&mut self) -> bool {
        if self.held.is_some() || self.asked.is_some() {
            return false;
        }
        if self.gives_up_message() {
            return true;
        }
        match &mut self.state {
            SessionState::Closed
            | SessionState::Reclassifying(_)
            | SessionState::Screening(_)
            | SessionState::StartingTls
            | SessionState::WaitingForQueue(_)
            | SessionState::WaitingForStore(_) => false,
            SessionState::Receiving(reception) => {
                let act = &mut |action| self.output.push(action);
                match reception.read(&self.context, &mut self.input, act) {
                    ReceptionProgress::MoreToCome => true,
                    ReceptionProgress::NeedsInput => false,
                    ReceptionProgress::ChunkEnded(octets) => {
                        self.end_of_chunk(octets);
                        true
                    }
                    ReceptionProgress::Ended => {
                        self.end_of_data();
                        true
                    }
                }
            }
            SessionState::Skipping(_) => self.skip(),
            SessionState::Authenticating(_)
            | SessionState::Chunking(_)
            | SessionState::Connected(_)
            | SessionState::Ready(_)
            | SessionState::Mail(_)
            | SessionState::Recipients(_) => {
                let in_exchange = matches!(self.state, SessionState::Authenticating(_));
                let line = self.lines.next_line(&mut self.input, in_exchange);
                let Some(line) = line else { return false };
                // Only a whole line counts as activity; a client that sends single octets is
                // silent.
                self.timers.active(self.now);
                self.context.summary.commands = self.context.summary.commands.saturating_add(1);
                match line {
                    Ok(line) if in_exchange => {
                        self.output.protocol.response();
                        self.response(&line);
                    }
                    Ok(line) => self.command(&line),
                    Err(error) => {
                        self.output.protocol.no_line(error);
                        self.end_exchange();
                        self.fault(Verb::Unknown, error.reply(), &error);
                        if error.is_last() {
                            self.close(SessionEnding::of_line(error));
                        }
                    }
                }
                true
            }
        }
    }

    fn command(&mut self, line: &[u8]) {
        if let Some(protocol) = other_protocol(line) {
            return self.leave_other_protocol(line, protocol);
        }
        self.context.summary.decisions.forget_asked();
        let understood = Command::parse(line);
        self.output.protocol.command(line, &understood);
        let command = match understood {
            Ok(command) => command,
            Err(error) => return self.misunderstood(&error),
        };
        if let Some(limit) = self.exceeded_command_limit(&command) {
            return self.end_at(limit);
        }
        self.apply(command);
    }

    /// Applies a command to this state, or first asks for a fact that it needs.
    fn apply(&mut self, command: Command) {
        let verb = command.verb();
        if let Some(refusal) = relay_policy::not_offered(&self.context.peer, &command) {
            return match verb {
                Verb::Bdat => self.refuse_chunk_command(),
                _ => self.protocol_error(verb, refusal),
            };
        }
        let submitter = match &command {
            Command::Mail(mail) => {
                relay_policy::submitter(&self.context.peer, mail.submitter.as_ref())
            }
            _ => None,
        };
        if let Some(submitter) = submitter {
            self.context.summary.submitter = Some(submitter.to_string());
        }
        match &command {
            Command::Mail(mail) => self.context.summary.decisions.of_sender(&mail.sender),
            Command::Rcpt(recipient) => {
                self.context.summary.decisions.of_recipient(&recipient.path);
            }
            _ => {}
        }
        let was_chunking =
            matches!(&self.state, SessionState::Chunking(reception) if reception.is_open());
        let (state, effect) = self.state.take().apply(command, &self.context);
        self.state = state;
        if was_chunking
            && !matches!(self.state, SessionState::Chunking(_) | SessionState::Receiving(_))
        {
            self.output.push(Action::AbandonMessage);
        }
        // The findings belong to this command, which may need more than one. Findings about client
        // and sender are used until their message has its reply.
        if !matches!(effect, Effect::Ask(..)) {
            let findings = std::mem::take(&mut self.context.findings);
            if let Some(SenderFinding::Found(found)) = findings.sender {
                self.context.sender = Some(found);
            } else if verb == Verb::Mail {
                self.context.sender = None;
            }
        }
        self.carry_out(verb, effect);
        if matches!(self.state, SessionState::Connected(_) | SessionState::Ready(_)) {
            self.context.summary.decisions.clear();
        }
    }

    /// Performs the effects of a command besides the change of state.
    fn carry_out(&mut self, verb: Verb, effect: Effect) {
        match effect {
            Effect::Ask(inquiry, command) => self.ask(inquiry, Waiting::Command(*command)),
            Effect::Authenticated(decision, user) => {
                self.context.peer = self.context.peer.authenticated(user);
                self.note_principal();
                self.output.decided(&decision);
            }
            Effect::BecomeClient(told, connection) => self.become_client(told, connection),
            Effect::BeginMessage(envelope) => self.begin_message(envelope),
            Effect::Decided(decision) => self.conclude(verb, decision),
            Effect::Nothing => {}
            Effect::Quit => self.close_with(&reply::CLOSING, SessionEnding::Quit),
            Effect::Reply(reply) => self.answer(reply),
            Effect::StartTls(decision) => {
                self.output.decided(&decision);
                // Octets after STARTTLS in the same packets are not from the client that will use
                // TLS. Processing them as its octets is CVE-2011-0411; dropping them would continue
                // a session that an attacker has changed.
                if self.input.is_empty() {
                    self.timers.begin_handshake(self.now);
                    self.output.push(Action::StartTls);
                } else {
                    self.close(SessionEnding::PlaintextAfterStartTls);
                }
            }
        }
    }

    /// Tells the client the decision, and does what follows from it.
    fn conclude(&mut self, verb: Verb, decision: Decision) {
        match decision.consequence {
            Consequence::None if decision.reply.is_positive() => {
                if matches!(verb, Verb::Ehlo | Verb::Helo) {
                    self.context.summary.hello = self.state.hello_name();
                }
                self.output.decided(&decision);
                self.context.summary.decisions.allowed(verb, decision);
            }
            Consequence::None => self.refused(verb, decision),
            Consequence::LogonFailure => self.logon_failure(decision),
            Consequence::LogonRefused => {
                self.context.summary.logons_refused += 1;
                let reply = self.note(verb, decision);
                self.refuse(reply);
            }
            Consequence::ProtocolError => self.protocol_error(verb, decision),
            Consequence::NoDomainName => {
                let reply = self.note(verb, decision);
                self.close_with(&reply, SessionEnding::NoDomainName);
            }
            Consequence::TooManyMessages => {
                self.context.summary.commands_refused += 1;
                let reply = self.note(verb, decision);
                self.close_with(&reply, SessionEnding::MessageRate);
            }
        }
    }
}
