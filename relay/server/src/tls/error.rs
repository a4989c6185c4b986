//! Why the daemon cannot encrypt as configured.

use std::path::PathBuf;

use relay_config::CertificateFiles;
use relay_connector::CertificateName;
use relay_tls::tls_failure::{pem_words, words};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::pem;

pub use crate::tls::client::ClientAuthoritiesError;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{name}: {key}: cannot read {}: {}", path.display(), pem_words(why))]
    File {
        /// The name of the certificate.
        name: CertificateName,
        /// `certificate` or `key`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        why: pem::Error,
    },
    /// Certificate and key do not match, or rustls does not support their kind.
    #[error("{name}: certificate {} and key {} do not match: {}", files.certificate.display(), files.key.display(), words(why))]
    Pair {
        /// The name of the certificate.
        name: CertificateName,
        /// Its files.
        files: Box<CertificateFiles>,
        /// The error of rustls.
        why: rustls::Error,
    },
    /// rustls supports only certificates of version 3.
    #[error(
        "{name}: certificate: {} is of X.509 version 1, which has no host names; make one of version \
         3, as `openssl req -x509 -addext subjectAltName=DNS:NAME` does", path.display()
    )]
    Version1 {
        /// The name of the certificate.
        name: CertificateName,
        /// The file.
        path: PathBuf,
    },
    /// The file contains no certificate.
    #[error("{name}: certificate: {} contains no certificate; write the chain, leaf first", path.display())]
    NoCertificate {
        /// The name of the certificate.
        name: CertificateName,
        /// The file.
        path: PathBuf,
    },
    /// The authorities of `[partners]` or `[fleet]` cannot be read or used.
    #[error("{place}: ca: cannot use {}: {source}", path.display())]
    Authorities {
        /// The table.
        place: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: ClientAuthoritiesError,
    },
    /// The file of the authorities contains no certificate.
    #[error("{place}: ca: {} contains no certificate", path.display())]
    NoAuthority {
        /// The table.
        place: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// rustls supports no version of TLS with this certificate.
    #[error("TLS cannot be set up: {}", words(.0))]
    Versions(rustls::Error),
}

impl TlsError {
    /// The certificate of the error, if it is one of ours.
    pub const fn certificate(&self) -> Option<&CertificateName> {
        match self {
            Self::File { name, .. }
            | Self::Pair { name, .. }
            | Self::Version1 { name, .. }
            | Self::NoCertificate { name, .. } => Some(name),
            Self::Authorities { .. } | Self::NoAuthority { .. } | Self::Versions(_) => None,
        }
    }
}
