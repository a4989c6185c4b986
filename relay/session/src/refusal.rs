//! Errors for the client: counted, and delayed if the connector has a tarpit.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::limits::JUNK_COMMANDS;
use crate::state::SessionState;
use crate::{Session, SessionEnding, Summary};
use relay_connector::Principal;
use relay_mail::reply::{self, Reply};
use relay_policy::{Decision, SessionLimit};
use relay_smtp::command::{Command, CommandError, Verb};

/// A reply that the tarpit delays. Nothing more is read before it is sent.
#[derive(Debug)]
pub(super) struct DelayedReply {
    pub(super) reply: Reply,
    pub(super) until: Instant,
    /// The session ends after it.
    pub(super) ending: Option<SessionEnding>,
}

impl Session {
    pub(super) fn fault(&mut self, verb: Verb, reply: Reply, found: &dyn Display) {
        self.protocol_error(verb, relay_policy::malformed(reply, found));
    }

    /// A line that is no command, or no command for this client.
    pub(super) fn misunderstood(&mut self, error: &CommandError) {
        match error {
            CommandError::ChunkSize => self.refuse_chunk_command(),
            // Check permission before syntax, so that a client without the right learns nothing
            // about the arguments.
            CommandError::Arguments { verb: Verb::XClient }
                if !self.context.peer.may_use_xclient =>
            {
                self.fault(Verb::Unknown, reply::UNRECOGNIZED_COMMAND, &CommandError::Verb);
            }
            error => self.fault(error.verb(), error.reply(), error),
        }
    }

    /// A line of another protocol. The lines after it were not meant for us.
    pub(super) fn leave_other_protocol(&mut self, line: &[u8], protocol: &str) {
        self.output.protocol.command(line, &Err(CommandError::Verb));
        self.fault(Verb::Unknown, reply::OTHER_PROTOCOL, &format_args!("a line of {protocol}"));
        self.close(SessionEnding::OtherProtocol);
    }

    /// A protocol error: counted, and the session ends beyond the limit.
    pub(super) fn protocol_error(&mut self, verb: Verb, decision: Decision) {
        let most = self.context.peer.connector.limits.max_protocol_errors;
        let summary = &mut self.context.summary;
        summary.protocol_errors = summary.protocol_errors.saturating_add(1);
        let exceeded = most.filter(|&most| summary.protocol_errors > most);
        self.refuse_line(verb, decision, exceeded.map(SessionLimit::ProtocolErrors));
    }

    /// The policy refused a command. Refused recipients of an anonymous client are counted for the
    /// whole session, so that neither RSET nor another MAIL allows more of them. MAIL and other
    /// commands without a message count as [`JUNK_COMMANDS`] do.
    pub(super) fn refused(&mut self, verb: Verb, decision: Decision) {
        let summary = &mut self.context.summary;
        summary.commands_refused = summary.commands_refused.saturating_add(1);
        let exceeded = if verb != Verb::Rcpt {
            summary.junk_commands = summary.junk_commands.saturating_add(1);
            let is_over = summary.junk_commands > JUNK_COMMANDS;
            is_over.then_some(SessionLimit::Commands(JUNK_COMMANDS))
        } else if self.context.peer.principal == Principal::Anonymous && decision.reply.code >= 500
        {
            summary.recipients_refused = summary.recipients_refused.saturating_add(1);
            let most = self.context.peer.connector.limits.max_refused_recipients;
            let exceeded = most.filter(|&most| summary.recipients_refused > most);
            exceeded.map(SessionLimit::RefusedRecipients)
        } else {
            None
        };
        self.refuse_line(verb, decision, exceeded);
    }

    /// A reply that no rule has to explain. A negative one follows from an earlier refusal, and is
    /// neither counted nor recorded.
    pub(super) fn answer(&mut self, reply: Reply) {
        if reply.is_positive() {
            self.output.reply(&reply);
        } else if let Some(limit) = self.count_line() {
            self.end_at(limit);
        } else {
            self.refuse(reply);
        }
    }

    /// Refuses a line. If that exceeds a limit of the session, its last reply is sent instead; the
    /// records have the reply that is sent.
    fn refuse_line(&mut self, verb: Verb, decision: Decision, exceeded: Option<SessionLimit>) {
        match exceeded.or_else(|| self.count_line()) {
            Some(limit) => {
                let reply = self.note(verb, limit.replace(decision));
                self.close_with(&reply, SessionEnding::of_limit(limit));
            }
            None => {
                let reply = self.note(verb, decision);
                self.refuse(reply);
            }
        }
    }

    /// Counts the octets of the line at hand, unless they exceed the limit.
    fn count_line(&mut self) -> Option<SessionLimit> {
        let octets = self.lines.length() as u64;
        let (summary, peer) = (&mut self.context.summary, &self.context.peer);
        if summary.exceeds_useless(octets, peer) {
            return Some(SessionLimit::UselessOctets(Summary::most_useless(peer)));
        }
        summary.useless_octets += octets;
        None
    }

    /// The last command would have got another reply; the session ends at this limit instead.
    pub(super) fn end_at(&mut self, limit: SessionLimit) {
        self.close_with(&limit.reply(), SessionEnding::of_limit(limit));
    }

    /// Notes a refusal, for the summary, message tracking and explanations. Returns the reply that
    /// the client must get.
    pub(super) fn note(&mut self, verb: Verb, decision: Decision) -> Reply {
        let reply = decision.reply.clone();
        self.output.because(&decision.because);
        self.context.summary.note(verb, decision);
        reply
    }

    /// Sends an error, delayed if the connector has a tarpit: a client that tries many recipients,
    /// or many passwords, must be slow. Only clients that did not authenticate wait.
    pub(super) fn refuse(&mut self, reply: Reply) {
        let interval = match self.context.peer.principal {
            Principal::Anonymous => self.context.peer.connector.limits.tarpit_interval,
            _ => Duration::ZERO,
        };
        self.hold(reply, interval, None);
    }

    /// A failed logon: counted, and delayed. The last one that `max_logon_failures` allows gets the
    /// usual reply, and then the session ends.
    pub(super) fn logon_failure(&mut self, decision: Decision) {
        let limits = &self.context.peer.connector.limits;
        let (most, interval) = (limits.max_logon_failures, limits.auth_tarpit_interval);
        let reply = self.note(Verb::Auth, decision);
        let failures = &mut self.context.summary.logon_failures;
        *failures = failures.saturating_add(1);
        let failures = *failures;
        let is_last = most.is_some_and(|most| failures >= most.get());
        self.hold(reply, interval, is_last.then_some(SessionEnding::TooManyLogonFailures));
    }

    fn hold(&mut self, reply: Reply, interval: Duration, ending: Option<SessionEnding>) {
        let held = DelayedReply { reply, until: self.now + interval, ending };
        if interval.is_zero() {
            self.give(held);
        } else {
            self.held = Some(held);
        }
    }

    /// Sends a delayed reply, and ends the session if that follows.
    pub(super) fn give(&mut self, held: DelayedReply) {
        self.output.reply(&held.reply);
        if let Some(ending) = held.ending {
            self.close_with(&reply::TOO_MANY_ERRORS, ending);
        }
    }

    /// Counts a command without a message; `Some` beyond the limit. The first HELO or EHLO does not
    /// count.
    pub(super) fn exceeded_command_limit(&mut self, command: &Command) -> Option<SessionLimit> {
        let is_junk = match command {
            Command::Helo(_) | Command::Ehlo(_) => {
                !matches!(self.state, SessionState::Connected(_))
            }
            Command::Help | Command::Noop | Command::Rset | Command::Vrfy => true,
            // An empty chunk brings nothing, unless it ends the message.
            Command::Bdat(chunk) => chunk.octets == 0 && !chunk.last,
            Command::Auth(_)
            | Command::Data
            | Command::Mail(_)
            | Command::Quit
            | Command::Rcpt(_)
            | Command::Response(_)
            | Command::StartTls => false,
            // A proxy that starts over again and again serves no client.
            Command::XClient(_) => true,
        };
        let junk = &mut self.context.summary.junk_commands;
        *junk = junk.saturating_add(u32::from(is_junk));
        (is_junk && *junk > JUNK_COMMANDS).then_some(SessionLimit::Commands(JUNK_COMMANDS))
    }

    /// Notes a message that is refused at its end. Returns the reply that the client must get.
    pub(super) fn note_message(&mut self, decision: Decision) -> Reply {
        let summary = &mut self.context.summary;
        summary.messages_refused = summary.messages_refused.saturating_add(1);
        summary.commands_refused = summary.commands_refused.saturating_add(1);
        let reply = self.note(Verb::EndOfData, decision);
        self.context.summary.decisions.clear();
        reply
    }

    /// Sends the reply that the tarpit delays, since the session ends.
    pub(super) fn release(&mut self) {
        if let Some(held) = self.held.take() {
            self.output.reply(&held.reply);
        }
    }
}
