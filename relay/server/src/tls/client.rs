//! Certificates of clients: requested if a connector uses them, and verified after the handshake.
//!
//! A certificate that cannot be verified does not end the handshake: the client is treated like a
//! client without a certificate, and policy decides. The handshake itself proves that the client
//! has the certificate's key. Such connectors have no resumption, so every session is verified with
//! the current authorities and at the current time.
//! session is verify_client_certificated by the authorities and by the time of its own beginning.

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

/// The authorities for one purpose.
#[derive(Debug)]
pub(super) struct Authorities {
    roots: RootCertStore,
    certificates: Vec<Certificate>,
}

/// The authorities for clients of a connector, and the verifiers.
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
    /// It cannot be read, or one of the certificates cannot be an authority. `Ok(None)`: it
    /// contains no certificate.
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

    /// The validity and names of the certificates.
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

    /// Requests a certificate and accepts any certificate, or none.
    pub(super) fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let authorities = self.partners.iter().chain(&self.fleet);
        let subjects = authorities.flat_map(|authorities| authorities.roots.subjects()).collect();
        Arc::new(AcceptsAny { subjects, algorithms: self.algorithms })
    }

    /// Verifies the chain of a client now. `None`: the client has shown none.
    pub(super) fn verify_client_certificate(
        &self,
        chain: Option<&[CertificateDer<'_>]>,
    ) -> Option<ClientCertificate> {
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

    /// Verifies a certificate for clients or for servers: public authorities issue hardly any
    /// certificates for clients, so a mail server shows the certificate that it has.
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

/// The host names of a certificate, in lower case. Only meaningful if it is verified.
fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let Ok(certificate) = EndEntityCert::try_from(leaf) else { return Vec::new() };
    certificate.valid_dns_names().take(CERTIFICATE_NAMES).map(str::to_ascii_lowercase).collect()
}

/// Accepts every certificate if the client has its key.
#[derive(Debug)]
struct AcceptsAny {
    subjects: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for AcceptsAny {
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
        // See `ClientTrust::verify_client_certificate`.
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
