//! RCPT: may this principal send to that recipient?
//!
//! A domain that cannot be relayed to is refused for good before the number of recipients is
//! looked at: a client told to try again later would only come back for the same refusal. Whether
//! a recipient exists is asked last, and of those only that everything else would let pass.

use super::{
    AcceptedDomain, AcceptedDomainType, Findings, Inquiry, Judgement, Peer, Reasons,
    RecipientFinding, RecipientLookup, Rules,
};
use crate::connector::Permission;
use crate::smtp::path::{Domain, ForwardPath, Mailbox};
use crate::smtp::reply::{
    RECIPIENT_NOT_FOUND, RECIPIENT_OK, RECIPIENT_UNVERIFIED, Reply, TOO_MANY_RECIPIENTS,
    UNABLE_TO_RELAY,
};

/// RCPT with this recipient, after `accepted_so_far` recipients of the same message.
pub fn rcpt(
    rules: &Rules,
    peer: &Peer,
    recipient: &ForwardPath,
    accepted_so_far: usize,
    findings: &Findings,
) -> Judgement {
    let mut reasons = Reasons::default();
    let decided = |reasons: Reasons, reply| Judgement::Decided(reasons.decide(reply));
    let (may_relay, lookup) = match recipient {
        // RFC 5321 section 4.5.1 wants it accepted wherever mail is accepted at all. It goes to
        // the next hop as it is, which owes it the same.
        ForwardPath::Postmaster => {
            reasons.note("postmaster", "always accepted");
            (true, None)
        }
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
        reasons.note("max_recipients_per_message", format!("{most} are accepted already"));
        return decided(reasons, TOO_MANY_RECIPIENTS);
    }
    let Some((mailbox, lookup)) = lookup else { return decided(reasons, RECIPIENT_OK) };
    match &findings.recipient {
        None => Judgement::Needs(Inquiry::Recipient { mailbox, lookup }),
        Some(finding) => {
            let reply = by_finding(finding, &lookup, &mut reasons);
            decided(reasons, reply)
        }
    }
}

/// An accepted domain of any type needs no right; every other host, address literals included,
/// needs Accept-Any-Recipient. Who knows the recipients of the domain comes with the answer.
fn may_send_to(
    rules: &Rules,
    peer: &Peer,
    mailbox: &Mailbox,
    reasons: &mut Reasons,
) -> (bool, Option<(Mailbox, RecipientLookup)>) {
    let domain = mailbox.domain().map(Domain::ascii);
    if let Some(accepted) = domain.and_then(|domain| rules.accepted_domains.covering(domain)) {
        reasons.note("accepted_domain", format!("the recipient is in {accepted}"));
        return (true, lookup_of(accepted).map(|lookup| (mailbox.clone(), lookup)));
    }
    reasons.note("accepted_domain", format!("`{}` is not accepted", mailbox.host()));
    (reasons.permits(peer, Permission::AcceptAnyRecipient), None)
}

/// The domain of `someone%elsewhere.example@contoso.example` is ours, and the server behind us that
/// takes the local part for a route would relay, since it trusts us. So a route needs the right
/// that its destination would need.
fn may_route(peer: &Peer, reasons: &mut Reasons) -> bool {
    reasons.note("recipient", "the local part can be read as a route to another host");
    reasons.permits(peer, Permission::AcceptAnyRecipient)
}

/// Only of an authoritative domain are all recipients known to somebody here.
fn lookup_of(accepted: &AcceptedDomain) -> Option<RecipientLookup> {
    let is_authoritative = accepted.kind == AcceptedDomainType::Authoritative;
    accepted.recipient_lookup.clone().filter(|_| is_authoritative)
}

/// Not to know whether a recipient exists is no reason to take mail that may have to come back,
/// and none to refuse it for good.
fn by_finding(
    finding: &RecipientFinding,
    lookup: &RecipientLookup,
    reasons: &mut Reasons,
) -> Reply {
    const RULE: &str = "recipient_lookup";
    match finding {
        RecipientFinding::Known => {
            reasons.note(RULE, format!("{lookup} knows the recipient"));
            RECIPIENT_OK
        }
        RecipientFinding::NotAsked => {
            reasons.note(RULE, format!("{lookup} would be asked; taken for known here"));
            RECIPIENT_OK
        }
        RecipientFinding::Unavailable(why) => {
            reasons.note(RULE, format!("{lookup} gave no answer: {why}"));
            RECIPIENT_UNVERIFIED
        }
        RecipientFinding::Unknown(reply) => {
            reasons.note(RULE, format!("{lookup} refused the recipient: {reply}"));
            RECIPIENT_NOT_FOUND
        }
    }
}
