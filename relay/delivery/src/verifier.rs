//! Is a next hop's certificate accepted? Either any certificate is, or one that authorities sign.
//!
//! With the system's authorities the rules are those of the Web. With a `ca_file` they are those of
//! OpenSSL, which administrators know: a certificate in the file is trusted itself, if its dates,
//! its names and its use match; and the common name counts if a certificate has no other name. The
//! next hop must prove in every case that it has the certificate's key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use relay_tls::certificate::Certificate;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::CryptoProvider;
use tokio_rustls::rustls::pki_types::{
    CertificateDer, ServerName, SignatureVerificationAlgorithm, UnixTime,
};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerMisbehaved, RootCertStore, SignatureScheme,
};
use webpki::RawPublicKeyEntity;

/// Accepts every certificate. The handshake still proves that the next hop has its key, so only an
/// active attacker can read the traffic.
#[derive(Debug)]
pub(super) struct AnyCertificate(pub(super) Arc<CryptoProvider>);

/// Accepts certificates signed by the authorities of a `ca_file`, and those in the file itself.
#[derive(Debug)]
pub(super) struct OwnAuthorities {
    roots: RootCertStore,
    /// Every certificate of the file, DER.
    pinned: HashSet<Vec<u8>>,
    provider: Arc<CryptoProvider>,
}

impl OwnAuthorities {
    /// The certificates of a `ca_file`. `None`: none of them can be used.
    pub(super) fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: Arc<CryptoProvider>,
    ) -> Option<Self> {
        let readable = |der: &CertificateDer<'_>| Certificate::parse(der).is_ok();
        let pinned: HashSet<_> =
            certificates.iter().filter(|der| readable(der)).map(|der| der.to_vec()).collect();
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates);
        (!pinned.is_empty()).then_some(Self { roots, pinned, provider })
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            self.provider.signature_verification_algorithms.all,
        )?;
        match verify_server_name(&parsed, name) {
            Err(error) if !read(leaf)?.is_for(name) => Err(error),
            _ => Ok(()),
        }
    }
}

impl ServerCertVerifier for OwnAuthorities {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned.contains(leaf.as_ref()) {
            verify_pinned(leaf, name, now)?;
        } else {
            self.verify_chain(leaf, intermediates, name, now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signed, tls12(&self.provider, signed))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signed, tls13(&self.provider, signed))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signed, tls12(&self.0, signed))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_signature(message, certificate, signed, tls13(&self.0, signed))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// A certificate that the administrator has put into the file: no authority has to sign it.
fn verify_pinned(
    leaf: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let certificate = read(leaf)?;
    let moment = |seconds: i64| {
        UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(seconds).unwrap_or(0)))
    };
    let (not_before, not_after) = (moment(certificate.not_before), moment(certificate.not_after));
    let error = if now < not_before {
        CertificateError::NotValidYetContext { time: now, not_before }
    } else if now > not_after {
        CertificateError::ExpiredContext { time: now, not_after }
    } else if !certificate.is_for_servers {
        CertificateError::InvalidPurpose
    } else if !certificate.is_for(name) {
        let (expected, presented) = (name.to_owned(), certificate.names());
        CertificateError::NotValidForNameContext { expected, presented }
    } else {
        return Ok(());
    };
    Err(error.into())
}

/// Does the next hop have the key of its certificate? Checks only the key, since certificates of
/// X.509 version 1, and those with unknown critical extensions, have a key as well.
fn verify_signature(
    message: &[u8],
    certificate: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    candidates: &[&dyn SignatureVerificationAlgorithm],
) -> Result<HandshakeSignatureValid, Error> {
    if candidates.is_empty() {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    }
    let certificate = read(certificate)?;
    let public_key = certificate.public_key();
    let key = RawPublicKeyEntity::try_from(&public_key)
        .map_err(|_| Error::from(CertificateError::BadEncoding))?;
    let is_signed = candidates
        .iter()
        .any(|candidate| key.verify_signature(*candidate, message, signed.signature()).is_ok());
    match is_signed {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(CertificateError::BadSignature.into()),
    }
}

/// The algorithms for signatures of TLS 1.2: the scheme names the hash, and the key the curve.
fn tls12(
    provider: &CryptoProvider,
    signed: &DigitallySignedStruct,
) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    let mapping = provider.signature_verification_algorithms.mapping;
    let of_scheme = mapping.iter().find(|(scheme, _)| *scheme == signed.scheme);
    of_scheme.map_or(&[], |(_, candidates)| candidates)
}

/// The same for TLS 1.3, whose schemes name the curve too, and which has no RSA with PKCS #1
/// padding (RFC 8446 section 4.2.3).
fn tls13(
    provider: &CryptoProvider,
    signed: &DigitallySignedStruct,
) -> &'static [&'static dyn SignatureVerificationAlgorithm] {
    use SignatureScheme::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512};
    match signed.scheme {
        RSA_PKCS1_SHA256 | RSA_PKCS1_SHA384 | RSA_PKCS1_SHA512 => &[],
        _ => tls12(provider, signed).get(..1).unwrap_or(&[]),
    }
}

fn read(certificate: &CertificateDer<'_>) -> Result<Certificate, Error> {
    Certificate::parse(certificate).map_err(|_| CertificateError::BadEncoding.into())
}
