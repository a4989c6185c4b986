//! MAIL: may this principal send, as this sender, that much?
//!
//! The null sender passes both sender checks: a report must reach its reader.

use super::{AcceptedDomainType, Decision, Peer, Reasons, Rules};
use crate::connector::Permission;
use crate::smtp::path::{Domain, Mailbox, ReversePath};
use crate::smtp::reply::{
    MAY_NOT_SEND_AS, MESSAGE_TOO_LARGE, NOT_AUTHENTICATED, Reply, SENDER_OK, TLS_REQUIRED,
};

/// MAIL with this sender and, where the client gave one, this SIZE in octets.
pub fn mail(
    rules: &Rules,
    peer: &Peer,
    sender: &ReversePath,
    declared_size: Option<u64>,
) -> Decision {
    let mut reasons = Reasons::default();
    let reply = decide(rules, peer, sender, declared_size, &mut reasons);
    reasons.decide(reply)
}

fn decide(
    rules: &Rules,
    peer: &Peer,
    sender: &ReversePath,
    declared_size: Option<u64>,
    reasons: &mut Reasons,
) -> Reply {
    if peer.connector.require_tls && !peer.tls {
        reasons.note("require_tls", "the session is not encrypted");
        return TLS_REQUIRED;
    }
    if !reasons.permits(peer, Permission::Submit) {
        return NOT_AUTHENTICATED;
    }
    match sender {
        ReversePath::Null => reasons.note("sender", "the null sender needs no right"),
        ReversePath::Mailbox(mailbox) => {
            if !may_send_as(rules, peer, mailbox, reasons) {
                return MAY_NOT_SEND_AS;
            }
        }
    }
    if let Some(size) = declared_size
        && super::message::is_too_large(peer, size, reasons)
    {
        return MESSAGE_TOO_LARGE;
    }
    SENDER_OK
}

/// Two rights, two questions. A sender in an authoritative domain speaks for us and needs
/// Accept-Authoritative-Domain-Sender. Accept-Any-Sender spares the other check: without it the
/// sender has to be in an accepted domain, or in a domain that the certificate of a partner is for.
fn may_send_as(rules: &Rules, peer: &Peer, mailbox: &Mailbox, reasons: &mut Reasons) -> bool {
    let domain = mailbox.domain().map(Domain::ascii);
    let accepted = domain.and_then(|domain| rules.accepted_domains.covering(domain));
    if let Some(accepted) = accepted
        && accepted.kind == AcceptedDomainType::Authoritative
    {
        reasons.note("accepted_domain", format!("the sender is in {accepted}"));
        return reasons.permits(peer, Permission::AcceptAuthoritativeDomainSender);
    }
    if reasons.permits(peer, Permission::AcceptAnySender) {
        return true;
    }
    if let Some(domain) = domain
        && let Some(proven) = peer.partner_domains.iter().find(|proven| proven.covers(domain))
    {
        let found = format!("the sender is in {proven}, which its certificate is for");
        reasons.note("tls_receive_domain_secure_list", found);
        return true;
    }
    match accepted {
        Some(accepted) => {
            reasons.note("accepted_domain", format!("the sender is in {accepted}"));
            true
        }
        None => {
            reasons.note("accepted_domain", format!("`{}` is not accepted", mailbox.host()));
            false
        }
    }
}
