//! The certificate that STARTTLS shows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

use crate::config;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("tls.{key}: cannot read {}: {source}", path.display())]
    File {
        /// `certificate` or `key`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that rustls does not know.
    #[error("tls: {} and {} cannot be used together: {source}", certificate.display(), key.display())]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The file of the certificate holds none.
    #[error("tls.certificate: {} holds no certificate; write the chain, leaf first", .0.display())]
    NoCertificate(PathBuf),
}

/// Reads certificate and key. TLS 1.2 and 1.3, with the cipher suites that rustls holds safe;
/// clients show no certificate.
///
/// # Errors
/// A file cannot be read, or the two cannot be used together.
pub fn load(tls: &config::Tls) -> Result<Arc<ServerConfig>, TlsError> {
    let config::Tls { certificate, key } = tls;
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|source| file("certificate", certificate, source))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate(certificate.clone()));
    }
    let private_key =
        PrivateKeyDer::from_pem_file(key).map_err(|source| file("key", key, source))?;
    let pair =
        |source| TlsError::Pair { certificate: certificate.clone(), key: key.clone(), source };
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map(Arc::new)
        .map_err(pair)
}

fn file(key: &'static str, path: &Path, source: pem::Error) -> TlsError {
    TlsError::File { key, path: path.to_owned(), source }
}
