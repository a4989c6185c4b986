//! Certificates that clients show: asked for where a connector has a use for them, and judged after
//! the handshake.
//!
//! A certificate that does not verify is no reason to refuse a handshake: the peer stays who it
//! would be without one, and policy says what such a peer may do. What the handshake itself proves is
//! that the client has the certificate's key. There is no resumption on such connectors, so every
//! session is judged by the authorities and by the time of its own beginning.

use std::path::Path;
use std::sync::Arc;

use relay_mail::tls::{CertificateRefusal, ClientCertificate};
use relay_tls::certificate::Certificate;
use relay_tls::limits::CERTIFICATE_NAMES;
use relay_tls::tls_failure::{pem_words, words};
use tokio_rustls::rustls::client::danger::HandshakeSignatureValid;
use tokio_rustls::rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use tokio_rustls::rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use tokio_rustls::rustls::{
    self, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
};
use webpki::{EndEntityCert, KeyUsage};

/// Authorities whose certificates are believed for one purpose.
#[derive(Debug)]
pub(super) struct Authorities {
    roots: RootCertStore,
    certificates: Vec<Certificate>,
}

/// Who may vouch for clients of a connector, and how that is checked.
#[derive(Clone, Debug)]
pub(super) struct ClientTrust {
    /// For partners: `[partners] ca`.
    partners: Option<Arc<Authorities>>,
    /// For our own servers: `[fleet] ca`.
    fleet: Option<Arc<Authorities>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Authorities {
    /// Reads a bundle of certificates.
    ///
    /// # Errors
    /// It cannot be read, or one of the certificates cannot be an authority. `Ok(None)`: it holds
    /// none.
    pub(super) fn load(path: &Path) -> Result<Option<Self>, ClientAuthoritiesError> {
        let (mut roots, mut certificates) = (RootCertStore::empty(), Vec::new());
        for certificate in
            CertificateDer::pem_file_iter(path).map_err(ClientAuthoritiesError::Pem)?
        {
            let certificate = certificate.map_err(ClientAuthoritiesError::Pem)?;
            certificates.extend(Certificate::parse(&certificate));
            roots.add(certificate).map_err(|e| ClientAuthoritiesError::Authority(words(&e)))?;
        }
        Ok((!roots.is_empty()).then_some(Self { roots, certificates }))
    }

    /// What the certificates say of themselves.
    pub(super) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }
}

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ClientAuthoritiesError {
    /// It cannot be read, or is not PEM.
    #[error("{}", pem_words(.0))]
    Pem(pem::Error),
    /// One of the certificates cannot be an authority.
    #[error("{0}")]
    Authority(String),
}

impl ClientTrust {
    pub(super) fn new(
        partners: Option<Arc<Authorities>>,
        fleet: Option<Arc<Authorities>>,
        provider: &CryptoProvider,
    ) -> Self {
        Self { partners, fleet, algorithms: provider.signature_verification_algorithms }
    }

    /// Asks for a certificate and takes any, or none.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let authorities = self.partners.iter().chain(&self.fleet);
        let subjects = authorities.flat_map(|authorities| authorities.roots.subjects()).collect();
        Arc::new(TakesAny { subjects, algorithms: self.algorithms })
    }

    /// What a chain that a client has shown is worth now. `None`: it has shown none.
    pub(super) fn judge(&self, chain: Option<&[CertificateDer<'_>]>) -> Option<ClientCertificate> {
        let (leaf, intermediates) = chain?.split_first()?;
        let verified = |authorities: Option<&Arc<Authorities>>| match authorities {
            Some(authorities) => self.verify(leaf, intermediates, &authorities.roots.roots),
            None => Err(CertificateRefusal::NoAuthority),
        };
        Some(ClientCertificate {
            names: names(leaf),
            by_partners_ca: verified(self.partners.as_ref()),
            by_fleet_ca: verified(self.fleet.as_ref()),
        })
    }

    /// A certificate for clients or for servers: public authorities issue hardly any for clients any
    /// more, and a mail server shows the one that it has.
    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        anchors: &[TrustAnchor<'_>],
    ) -> Result<(), CertificateRefusal> {
        let invalid = |error: webpki::Error| CertificateRefusal::Invalid(error.to_string());
        let certificate = EndEntityCert::try_from(leaf).map_err(invalid)?;
        let verify = |usage: KeyUsage| {
            certificate
                .verify_for_usage(
                    self.algorithms.all,
                    anchors,
                    intermediates,
                    UnixTime::now(),
                    usage,
                    None,
                    None,
                )
                .map(|_| ())
        };
        verify(KeyUsage::client_auth())
            .or_else(|_| verify(KeyUsage::server_auth()))
            .map_err(invalid)
    }
}

/// The host names that a certificate is for, in lower case. Worth something only once it is verified.
fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(leaf) else { return Vec::new() };
    certificate.valid_dns_names().take(CERTIFICATE_NAMES).map(str::to_ascii_lowercase).collect()
}

/// Takes whatever a client shows, if it has the key to it.
#[derive(Debug)]
struct TakesAny {
    subjects: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for TakesAny {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        // See `ClientTrust::judge`.
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
