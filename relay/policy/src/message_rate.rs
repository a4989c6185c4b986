//! MAIL: has this client sent too many messages recently?
//!
//! Checked after the local rules have let a message pass, and before other servers are asked about
//! its sender, which costs them and us more. This module decides which payer a message counts for;
//! `server` counts messages across connections.

use crate::inquiry::{MessageRateFinding, MessageRatePayers};
use crate::{Consequence, DecisionOrInquiry, Findings, Inquiry, Peer, Reasons, Rule};
use relay_connector::MessageRateSource;
use relay_mail::reply::MESSAGE_RATE_EXCEEDED;
use relay_mail::user_name::UserName;

/// `None` if the message may pass.
pub fn message_rate(peer: &Peer, findings: &Findings) -> Option<DecisionOrInquiry> {
    let limits = &peer.connector.limits;
    let limit = limits.message_rate_limit?;
    let payers = payers(limits.message_rate_source, peer.user_name())?;
    match findings.message_rate {
        None => Some(DecisionOrInquiry::Needs(Inquiry::MessageRate { limit, payers })),
        Some(MessageRateFinding::NotAsked | MessageRateFinding::Within) => None,
        Some(MessageRateFinding::Exceeded) => {
            let mut reasons = Reasons::default();
            let source = limits.message_rate_source;
            let found = format!("more than {limit} messages a minute, counted by {source}");
            reasons.note(Rule::MessageRateLimit, found);
            Some(DecisionOrInquiry::Decided(
                reasons.conclude(MESSAGE_RATE_EXCEEDED, Consequence::TooManyMessages),
            ))
        }
    }
}

/// If users are counted, a client without a user is counted by its source: the sender in MAIL is
/// only a claim, and would give every message its own limit.
fn payers(source: MessageRateSource, user: Option<&UserName>) -> Option<MessageRatePayers> {
    let (by_source, by_user) = match source {
        MessageRateSource::None => return None,
        MessageRateSource::IpAddress => (true, false),
        MessageRateSource::User => (user.is_none(), true),
        MessageRateSource::All => (true, true),
    };
    Some(MessageRatePayers { source: by_source, user: user.filter(|_| by_user).cloned() })
}
