//! Which reply does a client get that has exceeded a limit of its session? It replaces the reply to
//! the command, and the session ends after it.

use crate::{Because, Decision, Found, Rule};
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

    fn rule(self) -> Rule {
        match self {
            Self::Commands(_) | Self::UselessOctets(_) => Rule::Session,
            Self::ProtocolErrors(_) => Rule::MaxProtocolErrors,
            Self::RefusedRecipients(_) => Rule::MaxRefusedRecipients,
        }
    }

    /// The largest permitted count, and what is counted.
    fn counted(self) -> (u64, &'static str) {
        match self {
            Self::Commands(most) => (most.into(), "commands without a message"),
            Self::ProtocolErrors(most) => (most.into(), "protocol errors"),
            Self::RefusedRecipients(most) => (most.into(), "refused recipients"),
            Self::UselessOctets(most) => (most, "octets that lead to no message"),
        }
    }

    /// The decision that the client sees instead of the one about its command. The reason of the
    /// command's own refusal remains readable in that of the limit, because records have one reason.
    pub fn replace(self, mut decision: Decision) -> Decision {
        let (limit, counted) = self.counted();
        let last = decision.because.last().map(|last| format!("{}: {}", last.rule, last.found));
        let found = Found::SessionLimit { limit, counted, last };
        decision.because.push(Because { rule: self.rule(), found });
        decision.reply = self.reply();
        decision
    }
}
