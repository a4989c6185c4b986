//! NOTIFY and RET (RFC 3461): which reports may the sender of a message get, and with how much of
//! the message?
//!
//! A report is sent to the address in MAIL. A stranger can put any address there, and with
//! NOTIFY=SUCCESS or RET=FULL this host would send that address mail of the stranger's choice. So
//! both are granted only if the address is proven, or if the client itself may send to any address.
//! Reports of failure are always sent: the sender must get them (RFC 5321 section 6.1). Reports to
//! an address that is not proven return only the header section, even without RET.

use crate::{Because, Decision, Peer, Rule};
use relay_connector::Permission;
use relay_mail::dsn::{MailDsn, RcptDsn, Ret};
use relay_mail::path::ReversePath;
use relay_message::finding::{SenderFound, SpfIdentity, SpfResult};

/// Records whether the address of an accepted MAIL is proven, and removes RET=FULL if it is not;
/// the decision says so.
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
        note(
            decision,
            Because { rule: Rule::RetFull, found: format!("headers only: {because}").into() },
        );
    }
}

/// Removes SUCCESS from the NOTIFY of an accepted RCPT, unless it is granted; the decision says so.
/// The rest may be NEVER, as the client did not ask for more.
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
        note(
            decision,
            Because { rule: Rule::NotifySuccess, found: format!("ignored: {because}").into() },
        );
    }
}

/// Why the address in MAIL may belong to another person; `None` if that does no harm.
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
