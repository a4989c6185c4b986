//! Which reply does a client get that has exceeded a limit of its session? It replaces the reply to
//! the command, and the session ends after it.

use crate::{Because, Decision, Rule};
use relay_mail::reply::{Reply, TOO_MANY_COMMANDS, TOO_MANY_ERRORS};

/// A limit of the session that a refused command has exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionLimit {
    /// Commands that lead to no message; the limit.
    Commands(u32),
    /// `max_protocol_errors`.
    ProtocolErrors(u32),
    /// `max_refused_recipients`.
    RefusedRecipients(u32),
    /// Octets that lead to no message; the limit.
    UselessOctets(u64),
}

impl SessionLimit {
    /// The last reply of the session.
    pub const fn reply(self) -> Reply {
        match self {
            Self::Commands(_) => TOO_MANY_COMMANDS,
            Self::ProtocolErrors(_) | Self::RefusedRecipients(_) | Self::UselessOctets(_) => {
                TOO_MANY_ERRORS
            }
        }
    }

    fn because(self) -> Because {
        let (rule, found) = match self {
            Self::Commands(most) => {
                (Rule::Session, format!("more than {most} commands without a message"))
            }
            Self::ProtocolErrors(most) => {
                (Rule::MaxProtocolErrors, format!("more than {most} protocol errors"))
            }
            Self::RefusedRecipients(most) => {
                (Rule::MaxRefusedRecipients, format!("more than {most} refused recipients"))
            }
            Self::UselessOctets(most) => {
                (Rule::Session, format!("more than {most} octets that lead to no message"))
            }
        };
        Because { rule, found }
    }

    /// The decision that the client sees instead of the one about its command. The reason of the
    /// command's own refusal remains readable in that of the limit, because records have one reason.
    pub fn replace(self, mut decision: Decision) -> Decision {
        let mut limit = self.because();
        if let Some(Because { rule, found }) = decision.because.last() {
            limit.found = format!("{}; the last refusal: {rule}: {found}", limit.found);
        }
        decision.because.push(limit);
        decision.reply = self.reply();
        decision
    }
}
