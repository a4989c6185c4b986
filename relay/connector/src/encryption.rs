//! The encryption of a connector: its certificate, its oldest TLS version, and the bindings with
//! implicit TLS.

use std::fmt;

use crate::Binding;

/// How a connector encrypts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectorTls {
    /// `tls_certificate_name`, or the certificate of `[tls]`. `None`: there is none, and STARTTLS
    /// is not offered.
    pub certificate: Option<CertificateName>,
    /// `tls_minimum_version`: a client without this version or a newer one gets no handshake.
    pub minimum_version: TlsVersion,
    /// `implicit_tls_bindings`: the bindings on which TLS begins with the first octet (RFC 8314
    /// section 3), without STARTTLS.
    pub implicit_bindings: Vec<Binding>,
    /// `domain_secure_enabled`: a partner's certificate makes a client a partner.
    pub domain_secure_enabled: bool,
}

/// Which certificate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateName {
    /// That of `[tls]`.
    Default,
    /// That of the `[[certificate]]` with this name.
    Named(String),
}

/// A version of TLS. Older ones do not exist here (RFC 8996).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// RFC 5246.
    #[default]
    Tls12,
    /// RFC 8446.
    Tls13,
}

impl ConnectorTls {
    /// Does TLS begin with the first octet here?
    pub fn is_implicit_on(&self, binding: Binding) -> bool {
        self.implicit_bindings.contains(&binding)
    }
}

/// As messages call it: `[tls]`, or `certificate "partners"`.
impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("[tls]"),
            Self::Named(name) => write!(f, "certificate \"{name}\""),
        }
    }
}
