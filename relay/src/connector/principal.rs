//! Who the peer is.

use std::fmt;

/// Who the peer is, by what the connector knows of it. Nothing that the client says about itself
/// in HELO or MAIL makes a principal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// `NT AUTHORITY\ANONYMOUS LOGON`: everybody who did not authenticate.
    Anonymous,
    /// `MS Exchange\Externally Secured Servers`: trusted by where it connects from.
    ExternallySecured,
}

impl Principal {
    /// The name, as `grants`, logs and `explain` spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::ExternallySecured => "externally-secured",
        }
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
