//! How a connection to a next hop is secured: when TLS is used, what its certificate must show,
//! where our credentials are, and whether the next hop may see what is for our organization only.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::VerifierBuilderError;
use tokio_rustls::rustls::{
    self, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};

use crate::smtp::client::Encryption;

/// `tls` of a route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TlsMode {
    /// Plain text, whatever the next hop offers.
    Off,
    /// TLS where it is offered and works. The certificate is not looked at: whoever could forge
    /// it could as well hide the offer.
    #[default]
    Opportunistic,
    /// TLS, or the mail waits. The certificate is not looked at.
    Required,
    /// TLS with a certificate for the next hop's name from an authority that we trust, or the
    /// mail waits.
    Verified,
}

/// How connections of a route are secured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Security {
    /// `tls`.
    pub tls: TlsMode,
    /// `ca_file`: the authorities that are trusted, instead of the system's. PEM.
    pub ca_file: Option<PathBuf>,
    /// `auth`.
    pub auth: Option<Auth>,
    /// `send_organization_headers`: the next hop belongs to our organization, and gets the fields
    /// that are for its eyes only.
    pub send_organization_headers: bool,
}

/// Who we are for a next hop.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Auth {
    /// `auth`: the file of the credentials. It is read for each connection, since a token in it
    /// is replaced by whoever renews it.
    pub credentials: PathBuf,
    /// `auth_in_clear`: the credentials may be said without TLS.
    pub in_clear: bool,
}

/// Why no certificate could be verified.
#[derive(Debug, thiserror::Error)]
pub enum AuthoritiesError {
    /// `ca_file` cannot be read, or is not PEM.
    #[error("ca_file: cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// There is no authority at all.
    #[error("{0} holds no certificate of an authority that can be trusted")]
    None(String),
    /// The authorities make no verifier.
    #[error("{0} cannot be used: {1}")]
    Verifier(String, VerifierBuilderError),
    /// rustls cannot do what it always can.
    #[error("cannot use TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

/// What handshakes need, loaded once for all routes of a configuration.
#[derive(Clone, Debug)]
pub struct Handshakes {
    unverified: Arc<ClientConfig>,
    /// By the `ca_file`; none for the system's authorities.
    verified: HashMap<Option<PathBuf>, Arc<ClientConfig>>,
}

impl TlsMode {
    /// What this means for the dialogue.
    pub fn encryption(self) -> Encryption {
        match self {
            Self::Off => Encryption::Never,
            Self::Opportunistic => Encryption::WhereOffered,
            Self::Required | Self::Verified => Encryption::Always,
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

impl Handshakes {
    /// Loads the authorities that these routes trust.
    ///
    /// # Errors
    /// [`AuthoritiesError`], only where a route verifies.
    pub fn load<'a>(
        routes: impl IntoIterator<Item = &'a Security>,
    ) -> Result<Self, AuthoritiesError> {
        let provider = Arc::new(ring::default_provider());
        let any = Arc::new(AnyCertificate(Arc::clone(&provider)));
        let unverified = config(&provider, any)?;
        let mut verified = HashMap::new();
        for Security { ca_file, .. } in routes.into_iter().filter(|s| s.tls == TlsMode::Verified) {
            if !verified.contains_key(ca_file) {
                let (name, roots) = authorities(ca_file.as_deref())?;
                let builder = WebPkiServerVerifier::builder_with_provider(
                    Arc::new(roots),
                    Arc::clone(&provider),
                );
                let verifier = builder.build().map_err(|e| AuthoritiesError::Verifier(name, e))?;
                verified.insert(ca_file.clone(), config(&provider, verifier)?);
            }
        }
        Ok(Self { unverified, verified })
    }

    /// The way to do the handshake; none where there is no TLS. A route that was not loaded gets
    /// none either, and is then not used.
    pub(super) fn config(&self, security: &Security) -> Option<&Arc<ClientConfig>> {
        match security.tls {
            TlsMode::Off => None,
            TlsMode::Opportunistic | TlsMode::Required => Some(&self.unverified),
            TlsMode::Verified => self.verified.get(&security.ca_file),
        }
    }
}

fn config(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ServerCertVerifier>,
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The authorities, and what they are called in an error.
fn authorities(ca_file: Option<&Path>) -> Result<(String, RootCertStore), AuthoritiesError> {
    let (name, certificates) = match ca_file {
        Some(path) => {
            let file = |source| AuthoritiesError::File { path: path.to_owned(), source };
            let read: Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
            (path.display().to_string(), read.map_err(file)?)
        }
        // Files of the system that cannot be read are left out; what is left must be something.
        None => ("the system".to_owned(), rustls_native_certs::load_native_certs().certs),
    };
    let mut roots = RootCertStore::empty();
    // Old roots that nothing verifies with are common in the system's collection.
    roots.add_parsable_certificates(certificates);
    if roots.is_empty() { Err(AuthoritiesError::None(name)) } else { Ok((name, roots)) }
}

/// Takes every certificate. The handshake still proves that the peer has its key, so that only an
/// active attacker can listen.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signed, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signed, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
