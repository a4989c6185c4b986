//! Why can a next hop not be used? In one status and one sentence.

use std::io;
use std::net::SocketAddr;

use relay_mail::outcome::{Cause, OutcomeReason};
use relay_mail::reply::Enhanced;
use relay_tls::tls_failure;

/// Why a next hop sends nothing more.
pub(super) const CLOSED: &str = "the next hop closed it";

/// Why nothing more can be received. Most programs that end within TLS do not send close_notify
/// before.
pub(super) fn why_lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
        _ => tls_failure::reason(error),
    }
}

/// The cause if no address could be used. A single cause is returned unchanged.
pub(super) fn one_cause(mut causes: Vec<(SocketAddr, Cause)>) -> Cause {
    if causes.len() == 1
        && let Some((_, cause)) = causes.pop()
    {
        return cause;
    }
    let status = common_status(&causes);
    let sentence = |(address, cause)| format!("{address}: {}", OutcomeReason { hop: None, cause });
    let sentences: Vec<_> = causes.into_iter().map(sentence).collect();
    let mut text = format!("no address of the next hop can be used: {}", sentences.join("; "));
    // Stored for every recipient of every message that waits for the next hop.
    text.truncate(text.floor_char_boundary(relay_smtp::limits::ANSWER_OCTETS));
    Cause::Local { status, text }
}

/// The common status of several causes: an error of TLS or AUTH (X.7.n), which an administrator of
/// this host must correct; otherwise the part that all of them share.
fn common_status(causes: &[(SocketAddr, Cause)]) -> Enhanced {
    let statuses = || {
        causes.iter().filter_map(|(_, cause)| match cause {
            Cause::Local { status, .. } => Some(*status),
            Cause::Reply { .. } => None,
        })
    };
    // X.4.1 of RFC 3463: no answer from host.
    let unreachable = Enhanced(4, 4, 1);
    let security = statuses().find(|Enhanced(_, subject, _)| *subject == 7);
    let first = security.or_else(|| statuses().next()).unwrap_or(unreachable);
    let is_common = statuses().count() == causes.len() && statuses().all(|it| it == first);
    if security.is_some() || is_common { first } else { unreachable }
}
