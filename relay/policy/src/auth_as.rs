//! How was the sender of a message known? In Exchange's terms, for our own header fields.
//!
//! Later servers act on `AuthAs`: a group that accepts mail from authenticated senders only accepts
//! `Internal`. The right `ms-Exch-SMTP-Accept-Authentication-Flag` makes a client count as
//! internal; a user does not need it, since it has authenticated.

use crate::{Peer, Reasons, Rule};
use relay_connector::{Permission, Principal};
use relay_message::stamp::{AuthAs, Stamp};

/// The stamp for messages of this peer.
pub fn auth_as(peer: &Peer) -> Stamp {
    decide(peer, &mut Reasons::default())
}

pub(super) fn decide(peer: &Peer, reasons: &mut Reasons) -> Stamp {
    let mechanism = match peer.principal {
        Principal::Anonymous => Some(0x00),
        Principal::ExternallySecured => Some(0x10),
        Principal::Partner | Principal::Server | Principal::User => None,
    };
    let is_ours = reasons.permits(peer, Permission::AcceptAuthenticationFlag);
    let auth_as = match peer.principal {
        _ if is_ours => AuthAs::Internal,
        Principal::User => AuthAs::Internal,
        Principal::Partner => AuthAs::Partner,
        Principal::ExternallySecured | Principal::Server => AuthAs::External,
        Principal::Anonymous => AuthAs::Anonymous,
    };
    let stamp = Stamp { auth_as, mechanism };
    reasons.note(Rule::AuthAs, format!("the message is stamped {stamp}"));
    stamp
}
