//! What connectors encrypt with: certificates, read from disk and read again when they change.
//!
//! [`certificate`] reads one. [`Credentials`] holds those in use, sees when their files change and takes
//! what is new, unless it cannot be used: then the old pair stays, and log and status say why.
//! A handshake takes what is in force at that moment; sessions that are encrypted go on as they are.
//!
//! Which certificate a connector shows is decided by the connector and not by the name that a
//! client asks for (SNI): the connector is known before the handshake.

mod certificate;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};
use tracing::{error, info};

pub use self::certificate::TlsError;

use self::certificate::Look;
use crate::causes::in_full;
use crate::config::{CertificateFiles, Certificates};
use crate::connector::{CertificateName, Connector, ConnectorId, TlsVersion};
use crate::policy::Rules;

/// What handshakes are done with, by connector.
pub(super) type Handshakes = BTreeMap<ConnectorId, Arc<ServerConfig>>;

/// The certificates in use and what their files looked like.
#[derive(Debug)]
pub struct Credentials {
    certificates: BTreeMap<CertificateName, Kept>,
    provider: Arc<CryptoProvider>,
    rules: Arc<Rules>,
    handshakes: Arc<Handshakes>,
}

#[derive(Debug)]
struct Kept {
    files: CertificateFiles,
    key: Arc<CertifiedKey>,
    /// What the files looked like when they were last read, or were found to be of no use.
    read: Look,
    /// What they looked like at the last look, where that differs: they are perhaps being written.
    changing: Option<Look>,
    /// Why what is on disk now cannot be used.
    problem: Option<String>,
}

/// What `relay status` tells of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// `[tls]`, or the name of the `[[certificate]]`.
    pub name: String,
    /// The file of the chain.
    pub certificate: String,
    /// Why what is on disk cannot be used; the certificate in use is then an older one.
    pub problem: Option<String>,
}

impl Credentials {
    /// Reads every certificate, for the connectors of these rules.
    ///
    /// # Errors
    /// One cannot be used.
    pub fn load(certificates: &Certificates, rules: Arc<Rules>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut kept = BTreeMap::new();
        for (name, files) in certificates {
            // Before the files are read: a change meanwhile is then seen as one.
            let read = Look::at(files);
            let key = certificate::load(name, files, &provider)?;
            let files = files.clone();
            kept.insert(name.clone(), Kept { files, key, read, changing: None, problem: None });
        }
        let (certificates, handshakes) = (kept, Arc::default());
        let mut credentials = Self { certificates, provider, rules, handshakes };
        credentials.prepare()?;
        Ok(credentials)
    }

    /// Looks whether files have changed, and takes what can be used. True when something was
    /// taken. A change counts once two looks in a row have seen the same: certificate and key are
    /// two files, and both are to be written before they are read.
    pub fn look(&mut self) -> bool {
        let mut taken = false;
        for (name, kept) in &mut self.certificates {
            let now = Look::at(&kept.files);
            if now == kept.read {
                kept.changing = None;
                continue;
            }
            if kept.changing.replace(now) != Some(now) {
                continue;
            }
            kept.changing = None;
            kept.read = now;
            match certificate::load(name, &kept.files, &self.provider) {
                Ok(key) => {
                    kept.key = key;
                    kept.problem = None;
                    taken = true;
                    info!(certificate = %name, "the certificate was renewed");
                }
                Err(error) => {
                    let problem = in_full(&error);
                    error!(certificate = %name, "the certificate in use stays: {problem}");
                    kept.problem = Some(problem);
                }
            }
        }
        if taken && let Err(error) = self.prepare() {
            error!("handshakes go on as before: {}", in_full(&error));
        }
        taken
    }

    /// What handshakes are done with from now on.
    pub(super) fn handshakes(&self) -> Arc<Handshakes> {
        Arc::clone(&self.handshakes)
    }

    fn prepare(&mut self) -> Result<(), TlsError> {
        let mut handshakes = Handshakes::new();
        for (id, connector) in self.rules.connectors() {
            let kept = connector.encryption.certificate.as_ref();
            let kept = kept.and_then(|name| self.certificates.get(name));
            if let Some(kept) = kept.filter(|_| connector.auth_mechanism.tls) {
                handshakes.insert(id, self.handshake(connector, kept)?);
            }
        }
        self.handshakes = Arc::new(handshakes);
        Ok(())
    }

    /// TLS with the cipher suites that rustls holds safe; clients show no certificate.
    fn handshake(&self, connector: &Connector, kept: &Kept) -> Result<Arc<ServerConfig>, TlsError> {
        let versions: &[&SupportedProtocolVersion] = match connector.encryption.minimum_version {
            TlsVersion::Tls12 => &[&TLS12, &TLS13],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let resolver = SingleCertAndKey::from(Arc::clone(&kept.key));
        ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map(|builder| builder.with_no_client_auth().with_cert_resolver(Arc::new(resolver)))
            .map(Arc::new)
            .map_err(TlsError::Versions)
    }

    /// What `relay status` tells.
    pub fn status(&self) -> Vec<CertificateStatus> {
        self.certificates
            .iter()
            .map(|(name, kept)| CertificateStatus {
                name: match name {
                    CertificateName::Default => name.to_string(),
                    CertificateName::Named(name) => name.clone(),
                },
                certificate: kept.files.certificate.display().to_string(),
                problem: kept.problem.clone(),
            })
            .collect()
    }
}
