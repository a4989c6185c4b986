//! MAIL: may this principal send, as this sender, that much? And at the end of data: may it send a
//! message that says so of its authors?
//!
//! The null sender passes both sender checks: a report must reach its reader. Its authors are
//! judged all the same, or `<>` would open what the check closes.

use crate::{AcceptedDomainType, Decision, Peer, Reasons, Rule, Rules};
use relay_connector::Permission;
use relay_mail::path::{Domain, Mailbox, ReversePath};
use relay_mail::reply::{
    MAY_NOT_SEND_AS, MESSAGE_TOO_LARGE, NOT_AUTHENTICATED, QUEUED, Reply, SENDER_OK, TLS_REQUIRED,
};
use relay_message::author::Unclear;

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
        reasons.note(Rule::RequireTls, "the session is not encrypted");
        return TLS_REQUIRED;
    }
    if !reasons.permits(peer, Permission::Submit) {
        return NOT_AUTHENTICATED;
    }
    match sender {
        ReversePath::Null => reasons.note(Rule::Sender, "the null sender needs no right"),
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

/// The header's authors, for who lacks Accept-Any-Sender: each of them must be one that it could give
/// to MAIL. They are read only where that is so. With Accept-Any-Sender the header is not looked at,
/// not even for our own domains: a mailing list sends its members' words from outside.
pub fn authors(
    rules: &Rules,
    peer: &Peer,
    read: impl FnOnce() -> Result<Vec<Mailbox>, Unclear>,
) -> Decision {
    let mut reasons = Reasons::default();
    if reasons.permits(peer, Permission::AcceptAnySender) {
        return reasons.decide(QUEUED);
    }
    let may_send = match read() {
        Ok(authors) => authors.iter().all(|author| may_send_as(rules, peer, author, &mut reasons)),
        Err(unclear) => {
            reasons.note(Rule::HeaderFrom, unclear.to_string());
            false
        }
    };
    reasons.decide(if may_send { QUEUED } else { MAY_NOT_SEND_AS })
}

/// A user sends as itself, whatever the domain; as anybody else only like everybody else, with
/// Accept-Any-Sender.
///
/// Two rights, two questions. A sender in an authoritative domain speaks for us and needs
/// Accept-Authoritative-Domain-Sender. Accept-Any-Sender spares the other check: without it the
/// sender has to be in an accepted domain, or in a domain that the certificate of a partner is for.
fn may_send_as(rules: &Rules, peer: &Peer, mailbox: &Mailbox, reasons: &mut Reasons) -> bool {
    if let Some(user) = &peer.user {
        if let Some(entry) = user.send_as.iter().find(|entry| entry.covers(mailbox)) {
            reasons.note(Rule::SendAs, format!("the user {} may send as {entry}", user.name));
            return true;
        }
        reasons.note(Rule::SendAs, format!("`{mailbox}` is no address of the user {}", user.name));
        if !reasons.permits(peer, Permission::AcceptAnySender) {
            return false;
        }
    }
    let domain = mailbox.domain().map(Domain::ascii);
    let accepted = domain.and_then(|domain| rules.accepted_domains.covering(domain));
    if let Some(accepted) = accepted
        && accepted.kind == AcceptedDomainType::Authoritative
    {
        reasons.note(Rule::AcceptedDomain, format!("the sender is in {accepted}"));
        return reasons.permits(peer, Permission::AcceptAuthoritativeDomainSender);
    }
    if reasons.permits(peer, Permission::AcceptAnySender) {
        return true;
    }
    if let Some(domain) = domain
        && let Some(proven) = peer.partner_domains.iter().find(|proven| proven.covers(domain))
    {
        let found = format!("the sender is in {proven}, which its certificate is for");
        reasons.note(Rule::TlsReceiveDomainSecureList, found);
        return true;
    }
    match accepted {
        Some(accepted) => {
            reasons.note(Rule::AcceptedDomain, format!("the sender is in {accepted}"));
            true
        }
        None => {
            reasons.note(Rule::AcceptedDomain, format!("`{}` is not accepted", mailbox.host()));
            false
        }
    }
}
