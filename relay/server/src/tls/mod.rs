//! The certificates and authorities of connectors, read from disk and read again when they change.
//!
//! [`certificate`] reads a certificate with its key, [`client`] verifies certificates of clients,
//! [`failure`] describes failed handshakes, [`watch`] notices changed files. [`TlsCredentials`] has
//! the current certificates and loads new ones. If new ones cannot be used, the old ones stay in
//! use, and log and status show the reason. A handshake uses the current certificates; encrypted
//! sessions continue unchanged.
//!
//! The connector decides which certificate is shown, not the name that a client asks for (SNI): the
//! connector is known before the handshake.

mod certificate;
mod client;
mod error;
mod failure;
mod renewal;
mod watch;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::tls::client::{Authorities, ClientTrust};
use crate::tls::renewal::Kept;
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
use tracing::{error, warn};

pub use crate::tls::error::TlsError;
pub(super) use crate::tls::failure::handshake_failure;

/// The settings of handshakes, by connector.
pub(super) type ServerHandshakes = BTreeMap<ConnectorId, Arc<Handshake>>;

/// The settings of a connector's handshakes.
#[derive(Debug)]
pub(super) struct Handshake {
    pub(super) config: Arc<ServerConfig>,
    /// The authorities, if clients are asked for a certificate.
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
    /// The warnings in the log, and the day on which they were written.
    told: (Vec<Concern>, i64),
}

/// The state of a certificate, or of authorities, for `relay status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// The table: `[tls]`, `[partners]`, `[fleet]`; or the name of the `[[certificate]]`.
    pub name: String,
    /// The file of the chain, or of the authorities.
    pub certificate: String,
    /// Why the files on disk cannot be used; then the previous ones are in use.
    pub problem: Option<String>,
    /// The day (UTC) on which it expires; for authorities, the first.
    pub ends: Option<String>,
    /// The names of the certificate.
    pub names: Vec<String>,
    /// Warnings about its dates and names.
    pub concerns: Vec<String>,
}

/// A warning about a certificate in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// The table, as messages call it.
    pub place: String,
    /// Its line in the configuration.
    pub line: u32,
    /// The warning.
    pub problem: String,
}

/// Tables of the configuration, as messages name them.
const PARTNERS: &str = "[partners]";
const FLEET: &str = "[fleet]";

/// Seconds of a day.
const DAY: i64 = 24 * 60 * 60;

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
        // The first warnings are shown with the warnings of the configuration.
        credentials.told = (credentials.concerns(now), now / DAY);
        Ok(credentials)
    }

    /// Checks whether files have changed, and loads changed files. Returns true if new ones are in
    /// use.
    pub fn check_for_renewal(&mut self) -> bool {
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
            error!(
                "cannot prepare the new certificates; handshakes use the old ones: {}",
                error_chain(&error)
            );
        }
        self.log_concerns(now());
        taken
    }

    /// Logs warnings when they change, and once a day.
    fn log_concerns(&mut self, now: i64) {
        let told = (self.concerns(now), now / DAY);
        let is_new = |concern: &&Concern| told.1 != self.told.1 || !self.told.0.contains(concern);
        for Concern { place, problem, .. } in told.0.iter().filter(is_new) {
            warn!(certificate = place, "{problem}");
        }
        self.told = told;
    }

    /// The warnings about the certificates in use: dates, and missing names.
    pub fn concerns(&self, now: i64) -> Vec<Concern> {
        let mut concerns = Vec::new();
        for (name, kept) in &self.certificates {
            let Some(leaf) = leaf(&kept.value) else { continue };
            let (place, line) = (name.to_string(), kept.files.line);
            let problems = leaf.validity_warning(now).into_iter();
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
                let problem = certificate.validity_warning(now)?;
                let problem = format!("{}: {problem}", certificate.title());
                Some(Concern { place: place.clone(), line, problem })
            };
            let certificates = kept.value.certificates().iter();
            concerns.extend(certificates.filter_map(of_one).take(CERTIFICATE_CONCERNS));
        }
        concerns
    }

    /// The names of the connectors that show this certificate, as far as the certificate lacks
    /// them.
    fn missing_names(&self, name: &CertificateName, leaf: &Certificate) -> Vec<String> {
        let shown = self.rules.connectors().map(|(_, connector)| connector).filter(|connector| {
            let shown = connector.encryption.certificate.as_ref();
            connector.enabled && connector.auth_mechanism.tls && shown == Some(name)
        });
        // Connectors of one name cause one warning.
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

    /// The current settings of handshakes.
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

    /// TLS with the cipher suites that rustls considers safe.
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
            // A resumed client has not shown its certificate again.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Handshake { config: Arc::new(config), trust })
    }

    /// The authorities for this connector's clients. `None`: clients are not asked.
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

    /// The state of all certificates for `relay status`.
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
    /// Verifies the chain of a client. `None`: none was requested, or shown.
    pub(super) fn verify_client_certificate(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
    ) -> Option<ClientCertificate> {
        self.trust.as_ref()?.verify_client_certificate(chain)
    }
}

/// The certificate itself, from a chain.
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
