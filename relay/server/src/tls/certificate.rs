//! A certificate with its key, as files on disk.

use std::path::Path;
use std::sync::Arc;

use crate::tls::TlsError;
use relay_config::CertificateFiles;
use relay_connector::CertificateName;
use relay_tls::certificate::Certificate;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

/// Reads certificate and key.
///
/// # Errors
/// A file cannot be read, or the two do not match.
pub(super) fn load(
    name: &CertificateName,
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let unreadable = |key: &'static str, path: &Path, why| {
        let (name, path) = (name.clone(), path.to_owned());
        TlsError::File { name, key, path, why }
    };
    let CertificateFiles { certificate, key, .. } = files;
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|source| unreadable("certificate", certificate, source))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { name: name.clone(), path: certificate.clone() });
    }
    if chain.first().is_some_and(|leaf| Certificate::is_of_version_1(leaf)) {
        return Err(TlsError::Version1 { name: name.clone(), path: certificate.clone() });
    }
    let private_key =
        PrivateKeyDer::from_pem_file(key).map_err(|source| unreadable("key", key, source))?;
    CertifiedKey::from_der(chain, private_key, provider)
        .map(Arc::new)
        .map_err(|why| TlsError::Pair { name: name.clone(), files: Box::new(files.clone()), why })
}
