//! The result of a session, for its line in the log.

use std::fmt::{self, Display};

use crate::Decisions;
use crate::limits::{LOGGED_VERDICTS, USELESS_OCTETS};
use crate::refused::Untold;
use relay_connector::Permission;
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Reply;
use relay_mail::tls::TlsInfo;
use relay_message::finding::{MessageFound, SenderFound};
use relay_policy::{Because, Decision, Peer};
use relay_policy::{Rule, SessionLimit, antispam};
use relay_smtp::command::Verb;
use relay_smtp::line::LineError;

/// The result of a session.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// The client's last name.
    pub hello: Option<String>,
    /// The encryption, once it has begun.
    pub tls: Option<TlsInfo>,
    /// The verification of the client's certificate, if one was requested.
    pub client_certificate: Option<String>,
    /// The last trusted AUTH= of MAIL: the original submitter of a message.
    pub submitter: Option<String>,
    /// Messages that got a 250.
    pub messages_accepted: u32,
    /// Messages that were refused at the end of data, by us or by storage.
    pub messages_refused: u32,
    /// MAIL, RCPT and ends of data that policy or storage refused.
    pub commands_refused: u32,
    /// Failures to authenticate.
    pub logon_failures: u32,
    /// Logons that were refused temporarily because the client's source had too many failures.
    pub logons_refused: u32,
    /// Errors that count against `max_protocol_errors`.
    pub protocol_errors: u32,
    /// The queue ids of the first accepted messages, at most [`LOGGED_VERDICTS`].
    pub queue_ids: Vec<QueueId>,
    /// The first refusals, [`LOGGED_VERDICTS`] at most.
    pub verdicts: Vec<CommandRefusal>,
    /// The findings of the checks for the first messages, at most [`LOGGED_VERDICTS`]; or why they
    /// were skipped, once.
    pub checks: Vec<String>,
    /// The decisions about the current message.
    pub decisions: Decisions,
    /// Refusals that the driver has not fetched yet.
    pub(super) untold: Untold,
    /// Refusals, protocol errors included.
    pub refusals: u32,
    /// Lines that the client has sent as commands.
    pub commands: u32,
    /// Commands without a message since the last message.
    pub junk_commands: u32,
    /// Octets since the last message that cannot lead to a message, see [`USELESS_OCTETS`].
    pub useless_octets: u64,
    /// Recipients that were refused permanently while the client was anonymous.
    pub recipients_refused: u32,
    /// Why the TLS handshake failed.
    pub tls_failure: Option<String>,
    /// The client went away in the handshake, without a word.
    pub left_handshake: bool,
    /// How it ended; `None` while it runs.
    pub ending: Option<SessionEnding>,
}

/// One refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandRefusal {
    /// The verb, `CONNECT`, or `.` for the end of data.
    pub command: Verb,
    /// The reply to the client and its reasons.
    pub decision: Decision,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnding {
    /// BDAT without a size, or where it is not offered: the octets after it could not be
    /// distinguished from commands.
    ChunkSize,
    /// `connection_timeout`.
    ConnectionTimeout,
    /// The client went without QUIT.
    Disconnected,
    /// A header section over `max_header_size`.
    HeaderTooLarge,
    /// `connection_inactivity_timeout`.
    InactivityTimeout,
    /// `require_ehlo_domain`, and no domain name in HELO or EHLO.
    NoDomainName,
    /// The TLS handshake failed.
    HandshakeFailed,
    /// The client did not complete the TLS handshake in time.
    HandshakeTimeout,
    /// A line that ends with LF alone.
    LineFeed,
    /// A line, or the first octet of one, that belongs to another protocol.
    OtherProtocol,
    /// More messages than `message_rate_limit`.
    MessageRate,
    /// Plain text between STARTTLS and the handshake.
    PlaintextAfterStartTls,
    /// The queue did not answer in time.
    QueueTimeout,
    /// QUIT.
    Quit,
    /// The greeting was a refusal.
    Refused,
    /// The client did not read its replies in time.
    RepliesUnread,
    /// The daemon is stopping.
    ShutDown,
    /// More commands without a message than [`crate::limits::JUNK_COMMANDS`].
    TooManyCommands,
    /// More errors than `max_protocol_errors`.
    TooManyErrors,
    /// As many failures to authenticate as `max_logon_failures`.
    TooManyLogonFailures,
    /// More refused recipients than `max_refused_recipients`.
    TooManyRefusedRecipients,
    /// More octets without a message than [`USELESS_OCTETS`], or an endless line.
    UselessOctets,
}

impl Summary {
    /// Has the client disconnected without sending anything?
    pub fn is_silent(&self) -> bool {
        matches!(self.ending, Some(SessionEnding::Disconnected | SessionEnding::HandshakeFailed))
            && self.commands == 0
    }

    pub(super) fn note_certificate(&mut self, because: &[Because]) {
        let found: Vec<_> =
            because.iter().map(|because| format!("{}: {}", because.rule, because.found)).collect();
        self.client_certificate =
            (!found.is_empty()).then(|| found.join("; ").escape_debug().to_string());
    }

    pub(super) fn accept(&mut self, id: QueueId) {
        self.messages_accepted += 1;
        self.junk_commands = 0;
        self.useless_octets = 0;
        if self.queue_ids.len() < LOGGED_VERDICTS {
            self.queue_ids.push(id);
        }
    }

    /// Would this many further octets without a message exceed the limit?
    pub(super) fn exceeds_useless(&self, more: u64, peer: &Peer) -> bool {
        self.useless_octets.saturating_add(more) > Self::most_useless(peer)
    }

    /// The limit of octets without a message.
    pub(super) fn most_useless(peer: &Peer) -> u64 {
        USELESS_OCTETS.max(peer.connector.limits.max_message_size)
    }

    /// Notes the findings about one message.
    pub(super) fn checked(
        &mut self,
        peer: &Peer,
        sender: Option<&SenderFound>,
        message: Option<&MessageFound>,
    ) {
        let bypass = antispam::bypass(peer);
        let is_told_once = bypass.is_some();
        let found = match bypass {
            Some(Because { rule, found }) => format!("skipped ({rule}: {found})"),
            None => {
                let sender = sender.map(ToString::to_string);
                let message = message.map(ToString::to_string);
                let parts = sender.into_iter().chain(message).filter(|part| !part.is_empty());
                parts.collect::<Vec<_>>().join(" ")
            }
        };
        if found.is_empty() {
            return;
        }
        let most = if is_told_once { 1 } else { LOGGED_VERDICTS };
        if self.checks.len() < most {
            self.checks.push(found.clone());
        }
        self.decisions.checks = Some(found);
    }

    /// Notes that the message is larger than others may send, if a right allowed it.
    pub(super) fn passed(&mut self, because: &[Because]) {
        let right = Rule::Permission(Permission::BypassMessageSizeLimit);
        let Some(at) = because.iter().position(|because| because.rule == right) else { return };
        let size = because[..at].last().map(|size| size.found.to_string()).unwrap_or_default();
        let found = format!("no size limit ({right}: {}; {size})", because[at].found);
        if self.checks.len() < LOGGED_VERDICTS {
            self.checks.push(found.clone());
        }
        let checks = self.decisions.checks.take().into_iter().chain([found]);
        self.decisions.checks = Some(checks.collect::<Vec<_>>().join("; "));
    }

    pub(super) fn note(&mut self, command: Verb, decision: Decision) {
        self.refusals += 1;
        self.tell_refused(command, &decision);
        self.decisions.refused(command, &decision);
        if self.verdicts.len() < LOGGED_VERDICTS {
            self.verdicts.push(CommandRefusal { command, decision });
        }
    }
}

/// As in `RCPT 550 5.7.54 (ms-Exch-SMTP-Accept-Any-Recipient: not granted to anonymous)`.
impl Display for CommandRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Reply { code, enhanced, .. } = &self.decision.reply;
        write!(f, "{} {code}", self.command)?;
        if let Some(enhanced) = enhanced {
            write!(f, " {enhanced}")?;
        }
        if let Some(Because { rule, found }) = self.decision.because.last() {
            write!(f, " ({rule}: {})", found.to_string().escape_debug())?;
        }
        Ok(())
    }
}

impl SessionEnding {
    /// The ending at this limit.
    pub(super) const fn of_limit(limit: SessionLimit) -> Self {
        match limit {
            SessionLimit::Commands(_) => Self::TooManyCommands,
            SessionLimit::ProtocolErrors(_) => Self::TooManyErrors,
            SessionLimit::RefusedRecipients(_) => Self::TooManyRefusedRecipients,
            SessionLimit::UselessOctets(_) => Self::UselessOctets,
        }
    }

    /// The rule that ended the session.
    pub(super) const fn rule(self) -> Rule {
        match self {
            Self::TooManyErrors => Rule::MaxProtocolErrors,
            Self::TooManyLogonFailures => Rule::MaxLogonFailures,
            Self::TooManyRefusedRecipients => Rule::MaxRefusedRecipients,
            _ => Rule::Session,
        }
    }

    /// The ending after a last line, see [`LineError::is_last`].
    pub(super) const fn of_line(error: LineError) -> Self {
        match error {
            LineError::BareLf => Self::LineFeed,
            LineError::ChunkCommand => Self::ChunkSize,
            LineError::NoCommand(_) => Self::OtherProtocol,
            _ => Self::UselessOctets,
        }
    }
}

impl Display for SessionEnding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChunkSize => "a BDAT command whose octets are not read",
            Self::ConnectionTimeout => "connection timeout",
            Self::Disconnected => "disconnected",
            Self::HeaderTooLarge => "header too large",
            Self::InactivityTimeout => "inactivity timeout",
            Self::NoDomainName => "no domain name in EHLO",
            Self::HandshakeFailed => "TLS handshake failed",
            Self::HandshakeTimeout => "TLS handshake timeout",
            Self::LineFeed => "line ends with LF alone",
            Self::MessageRate => "message rate",
            Self::OtherProtocol => "another protocol",
            Self::PlaintextAfterStartTls => "plain text after STARTTLS",
            Self::QueueTimeout => "queue timeout",
            Self::Quit => "QUIT",
            Self::Refused => "refused",
            Self::RepliesUnread => "replies not read",
            Self::ShutDown => "shut down",
            Self::TooManyCommands => "too many commands without a message",
            Self::TooManyErrors => "too many errors",
            Self::TooManyLogonFailures => "too many logon failures",
            Self::TooManyRefusedRecipients => "too many refused recipients",
            Self::UselessOctets => "too many octets that lead to no message",
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::summary::*;

    #[test]
    fn a_right_that_let_a_large_message_pass_is_named_where_it_had_to() {
        let because = |rule, found: &str| Because { rule, found: found.to_owned().into() };
        let size = because(Rule::MaxMessageSize, "40 octets, over the 36 allowed");
        let right =
            because(Rule::Permission(Permission::BypassMessageSizeLimit), "by ExchangeServers");
        let mut summary = Summary::default();
        summary.passed(std::slice::from_ref(&size));
        assert_eq!((summary.checks.len(), &summary.decisions.checks), (0, &None));
        summary.decisions.checks = Some("skipped".to_owned());
        summary.passed(&[size, right]);
        let told = summary.decisions.checks.as_deref().unwrap();
        assert!(told.starts_with("skipped; "), "{told}");
        assert!(told.contains("ms-Exch-Bypass-Message-Size-Limit") && told.contains("40 octets"));
        assert_eq!(summary.checks.len(), 1);
    }
}
