//! Our own fields that say how the sender was known.
//!
//! They stand under our trace field, above everything that came in, and are written after the header
//! firewall has removed what others wrote under these names. A server that may bring such fields
//! keeps its own: it knew the sender, and we know only it.

use std::fmt;

use bytes::Bytes;

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

/// The field that says whether a message is stamped.
pub const AUTH_AS: &[u8] = b"X-MS-Exchange-Organization-AuthAs";

/// The fields, with their CRLFs. `source` is the host that judged: the connector's `fqdn`.
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
