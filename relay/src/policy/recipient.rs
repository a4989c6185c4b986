//! RCPT: may this principal send to that recipient?
//!
//! A domain that cannot be relayed to is refused for good before the number of recipients is
//! looked at: a client told to try again later would only come back for the same refusal.

use super::{Decision, Peer, Reasons, Rules};
use crate::connector::Permission;
use crate::smtp::path::{Domain, ForwardPath, Mailbox};
use crate::smtp::reply::{RECIPIENT_OK, TOO_MANY_RECIPIENTS, UNABLE_TO_RELAY};

/// RCPT with this recipient, after `accepted_so_far` recipients of the same message.
pub fn rcpt(
    rules: &Rules,
    peer: &Peer,
    recipient: &ForwardPath,
    accepted_so_far: usize,
) -> Decision {
    let mut reasons = Reasons::default();
    let may_relay = match recipient {
        // RFC 5321 section 4.5.1 wants it accepted wherever mail is accepted at all. It goes to
        // the next hop as it is, which owes it the same.
        ForwardPath::Postmaster => {
            reasons.note("postmaster", "always accepted");
            true
        }
        ForwardPath::Mailbox(mailbox) => may_send_to(rules, peer, mailbox, &mut reasons),
    };
    if !may_relay {
        return reasons.decide(UNABLE_TO_RELAY);
    }
    let most = peer.connector.limits.max_recipients_per_message;
    if accepted_so_far >= usize::try_from(most).unwrap_or(usize::MAX) {
        reasons.note("max_recipients_per_message", format!("{most} are accepted already"));
        return reasons.decide(TOO_MANY_RECIPIENTS);
    }
    reasons.decide(RECIPIENT_OK)
}

/// An accepted domain of any type needs no right; every other host, address literals included,
/// needs Accept-Any-Recipient.
fn may_send_to(rules: &Rules, peer: &Peer, mailbox: &Mailbox, reasons: &mut Reasons) -> bool {
    let domain = mailbox.domain().map(Domain::ascii);
    if let Some(accepted) = domain.and_then(|domain| rules.accepted_domains.covering(domain)) {
        reasons.note("accepted_domain", format!("the recipient is in {accepted}"));
        return true;
    }
    reasons.note("accepted_domain", format!("`{}` is not accepted", mailbox.host()));
    reasons.permits(peer, Permission::AcceptAnyRecipient)
}
