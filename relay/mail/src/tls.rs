//! Facts about the encryption of a connection.

use std::fmt;

/// Protocol and cipher suite, for the Received field and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// As in `TLS1.3`.
    pub version: String,
    /// As in `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The client's certificate, if the connector asked for one and the client presented it.
    pub client: Option<ClientCertificate>,
}

/// A certificate of a client. The client has proved possession of its key. `by_partners_ca` and
/// `by_fleet_ca` say whether the authorities accept it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The host names in the certificate, in lower case; the first label may be a star.
    pub names: Vec<String>,
    /// Did `[partners] ca` issue it, and is it valid now? If not, the reason.
    pub by_partners_ca: Result<(), CertificateRefusal>,
    /// The same for `[fleet] ca`.
    pub by_fleet_ca: Result<(), CertificateRefusal>,
}

/// Why a client's certificate does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateRefusal {
    /// The configuration names no authority.
    #[error("no authority is configured")]
    NoAuthority,
    /// The certificate or its chain is not valid, as the TLS library says.
    #[error("{0}")]
    Invalid(String),
}

impl TlsInfo {
    /// A connection without a client certificate.
    pub fn new(version: impl Into<String>, cipher: impl Into<String>) -> Self {
        Self { version: version.into(), cipher: cipher.into(), client: None }
    }
}

impl fmt::Display for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.cipher)
    }
}
