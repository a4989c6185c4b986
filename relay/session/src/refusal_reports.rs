//! The refusals of the session, reported when they happen: for the log and for message tracking. The
//! driver decides whether a refusal is recorded, since it knows how often a source is refused.

use crate::limits::REFUSED_RECIPIENTS;
use crate::refused::Refused;
use crate::{Decisions, Session, SessionEnding, Summary};
use relay_mail::path::ForwardPath;
use relay_policy::{Because, Decision, Rule};
use relay_smtp::command::Verb;

impl Summary {
    /// Reports a refusal. Commands without which a message can be sent are not reported.
    pub(super) fn tell_refused(&mut self, command: Verb, decision: &Decision) {
        let recipients = match command {
            Verb::Rcpt => Recipients::of(self.decisions.recipient.iter().cloned()),
            Verb::Bdat | Verb::Data | Verb::EndOfData => {
                Recipients::of(self.decisions.accepted_recipients())
            }
            Verb::Auth | Verb::Connect | Verb::Ehlo | Verb::Helo | Verb::Mail | Verb::StartTls => {
                Recipients::default()
            }
            _ => return,
        };
        let Decisions { sender, asked_sender, identity, .. } = &self.decisions;
        let sender = if command == Verb::Mail { asked_sender } else { sender };
        let refused = Refused {
            command: Some(command),
            sender: sender.clone(),
            recipients: recipients.first,
            recipients_left_out: recipients.left_out,
            identity: identity.clone(),
            reply: Some(decision.reply.clone()),
            because: decision.because.last().cloned(),
        };
        self.untold.push(refused);
    }

    /// The session ends. A message with recipients and without a reply is reported; and so is a
    /// session without any other report: its client meant to send something, and a person may ask
    /// why it did not arrive.
    pub(super) fn tell_broken_off(&mut self, ending: SessionEnding) {
        let recipients = Recipients::of(self.decisions.accepted_recipients());
        let is_open = !recipients.first.is_empty() && !self.decisions.is_answered();
        if !is_open && !self.came_to_nothing(ending) {
            return;
        }
        let last = self.verdicts.last().filter(|_| !is_open);
        let verdict = last.map(ToString::to_string);
        let parts = [Some(ending.to_string()), self.tls_failure.clone(), verdict];
        let found = parts.into_iter().flatten().collect::<Vec<_>>().join(": ");
        self.untold.push(Refused {
            command: None,
            sender: self.decisions.sender.clone(),
            recipients: recipients.first,
            recipients_left_out: recipients.left_out,
            identity: self.decisions.identity.clone(),
            reply: last.map(|verdict| verdict.decision.reply.clone()),
            because: Some(Because { rule: Rule::Session, found }),
        });
    }

    /// Nothing was accepted and nothing reported. A client that only introduces itself, without an
    /// error, checks whether this host is alive.
    fn came_to_nothing(&self, ending: SessionEnding) -> bool {
        let is_error = match ending {
            SessionEnding::ShutDown => false,
            SessionEnding::Disconnected | SessionEnding::Quit => {
                let Decisions { sender, asked_sender, .. } = &self.decisions;
                self.refusals > 0 || sender.is_some() || asked_sender.is_some()
            }
            SessionEnding::HandshakeFailed => self.commands > 0 || !self.left_handshake,
            SessionEnding::HandshakeTimeout
            | SessionEnding::InactivityTimeout
            | SessionEnding::ConnectionTimeout
            | SessionEnding::RepliesUnread => self.commands > 0,
            _ => true,
        };
        is_error && self.messages_accepted == 0 && !self.untold.has_told
    }
}

#[derive(Default)]
struct Recipients {
    first: Vec<ForwardPath>,
    left_out: usize,
}

impl Recipients {
    fn of(mut all: impl Iterator<Item = ForwardPath>) -> Self {
        let first = all.by_ref().take(REFUSED_RECIPIENTS).collect();
        Self { first, left_out: all.count() }
    }
}

impl Session {
    /// The refusals since the last call, oldest first, and the number of further ones.
    pub fn take_refused(&mut self) -> (Vec<Refused>, u64) {
        let untold = &mut self.context.summary.untold;
        (std::mem::take(&mut untold.list), std::mem::take(&mut untold.left_out))
    }
}
