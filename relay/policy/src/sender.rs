//! MAIL: may this principal send, as this sender, a message of this size? And at the end of data:
//! may it send a message with these authors?
//!
//! The null sender passes both sender checks, because a report must reach its reader. Its authors
//! are checked nevertheless: otherwise `<>` would bypass the check.

use crate::{AcceptedDomainType, Decision, Peer, Reasons, Rule, Rules};
use relay_connector::Permission;
use relay_mail::path::{Domain, Mailbox, ReversePath};
use relay_mail::reply::{
    MAY_NOT_SEND_AS, MESSAGE_TOO_LARGE, NOT_AUTHENTICATED, QUEUED, Reply, SENDER_OK, TLS_REQUIRED,
};
use relay_message::author::Unclear;

/// MAIL with this sender and, if the client gave one, this SIZE in octets.
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

/// The header's authors, for a client without Accept-Any-Sender: it must be allowed to give each of
/// them in MAIL. They are parsed only in this case. With Accept-Any-Sender the header is not
/// checked, even for our own domains: a mailing list sends its members' messages from outside.
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

/// A user may send as its own addresses, in any domain; as other senders only like every other
/// client, with Accept-Any-Sender.
///
/// There are two rights for two questions. A sender in an authoritative domain is one of ours and
/// needs Accept-Authoritative-Domain-Sender. Accept-Any-Sender replaces the other check: without it
/// the sender must be in an accepted domain, or in a domain of a partner's certificate.
fn may_send_as(rules: &Rules, peer: &Peer, mailbox: &Mailbox, reasons: &mut Reasons) -> bool {
    if let Some(user) = &peer.user {
        if let Some(entry) = user.send_as.iter().find(|entry| entry.covers(mailbox)) {
            reasons.note(Rule::SendAs, format!("the user {} may send as {entry}", user.name));
            return true;
        }
        reasons
            .note(Rule::SendAs, format!("`{mailbox}` is not in send_as of the user {}", user.name));
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
        let found = format!("the sender is in {proven}, a domain of the client's certificate");
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
