//! Why the daemon cannot encrypt as it is told to.

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
        /// Which certificate.
        name: CertificateName,
        /// `certificate` or `key`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that rustls does not know.
    #[error("{name}: {} and {} cannot be used together: {}", files.certificate.display(), files.key.display(), words(why))]
    Pair {
        /// Which certificate.
        name: CertificateName,
        /// Its files.
        files: Box<CertificateFiles>,
        /// What rustls said.
        why: rustls::Error,
    },
    /// rustls takes certificates of version 3 only.
    #[error(
        "{name}: certificate: {} is of X.509 version 1, which has no host names; make one of version \
         3, as `openssl req -x509 -addext subjectAltName=DNS:NAME` does", path.display()
    )]
    Version1 {
        /// Which certificate.
        name: CertificateName,
        /// The file.
        path: PathBuf,
    },
    /// The file of the certificate holds none.
    #[error("{name}: certificate: {} holds no certificate; write the chain, leaf first", path.display())]
    NoCertificate {
        /// Which certificate.
        name: CertificateName,
        /// The file.
        path: PathBuf,
    },
    /// The authorities of `[partners]` or `[fleet]` cannot be read or used.
    #[error("{place}: ca: cannot use {}: {source}", path.display())]
    Authorities {
        /// Which table.
        place: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ClientAuthoritiesError,
    },
    /// The file of the authorities holds none.
    #[error("{place}: ca: {} holds no certificate", path.display())]
    NoAuthority {
        /// Which table.
        place: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The versions of TLS cannot be spoken with this certificate.
    #[error("TLS cannot be set up: {}", words(.0))]
    Versions(rustls::Error),
}

impl TlsError {
    /// The certificate that it is about, where it is about one of ours.
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
