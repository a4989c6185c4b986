//! What is known of the encryption of a connection.

use std::fmt;

/// Protocol and cipher suite, for the Received field and the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsInfo {
    /// As in `TLS1.3`.
    pub version: String,
    /// As in `TLS_AES_256_GCM_SHA384`.
    pub cipher: String,
    /// The certificate that the client showed, where one was asked for.
    pub client: Option<ClientCertificate>,
}

/// A certificate of a client. The client has shown that it has the key; whether the certificate is
/// worth anything is in what the authorities say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The host names that it is for, in lower case; the first label may be a star.
    pub names: Vec<String>,
    /// Did `[partners] ca` issue it, and does it hold now? Else why not.
    pub by_partners_ca: Result<(), String>,
    /// The same for `[fleet] ca`.
    pub by_fleet_ca: Result<(), String>,
}

impl TlsInfo {
    /// A connection on which no certificate was asked for.
    pub fn new(version: impl Into<String>, cipher: impl Into<String>) -> Self {
        Self { version: version.into(), cipher: cipher.into(), client: None }
    }
}

impl fmt::Display for TlsInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.version, self.cipher)
    }
}
