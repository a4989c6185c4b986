//! What connectors encrypt with and whom they believe, read from disk and read again on a change.
//!
//! [`certificate`] reads a certificate with its key, [`client`] judges those that clients show,
//! [`watch`] sees that files have changed. [`Credentials`] holds what is in use and takes what is new,
//! unless it cannot be used: then the old stays, and log and status say why. A handshake takes what is
//! in force at that moment; sessions that are encrypted go on as they are.
//!
//! Which certificate a connector shows is decided by the connector and not by the name that a
//! client asks for (SNI): the connector is known before the handshake.

mod certificate;
mod client;
mod error;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};
use tracing::{error, info};

pub use self::error::TlsError;

use self::client::{Authorities, ClientTrust};
use self::watch::Watch;
use crate::causes::in_full;
use crate::config::{CertificateFiles, Tls, Trusted};
use crate::connector::{CertificateName, Connector, ConnectorId, Principal, TlsVersion};
use crate::policy::Rules;
use crate::smtp::tls::ClientCertificate;

/// What handshakes are done with, by connector.
pub(super) type Handshakes = BTreeMap<ConnectorId, Arc<Handshake>>;

/// What a connector's handshakes are done with.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) config: Arc<ServerConfig>,
    /// Where clients are asked for a certificate.
    trust: Option<ClientTrust>,
}

/// The certificates and authorities in use.
#[derive(Debug)]
pub struct Credentials {
    certificates: BTreeMap<CertificateName, Kept<CertificateFiles, Arc<CertifiedKey>>>,
    partners: Option<Kept<Trusted, Arc<Authorities>>>,
    fleet: Option<Kept<Trusted, Arc<Authorities>>>,
    provider: Arc<CryptoProvider>,
    rules: Arc<Rules>,
    handshakes: Arc<Handshakes>,
}

/// Something that was read from files.
#[derive(Debug)]
struct Kept<F, T> {
    files: F,
    value: T,
    watch: Watch,
    /// Why what is on disk now cannot be used.
    problem: Option<String>,
}

/// What `relay status` tells of a certificate, or of authorities.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The table: `[tls]`, `[partners]`, `[fleet]`; or the name of the `[[certificate]]`.
    pub name: String,
    /// The file of the chain, or of the authorities.
    pub certificate: String,
    /// Why what is on disk cannot be used; what is in use is then older.
    pub problem: Option<String>,
}

/// Places of the configuration, as messages call them.
const PARTNERS: &str = "[partners]";
const FLEET: &str = "[fleet]";

impl<F, T> Kept<F, T> {
    fn load(
        files: F,
        paths: fn(&F) -> Vec<&Path>,
        load: impl FnOnce(&F) -> Result<T, TlsError>,
    ) -> Result<Self, TlsError> {
        let watch = Watch::begin(&paths(&files));
        let value = load(&files)?;
        Ok(Self { files, value, watch, problem: None })
    }

    /// Reads again what has changed. True when something was taken.
    fn renew(
        &mut self,
        name: &str,
        paths: fn(&F) -> Vec<&Path>,
        load: impl FnOnce(&F) -> Result<T, TlsError>,
    ) -> bool {
        if !self.watch.has_changed(&paths(&self.files)) {
            return false;
        }
        match load(&self.files) {
            Ok(value) => {
                self.value = value;
                self.problem = None;
                info!(certificate = name, "the certificate was renewed");
                true
            }
            Err(error) => {
                let problem = in_full(&error);
                error!(certificate = name, "the certificate in use stays: {problem}");
                self.problem = Some(problem);
                false
            }
        }
    }
}

fn pair(files: &CertificateFiles) -> Vec<&Path> {
    vec![&files.certificate, &files.key]
}

fn bundle(trusted: &Trusted) -> Vec<&Path> {
    vec![&trusted.ca]
}

impl Credentials {
    /// Reads every certificate, for the connectors of these rules.
    ///
    /// # Errors
    /// One cannot be used.
    pub fn load(tls: &Tls, rules: Arc<Rules>) -> Result<Self, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let mut certificates = BTreeMap::new();
        for (name, files) in &tls.certificates {
            let load = |files: &_| certificate::load(name, files, &provider);
            certificates.insert(name.clone(), Kept::load(files.clone(), pair, load)?);
        }
        let trusted = |place, trusted: &Option<Trusted>| {
            let trusted = trusted.clone();
            trusted
                .map(|trusted| Kept::load(trusted, bundle, |of| authorities(place, of)))
                .transpose()
        };
        let mut credentials = Self {
            certificates,
            partners: trusted(PARTNERS, &tls.partners)?,
            fleet: trusted(FLEET, &tls.fleet)?,
            provider,
            rules,
            handshakes: Arc::default(),
        };
        credentials.prepare()?;
        Ok(credentials)
    }

    /// Looks whether files have changed, and takes what can be used. True when something was
    /// taken.
    pub fn look(&mut self) -> bool {
        let mut taken = false;
        for (name, kept) in &mut self.certificates {
            let load = |files: &_| certificate::load(name, files, &self.provider);
            taken |= kept.renew(&name.to_string(), pair, load);
        }
        for (place, kept) in [(PARTNERS, &mut self.partners), (FLEET, &mut self.fleet)] {
            if let Some(kept) = kept {
                taken |= kept.renew(place, bundle, |of| authorities(place, of));
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
                handshakes.insert(id, Arc::new(self.handshake(connector, &kept.value)?));
            }
        }
        self.handshakes = Arc::new(handshakes);
        Ok(())
    }

    /// TLS with the cipher suites that rustls holds safe.
    fn handshake(
        &self,
        connector: &Connector,
        key: &Arc<CertifiedKey>,
    ) -> Result<Handshake, TlsError> {
        let versions: &[&SupportedProtocolVersion] = match connector.encryption.minimum_version {
            TlsVersion::Tls12 => &[&TLS12, &TLS13],
            TlsVersion::Tls13 => &[&TLS13],
        };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(versions)
            .map_err(TlsError::Versions)?;
        let trust = self.trust(connector);
        let builder = match &trust {
            Some(trust) => builder.with_client_cert_verifier(trust.verifier()),
            None => builder.with_no_client_auth(),
        };
        let resolver = Arc::new(SingleCertAndKey::from(Arc::clone(key)));
        let mut config = builder.with_cert_resolver(resolver);
        if trust.is_some() {
            // A client that is resumed has not shown its certificate again.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Handshake { config: Arc::new(config), trust })
    }

    /// Who may vouch for this connector's clients. `None`: nobody, and none is asked.
    fn trust(&self, connector: &Connector) -> Option<ClientTrust> {
        let of = |kept: &Option<Kept<_, Arc<Authorities>>>, principal| {
            let kept = kept.as_ref().filter(|_| connector.can_be(principal));
            kept.map(|kept| Arc::clone(&kept.value))
        };
        let partners = of(&self.partners, Principal::Partner);
        let fleet = of(&self.fleet, Principal::Server);
        let is_any = partners.is_some() || fleet.is_some();
        is_any.then(|| ClientTrust::new(partners, fleet, &self.provider))
    }

    /// What `relay status` tells.
    pub fn status(&self) -> Vec<CertificateStatus> {
        let certificates = self.certificates.iter().map(|(name, kept)| CertificateStatus {
            name: match name {
                CertificateName::Default => name.to_string(),
                CertificateName::Named(name) => name.clone(),
            },
            certificate: kept.files.certificate.display().to_string(),
            problem: kept.problem.clone(),
        });
        let trusted = [(PARTNERS, &self.partners), (FLEET, &self.fleet)].into_iter();
        let trusted = trusted.filter_map(|(place, kept)| {
            let kept = kept.as_ref()?;
            Some(CertificateStatus {
                name: place.to_owned(),
                certificate: kept.files.ca.display().to_string(),
                problem: kept.problem.clone(),
            })
        });
        certificates.chain(trusted).collect()
    }
}

impl Handshake {
    /// What the chain that a client has shown is worth. `None`: none was asked for, or shown.
    pub(super) fn judge(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<ClientCertificate> {
        self.trust.as_ref()?.judge(chain)
    }
}

fn authorities(place: &'static str, trusted: &Trusted) -> Result<Arc<Authorities>, TlsError> {
    let path = || trusted.ca.clone();
    match Authorities::load(&trusted.ca) {
        Ok(Some(authorities)) => Ok(Arc::new(authorities)),
        Ok(None) => Err(TlsError::NoAuthority { place, path: path() }),
        Err(source) => Err(TlsError::Authorities { place, path: path(), source }),
    }
}
