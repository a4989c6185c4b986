//! How the sender of a message was known, in the words of Exchange: what our own fields say of it.
//!
//! `AuthAs` is what later servers act on: a group that takes mail from authenticated senders only
//! takes what is `Internal`. The right `ms-Exch-SMTP-Accept-Authentication-Flag` says who counts as
//! one of ours; a user of ours does without it, since it has proved who it is.

use std::fmt;

use relay_connector::{Permission, Principal};

use super::{Peer, Reasons};

/// Values of `X-MS-Exchange-Organization-AuthAs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthAs {
    /// Nobody whom we know.
    Anonymous,
    /// Somebody whom we know and who does not count as one of ours.
    External,
    /// One of ours.
    Internal,
    /// A partner, by its certificate.
    Partner,
}

/// What is stamped on a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// As what the sender counts.
    pub auth_as: AuthAs,
    /// `X-MS-Exchange-Organization-AuthMechanism`: how it was known, by Exchange's numbers. `None`
    /// where no published source tells the number: then there is no such field.
    pub mechanism: Option<u8>,
}

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
    reasons.note("AuthAs", format!("the message is stamped {stamp}"));
    stamp
}

impl fmt::Display for AuthAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::External => "External",
            Self::Internal => "Internal",
            Self::Partner => "Partner",
        })
    }
}

/// As in `Internal, mechanism 10`, or `Partner` alone.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.auth_as.fmt(f)?;
        match self.mechanism {
            Some(mechanism) => write!(f, ", mechanism {mechanism:02X}"),
            None => Ok(()),
        }
    }
}
