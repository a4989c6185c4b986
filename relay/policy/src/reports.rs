//! NOTIFY and RET (RFC 3461): what may the sender of a message be told, and how much comes back?
//!
//! A report goes to the address in MAIL. A stranger can put any address there, and with
//! NOTIFY=SUCCESS or RET=FULL this host would send that address mail of the stranger's choice. So
//! both are granted only where the address is proven, or where the client may send to any address
//! itself. Reports of failure stay: they are owed to the sender (RFC 5321 section 6.1). Those to an
//! address that is not proven return the header section, also where RET was not given.

use crate::{Because, Decision, Peer, Rule};
use relay_connector::Permission;
use relay_mail::dsn::{MailDsn, RcptDsn, Ret};
use relay_mail::path::ReversePath;
use relay_message::finding::{SenderFound, SpfIdentity, SpfResult};

/// Records whether the address of a MAIL that was accepted is proven, and takes RET=FULL from one that
/// is not; the decision says so.
pub fn limit_ret(
    peer: &Peer,
    sender: &ReversePath,
    found: Option<&SenderFound>,
    dsn: &mut MailDsn,
    decision: &mut Decision,
) {
    let obstacle = obstacle(peer, sender, found);
    dsn.is_unproven = obstacle.is_some();
    if dsn.ret == Some(Ret::Full)
        && let Some(because) = obstacle
    {
        dsn.ret = Some(Ret::Headers);
        note(decision, Because { rule: Rule::RetFull, found: format!("headers only: {because}") });
    }
}

/// Takes SUCCESS out of the NOTIFY of a RCPT that was accepted, unless it is granted; the decision
/// says so. What is left may be NEVER, as the client did not ask for more.
pub fn limit_notify(
    peer: &Peer,
    sender: &ReversePath,
    found: Option<&SenderFound>,
    dsn: &mut RcptDsn,
    decision: &mut Decision,
) {
    if let Some(notify) = &mut dsn.notify
        && notify.success
        && let Some(because) = obstacle(peer, sender, found)
    {
        notify.success = false;
        note(decision, Because { rule: Rule::NotifySuccess, found: format!("ignored: {because}") });
    }
}

/// Why the address in MAIL may belong to somebody else; `None` where that does no harm.
fn obstacle(
    peer: &Peer,
    sender: &ReversePath,
    found: Option<&SenderFound>,
) -> Option<&'static str> {
    let ReversePath::Mailbox(mailbox) = sender else { return None };
    let may_send_anywhere = peer.has(Permission::AcceptAnyRecipient);
    let is_users = peer
        .user
        .as_ref()
        .is_some_and(|user| user.send_as.iter().any(|entry| entry.covers(mailbox)));
    let is_partners = mailbox.domain().is_some_and(|domain| {
        peer.partner_domains.iter().any(|proven| proven.covers(domain.ascii()))
    });
    let passed = found
        .and_then(|found| found.spf.as_ref())
        .is_some_and(|spf| spf.result == SpfResult::Pass && spf.identity == SpfIdentity::MailFrom);
    let is_proven = may_send_anywhere || is_users || is_partners || passed;
    (!is_proven).then_some("nothing proves that the sender's address is the client's")
}

/// Before the rule that decided, which is the last.
fn note(decision: &mut Decision, because: Because) {
    let last = decision.because.len().saturating_sub(1);
    decision.because.insert(last, because);
}
