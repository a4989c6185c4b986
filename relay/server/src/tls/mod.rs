//! What connectors encrypt with and whom they believe, read from disk and read again on a change.
//!
//! [`certificate`] reads a certificate with its key, [`client`] judges those that clients show,
//! [`failure`] says why a handshake failed,
//! [`watch`] sees that files have changed. [`TlsCredentials`] holds what is in use and takes what is new,
//! unless it cannot be used: then the old stays, and log and status say why. A handshake takes what is
//! in force at that moment; sessions that are encrypted go on as they are.
//!
//! Which certificate a connector shows is decided by the connector and not by the name that a
//! client asks for (SNI): the connector is known before the handshake.

mod certificate;
mod client;
mod error;
mod failure;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::tls::client::{Authorities, ClientTrust};
use crate::tls::watch::Watch;
use relay_config::{CertificateFiles, Tls, Trusted};
use relay_connector::{CertificateName, Connector, ConnectorId, Principal, TlsVersion};
use relay_delivery::limits::CERTIFICATE_CONCERNS;
use relay_host::error_chain::error_chain;
use relay_mail::tls::ClientCertificate;
use relay_policy::Rules;
use relay_tls::certificate::{Certificate, day};
use relay_tls::tls_failure::not_for;
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ServerConfig, SupportedProtocolVersion};
use tracing::{error, info, warn};

pub use crate::tls::error::TlsError;
pub(super) use crate::tls::failure::handshake_failure;

/// What handshakes are done with, by connector.
pub(super) type ServerHandshakes = BTreeMap<ConnectorId, Arc<Handshake>>;

/// What a connector's handshakes are done with.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) config: Arc<ServerConfig>,
    /// Where clients are asked for a certificate.
    trust: Option<ClientTrust>,
}

/// The certificates and authorities in use.
#[derive(Debug)]
pub struct TlsCredentials {
    certificates: BTreeMap<CertificateName, Kept<CertificateFiles, Arc<CertifiedKey>>>,
    partners: Option<Kept<Trusted, Arc<Authorities>>>,
    fleet: Option<Kept<Trusted, Arc<Authorities>>>,
    provider: Arc<CryptoProvider>,
    rules: Arc<Rules>,
    handshakes: Arc<ServerHandshakes>,
    /// The concerns that the log has, and the day on which they were written.
    told: (Vec<Concern>, i64),
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
    /// The day (UTC) on which it ends, of authorities the first.
    pub ends: Option<String>,
    /// The names that it is for.
    pub names: Vec<String>,
    /// What is wrong or unwise about its dates and names.
    pub concerns: Vec<String>,
}

/// Something wrong or unwise about a certificate that is in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The table, as messages call it.
    pub place: String,
    /// Its line in the configuration.
    pub line: u32,
    /// What is wrong or unwise.
    pub problem: String,
}

/// Places of the configuration, as messages call them.
const PARTNERS: &str = "[partners]";
const FLEET: &str = "[fleet]";

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

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
                let problem = error_chain(&error);
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

impl TlsCredentials {
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
            told: (Vec::new(), 0),
        };
        credentials.prepare()?;
        let now = now();
        // Those of the beginning are told with the warnings of the configuration.
        credentials.told = (credentials.concerns(now), now / DAY);
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
            error!("handshakes go on as before: {}", error_chain(&error));
        }
        self.tell_concerns(now());
        taken
    }

    /// Writes concerns to the log when there are others than before, and once a day.
    fn tell_concerns(&mut self, now: i64) {
        let told = (self.concerns(now), now / DAY);
        let is_new = |concern: &&Concern| told.1 != self.told.1 || !self.told.0.contains(concern);
        for Concern { place, problem, .. } in told.0.iter().filter(is_new) {
            warn!(certificate = place, "{problem}");
        }
        self.told = told;
    }

    /// What is wrong or unwise about the certificates in use: dates, and names that they lack.
    pub fn concerns(&self, now: i64) -> Vec<Concern> {
        let mut concerns = Vec::new();
        for (name, kept) in &self.certificates {
            let Some(leaf) = leaf(&kept.value) else { continue };
            let (place, line) = (name.to_string(), kept.files.line);
            let problems = leaf.concern_of_dates(now).into_iter();
            let problems = problems.chain(self.missing_names(name, &leaf));
            concerns.extend(problems.map(|problem| Concern {
                place: place.clone(),
                line,
                problem,
            }));
        }
        for (place, kept) in [(PARTNERS, &self.partners), (FLEET, &self.fleet)] {
            let Some(kept) = kept else { continue };
            let (place, line) = (place.to_owned(), kept.files.line);
            let of_one = |certificate: &Certificate| {
                let problem = certificate.concern_of_dates(now)?;
                let problem = format!("{}: {problem}", certificate.title());
                Some(Concern { place: place.clone(), line, problem })
            };
            let certificates = kept.value.certificates().iter();
            concerns.extend(certificates.filter_map(of_one).take(CERTIFICATE_CONCERNS));
        }
        concerns
    }

    /// The names by which clients know the connectors that show this certificate, and which it lacks.
    fn missing_names(&self, name: &CertificateName, leaf: &Certificate) -> Vec<String> {
        let shown = self.rules.connectors().map(|(_, connector)| connector).filter(|connector| {
            let shown = connector.encryption.certificate.as_ref();
            connector.enabled && connector.auth_mechanism.tls && shown == Some(name)
        });
        // Connectors of one name are one concern.
        let mut lacking: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for connector in shown.filter(|connector| !leaf.is_for_host(&connector.fqdn)) {
            lacking.entry(&connector.fqdn).or_default().push(&connector.name);
        }
        let problem = |(fqdn, connectors): (&str, Vec<&str>)| {
            let problem = not_for(fqdn, &leaf.names());
            let first = connectors.first().copied().unwrap_or_default();
            match connectors.len() {
                0 | 1 => format!("{problem}, which connector \"{first}\" calls itself"),
                several => format!(
                    "{problem}, which connector \"{first}\" and {} more call themselves",
                    several - 1
                ),
            }
        };
        lacking.into_iter().map(problem).take(CERTIFICATE_CONCERNS).collect()
    }

    /// What handshakes are done with from now on.
    pub(super) fn handshakes(&self) -> Arc<ServerHandshakes> {
        Arc::clone(&self.handshakes)
    }

    fn prepare(&mut self) -> Result<(), TlsError> {
        let mut handshakes = ServerHandshakes::new();
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
        let concerns = self.concerns(now());
        let of = |place: &str| {
            let of_place = concerns.iter().filter(|concern| concern.place == place);
            of_place.map(|concern| concern.problem.clone()).collect()
        };
        let certificates = self.certificates.iter().map(|(name, kept)| CertificateStatus {
            name: match name {
                CertificateName::Default => name.to_string(),
                CertificateName::Named(name) => name.clone(),
            },
            certificate: kept.files.certificate.display().to_string(),
            problem: kept.problem.clone(),
            ends: leaf(&kept.value).map(|leaf| day(leaf.not_after)),
            names: leaf(&kept.value).map(|leaf| leaf.names()).unwrap_or_default(),
            concerns: of(&name.to_string()),
        });
        let trusted = [(PARTNERS, &self.partners), (FLEET, &self.fleet)].into_iter();
        let trusted = trusted.filter_map(|(place, kept)| {
            let kept = kept.as_ref()?;
            Some(CertificateStatus {
                name: place.to_owned(),
                certificate: kept.files.ca.display().to_string(),
                problem: kept.problem.clone(),
                ends: kept.value.certificates().iter().map(|it| it.not_after).min().map(day),
                names: Vec::new(),
                concerns: of(place),
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

/// The certificate itself, of a chain.
fn leaf(key: &CertifiedKey) -> Option<Certificate> {
    key.cert.first().and_then(|leaf| Certificate::parse(leaf).ok())
}

/// Seconds since 1970.
fn now() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

fn authorities(place: &'static str, trusted: &Trusted) -> Result<Arc<Authorities>, TlsError> {
    let path = || trusted.ca.clone();
    match Authorities::load(&trusted.ca) {
        Ok(Some(authorities)) => Ok(Arc::new(authorities)),
        Ok(None) => Err(TlsError::NoAuthority { place, path: path() }),
        Err(source) => Err(TlsError::Authorities { place, path: path(), source }),
    }
}
