//! The security of connections to a next hop: the use of TLS, the requirements for its certificate,
//! our credentials, and whether the next hop may get fields that are for our organization only.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::limits::CERTIFICATE_CONCERNS;
use crate::verifier::{AnyCertificate, OwnAuthorities};
use relay_mail::path::MailHost;
use relay_mail::smart_host::SmartHost;
use relay_message::outbound::Audience;
use relay_smtp::client::NextHopTls;
use relay_tls::certificate::Certificate;
use relay_tls::tls_failure::{pem_words, words};
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::server::VerifierBuilderError;
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

/// `tls` of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// Plain text, even if the next hop offers TLS.
    Off,
    /// TLS if it is offered and works. The certificate is not verified: an attacker who can forge
    /// it can also remove the offer.
    #[default]
    Opportunistic,
    /// TLS, or the mail waits. The certificate is not looked at.
    Required,
    /// TLS with a trusted certificate for the next hop's name; otherwise the mail waits. Trusted
    /// are authorities of the system or of `ca_file`, and certificates in `ca_file` itself.
    Verified,
}

/// How connections of a route are secured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Security {
    /// `tls`.
    pub tls: TlsMode,
    /// `implicit_tls`: TLS from the first octet (RFC 8314 section 3), as on port 465.
    pub implicit_tls: bool,
    /// `ca_file`: the certificates that are trusted, instead of the system's authorities. PEM.
    pub ca_file: Option<PathBuf>,
    /// `auth`.
    pub auth: Option<NextHopAuth>,
    /// `send_organization_headers`: the next hop belongs to our organization, and gets the fields
    /// that are for the organization only.
    pub send_organization_headers: bool,
}

/// Our credentials for a next hop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NextHopAuth {
    /// `auth`: the file of the credentials. It is read for each connection, since another program
    /// may replace a token in it.
    pub credentials: PathBuf,
    /// `auth_in_clear`: the credentials may be said without TLS.
    pub in_clear: bool,
}

/// Why no certificate could be verified.
#[derive(Debug, thiserror::Error)]
pub enum NextHopAuthoritiesError {
    /// `ca_file` cannot be read, or is not PEM.
    #[error("ca_file: cannot read {}: {}", path.display(), pem_words(why))]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the file.
        why: pem::Error,
    },
    /// There is no authority at all.
    #[error("{0} holds no certificate that can be trusted")]
    None(String),
    /// The authorities make no verifier.
    #[error("the system's authorities cannot be used: {0}")]
    Verifier(#[from] VerifierBuilderError),
    /// An unexpected error of rustls.
    #[error("cannot use TLS: {}", words(.0))]
    Rustls(rustls::Error),
}

/// The material for handshakes, loaded once for all routes of a configuration.
#[derive(Clone, Debug)]
pub struct ClientHandshakes {
    unverified: Arc<ClientConfig>,
    /// By the `ca_file`; none for the system's authorities.
    verified: HashMap<Option<PathBuf>, Verified>,
}

/// A way to verify, and by which certificates.
#[derive(Clone, Debug)]
struct Verified {
    config: Arc<ClientConfig>,
    trusted: Vec<CertificateDer<'static>>,
}

impl Security {
    /// The setting of TLS for the dialogue.
    pub fn encryption(&self) -> NextHopTls {
        match self.tls {
            _ if self.implicit_tls => NextHopTls::Implicit,
            TlsMode::Off => NextHopTls::Never,
            TlsMode::Opportunistic => NextHopTls::WhereOffered,
            TlsMode::Required | TlsMode::Verified => NextHopTls::Always,
        }
    }

    /// The audience of messages to this next hop.
    pub fn audience(&self) -> Audience {
        match self.send_organization_headers {
            true => Audience::Organization,
            false => Audience::Outside,
        }
    }
}

/// As it is written in the configuration.
impl fmt::Display for TlsMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Opportunistic => "opportunistic",
            Self::Required => "required",
            Self::Verified => "verified",
        })
    }
}

impl ClientHandshakes {
    /// Loads the authorities that these routes trust.
    ///
    /// # Errors
    /// [`NextHopAuthoritiesError`], only if a route verifies certificates.
    pub fn load<'a>(
        routes: impl IntoIterator<Item = &'a Security>,
    ) -> Result<Self, NextHopAuthoritiesError> {
        let provider = Arc::new(ring::default_provider());
        let any = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let unverified = config(&provider, any)?;
        let mut verified = HashMap::new();
        for Security { ca_file, .. } in routes.into_iter().filter(|s| s.tls == TlsMode::Verified) {
            if !verified.contains_key(ca_file) {
                verified.insert(ca_file.clone(), verifying(ca_file.as_deref(), &provider)?);
            }
        }
        Ok(Self { unverified, verified })
    }

    /// The configuration of the handshake; none without TLS. A route that was not loaded has none
    /// either, and is then not used.
    pub(super) fn config(&self, security: &Security) -> Option<&Arc<ClientConfig>> {
        match security.tls {
            TlsMode::Off => None,
            TlsMode::Opportunistic | TlsMode::Required => Some(&self.unverified),
            TlsMode::Verified => self.verified.get(&security.ca_file).map(|it| &it.config),
        }
    }

    /// Warnings about the dates of the certificates in the `ca_file` of these keys.
    pub fn concerns(&self, security: &Security, now: i64) -> Vec<String> {
        let verified = self.verified.get(&security.ca_file).filter(|_| security.ca_file.is_some());
        let trusted = verified.into_iter().flat_map(|it| &it.trusted);
        let concern = |der: &CertificateDer<'_>| {
            let certificate = Certificate::parse(der).ok()?;
            Some(format!("{}: {}", certificate.title(), certificate.validity_warning(now)?))
        };
        trusted.filter_map(concern).take(CERTIFICATE_CONCERNS).collect()
    }

    /// Do both trust the same certificates? Files may have changed while their names have not.
    pub fn has_same_authorities(&self, other: &Self) -> bool {
        let same = |file, it: &Verified| {
            other.verified.get(file).is_some_and(|other| other.trusted == it.trusted)
        };
        self.verified.len() == other.verified.len()
            && self.verified.iter().all(|(file, it)| same(file, it))
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<Arc<ClientConfig>, NextHopAuthoritiesError> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(NextHopAuthoritiesError::Rustls)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The configuration for verifying by a `ca_file`, or by the system's authorities.
fn verifying(
    ca_file: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Verified, NextHopAuthoritiesError> {
    let verifier: Arc<dyn ServerCertVerifier>;
    let trusted: Vec<CertificateDer<'static>>;
    match ca_file {
        Some(path) => {
            let file = |why| NextHopAuthoritiesError::File { path: path.to_owned(), why };
            let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            trusted = read.map_err(file)?;
            let own = OwnAuthorities::new(trusted.clone(), Arc::clone(provider));
            let none = || NextHopAuthoritiesError::None(path.display().to_string());
            verifier = Arc::new(own.ok_or_else(none)?);
        }
        None => {
            // Files of the system that cannot be read are left out; at least one certificate must
            // remain.
            trusted = rustls_native_certs::load_native_certs().certs;
            let mut roots = RootCertStore::empty();
            // Old roots that cannot verify anything are common in the system's collection.
            roots.add_parsable_certificates(trusted.clone());
            if roots.is_empty() {
                return Err(NextHopAuthoritiesError::None("the system".to_owned()));
            }
            let builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            verifier = builder.build()?;
        }
    }
    Ok(Verified { config: config(provider, verifier)?, trusted })
}

/// The name that the certificate of a server must have, if it is verified.
pub(super) fn server_name(server: &SmartHost) -> ServerName<'static> {
    let unnamed = || ServerName::IpAddress(IpAddr::from([0; 4]).into());
    match &server.host {
        MailHost::Address(address) => ServerName::IpAddress((*address).into()),
        // Every domain name that we accept is valid for TLS too; if not, no certificate matches.
        MailHost::Domain(name) => {
            ServerName::try_from(name.ascii().to_owned()).unwrap_or_else(|_| unnamed())
        }
    }
}
