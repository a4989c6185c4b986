//! RCPT: is the domain one to which this host should not send mail?
//!
//! Three refusals of Exchange that a connector can switch on. They are valid for every principal
//! and checked before the accepted domains: an administrator who switches one on considers such a
//! recipient a mistake of any client.

use crate::{Peer, Reasons, Rule};
use relay_mail::path::Mailbox;
use relay_mail::reply::{
    RESERVED_SECOND_LEVEL_DOMAIN, RESERVED_TOP_LEVEL_DOMAIN, Reply, SINGLE_LABEL_DOMAIN,
};

/// RFC 2606 section 2.
const TOP_LEVEL: [&str; 4] = ["test", "example", "invalid", "localhost"];
/// RFC 2606 section 3. Their subdomains are reserved too.
const SECOND_LEVEL: [&str; 3] = ["example.com", "example.net", "example.org"];

/// The refusal of a recipient, if the connector refuses its domain. Address literals are never
/// refused here.
pub(super) fn refusal(peer: &Peer, mailbox: &Mailbox, reasons: &mut Reasons) -> Option<Reply> {
    let refused = peer.connector.reject_recipient_domains;
    let domain = mailbox.domain()?;
    let is_below = |reserved: &&str| domain.is_at_or_below(reserved);
    let domain = domain.ascii();
    if refused.reserved_top_level && TOP_LEVEL.iter().any(is_below) {
        let found = format!("`{domain}` is reserved");
        reasons.note(Rule::RejectReservedTopLevel, found);
        return Some(RESERVED_TOP_LEVEL_DOMAIN);
    }
    if refused.reserved_second_level && SECOND_LEVEL.iter().any(is_below) {
        let found = format!("`{domain}` is reserved");
        reasons.note(Rule::RejectReservedSecondLevel, found);
        return Some(RESERVED_SECOND_LEVEL_DOMAIN);
    }
    if refused.single_label && !domain.contains('.') {
        let found = format!("`{domain}` is a single label");
        reasons.note(Rule::RejectSingleLabel, found);
        return Some(SINGLE_LABEL_DOMAIN);
    }
    None
}
