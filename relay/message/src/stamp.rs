//! Our own fields about how the sender was known.
//!
//! They follow our trace field, before all received fields, and are written after the header
//! firewall has removed received fields with these names. A server that may send such fields keeps
//! its own: it knew the sender, and we know only the server.

use std::fmt;

use bytes::Bytes;

/// Values of `X-MS-Exchange-Organization-AuthAs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthAs {
    /// An unknown sender.
    Anonymous,
    /// A known sender who does not count as internal.
    External,
    /// A sender of our organization.
    Internal,
    /// A partner, by its certificate.
    Partner,
}

/// The stamp of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The kind of the sender.
    pub auth_as: AuthAs,
    /// `X-MS-Exchange-Organization-AuthMechanism`: the mechanism, by Exchange's numbers. `None` if
    /// no published source has the number: then there is no such field.
    pub mechanism: Option<u8>,
}

/// The field that says whether a message is stamped.
pub const AUTH_AS: &[u8] = b"X-MS-Exchange-Organization-AuthAs";

/// The fields, with their CRLFs. `source` is the host that decided: the connector's `fqdn`.
pub fn fields(stamp: Stamp, source: &str) -> Bytes {
    let Stamp { auth_as, mechanism } = stamp;
    let mechanism = mechanism.map_or_else(String::new, |mechanism| {
        format!("X-MS-Exchange-Organization-AuthMechanism: {mechanism:02X}\r\n")
    });
    Bytes::from(format!(
        "X-MS-Exchange-Organization-AuthSource: {source}\r\n\
         X-MS-Exchange-Organization-AuthAs: {auth_as}\r\n{mechanism}"
    ))
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
