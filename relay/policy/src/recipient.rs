//! RCPT: may this principal send to that recipient?
//!
//! A domain without the right to relay is refused permanently before the number of recipients is
//! checked: a client that is told to try again later would only come back for the same refusal.
//! Whether a recipient exists is checked last, and only if everything else lets it pass.

use crate::{AcceptedDomain, DecisionOrInquiry, Findings, Peer, Reasons, Rule, Rules, existence};
use relay_connector::Permission;
use relay_mail::path::{Domain, ForwardPath, Mailbox};
use relay_mail::reply::{RECIPIENT_NOT_FOUND, RECIPIENT_OK, TOO_MANY_RECIPIENTS, UNABLE_TO_RELAY};

/// RCPT with this recipient, after `accepted_so_far` recipients of the same message.
pub fn rcpt(
    rules: &Rules,
    peer: &Peer,
    recipient: &ForwardPath,
    accepted_so_far: usize,
    findings: &Findings,
) -> DecisionOrInquiry {
    let mut reasons = Reasons::default();
    let decided = |reasons: Reasons, reply| DecisionOrInquiry::Decided(reasons.decide(reply));
    let (may_relay, accepted) = match recipient {
        // RFC 5321 section 4.5.1 requires to accept it from every client, if it has a reader.
        ForwardPath::Postmaster => match &rules.postmaster {
            Some(mailbox) => {
                reasons.note(Rule::Postmaster, format!("mail for postmaster goes to {mailbox}"));
                (true, None)
            }
            None => {
                let found = "neither this key nor an authoritative domain is configured";
                reasons.note(Rule::Postmaster, found);
                return decided(reasons, RECIPIENT_NOT_FOUND);
            }
        },
        ForwardPath::Mailbox(mailbox) => {
            if let Some(reply) = super::reserved_domain::refusal(peer, mailbox, &mut reasons) {
                return decided(reasons, reply);
            }
            may_send_to(rules, peer, mailbox, &mut reasons)
        }
    };
    if !may_relay {
        return decided(reasons, UNABLE_TO_RELAY);
    }
    if let ForwardPath::Mailbox(mailbox) = recipient
        && mailbox.has_route()
        && !may_route(peer, &mut reasons)
    {
        return decided(reasons, UNABLE_TO_RELAY);
    }
    let most = peer.connector.limits.max_recipients_per_message;
    if accepted_so_far >= usize::try_from(most).unwrap_or(usize::MAX) {
        reasons.note(Rule::MaxRecipientsPerMessage, format!("{most} are accepted already"));
        return decided(reasons, TOO_MANY_RECIPIENTS);
    }
    let (ForwardPath::Mailbox(mailbox), Some(accepted)) = (recipient, accepted) else {
        return decided(reasons, RECIPIENT_OK);
    };
    existence::judge(mailbox, accepted, findings, reasons)
}

/// An accepted domain of any type needs no right; every other host, including address literals,
/// needs Accept-Any-Recipient. Also returns the accepted domain.
fn may_send_to<'rules>(
    rules: &'rules Rules,
    peer: &Peer,
    mailbox: &Mailbox,
    reasons: &mut Reasons,
) -> (bool, Option<&'rules AcceptedDomain>) {
    let domain = mailbox.domain().map(Domain::ascii);
    if let Some(accepted) = domain.and_then(|domain| rules.accepted_domains.covering(domain)) {
        reasons.note(Rule::AcceptedDomain, format!("the recipient is in {accepted}"));
        return (true, Some(accepted));
    }
    reasons.note(Rule::AcceptedDomain, format!("`{}` is not accepted", mailbox.host()));
    (reasons.permits(peer, Permission::AcceptAnyRecipient), None)
}

/// The domain of `someone%elsewhere.example@contoso.example` is ours, but an inner server that
/// reads the local part as a route would relay, since it trusts us. So a route needs the right that
/// its destination would need.
fn may_route(peer: &Peer, reasons: &mut Reasons) -> bool {
    reasons.note(Rule::Recipient, "the local part can be read as a route to another host");
    reasons.permits(peer, Permission::AcceptAnyRecipient)
}
