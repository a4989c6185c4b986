//! A certificate with its key, as files on disk: reading them, and seeing that they have changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls;
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::sign::CertifiedKey;

use crate::config::CertificateFiles;
use crate::connector::CertificateName;

/// Why certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM.
    #[error("{name}: {key}: cannot read {}: {source}", path.display())]
    File {
        /// Which certificate.
        name: CertificateName,
        /// `certificate` or `key`.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that rustls does not know.
    #[error("{name}: {} and {} cannot be used together: {source}", files.certificate.display(), files.key.display())]
    Pair {
        /// Which certificate.
        name: CertificateName,
        /// Its files.
        files: Box<CertificateFiles>,
        /// What rustls said.
        source: rustls::Error,
    },
    /// The file of the certificate holds none.
    #[error("{name}: certificate: {} holds no certificate; write the chain, leaf first", path.display())]
    NoCertificate {
        /// Which certificate.
        name: CertificateName,
        /// The file.
        path: PathBuf,
    },
    /// The versions of TLS cannot be spoken with this certificate.
    #[error("TLS cannot be set up: {0}")]
    Versions(rustls::Error),
}

/// What a file looks like from outside; another look shows whether it has changed. `None`: it is
/// not there. Links are followed, so that a link which is turned elsewhere is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Look([Option<FileLook>; 2]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileLook {
    device: u64,
    inode: u64,
    octets: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// Looks at certificate and key.
    pub(super) fn at(files: &CertificateFiles) -> Self {
        Self([look(&files.certificate), look(&files.key)])
    }
}

fn look(path: &Path) -> Option<FileLook> {
    let found = fs::metadata(path).ok()?;
    Some(FileLook {
        device: found.dev(),
        inode: found.ino(),
        octets: found.size(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}

/// Reads certificate and key.
///
/// # Errors
/// A file cannot be read, or the two cannot be used together.
pub(super) fn load(
    name: &CertificateName,
    files: &CertificateFiles,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let unreadable = |key: &'static str, path: &Path, source| {
        let (name, path) = (name.clone(), path.to_owned());
        TlsError::File { name, key, path, source }
    };
    let CertificateFiles { certificate, key, .. } = files;
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(|source| unreadable("certificate", certificate, source))?;
    if chain.is_empty() {
        return Err(TlsError::NoCertificate { name: name.clone(), path: certificate.clone() });
    }
    let private_key =
        PrivateKeyDer::from_pem_file(key).map_err(|source| unreadable("key", key, source))?;
    CertifiedKey::from_der(chain, private_key, provider).map(Arc::new).map_err(|source| {
        TlsError::Pair { name: name.clone(), files: Box::new(files.clone()), source }
    })
}
