//! The name that a client gives itself in HELO or EHLO.

use std::fmt;

use crate::limits::DOMAIN_OCTETS;
use crate::smtp::command::CommandError;

/// What follows HELO or EHLO. Nothing is decided by it: it stands in the Received field and in
/// the log, and its characters are such that it can do no harm in either.
///
/// RFC 5321 section 4.1.2 wants a domain or an address literal. Devices write their host name
/// with an underscore, or their address without brackets; refusing those would refuse the very
/// clients that relays exist for, and protect nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloName(String);

impl HelloName {
    /// Reads the name: letters, digits, `-`, `.`, `_`, and `:` and brackets for addresses.
    pub fn parse(text: &str) -> Result<Self, CommandError> {
        let allowed = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet);
        if text.is_empty() || text.len() > DOMAIN_OCTETS || !text.bytes().all(allowed) {
            return Err(CommandError::HelloName);
        }
        Ok(Self(text.to_owned()))
    }

    /// The name as it was given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HelloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
