//! Why a TLS handshake has failed, for administrators.
//!
//! Every error of rustls and of its certificate checks has a sentence with the problem and, if the
//! remedy is on this host, the remedy. Debug text is never shown. Callers decide the status code of
//! a failure, and whether mail waits.

use std::io;

use crate::certificate::day;
use relay_mail::printable::printable;
use tokio_rustls::rustls::pki_types::pem;
use tokio_rustls::rustls::{
    AlertDescription, CertificateError, Error, InconsistentKeys, InvalidMessage, PeerIncompatible,
    PeerMisbehaved,
};
use webpki::Error as ChainError;

/// The reason for an error of a handshake.
pub fn reason(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match (inner, error.kind()) {
        (Some(inner), _) => words(inner),
        (None, io::ErrorKind::UnexpectedEof) => "the peer closed the connection".to_owned(),
        (None, io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => {
            "the peer reset the connection".to_owned()
        }
        (None, _) => printable(&error.to_string()).into_owned(),
    }
}

/// The reason for an error of rustls.
pub fn words(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(error) => certificate(error),
        Error::NoCertificatesPresented => "the peer showed no certificate".to_owned(),
        Error::UnsupportedNameType => {
            "the kind of its name does not exist in certificates".to_owned()
        }
        Error::AlertReceived(alert) => {
            format!("the peer refused the handshake: {}", alerted(*alert))
        }
        Error::PeerIncompatible(why) => incompatible(why),
        Error::PeerMisbehaved(why) => misbehaved(why),
        Error::InvalidMessage(why) => invalid_message(why),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the peer sent an unexpected TLS message".to_owned()
        }
        Error::DecryptError => {
            "a message cannot be decrypted: it was changed on the way, or the peer is broken"
                .to_owned()
        }
        Error::PeerSentOversizedRecord => "the peer sent a record that is too large".to_owned(),
        Error::InvalidEncryptedClientHello(_) => "encrypted client hello failed".to_owned(),
        Error::InvalidCertRevocationList(_) => {
            "a list of revoked certificates is unusable".to_owned()
        }
        Error::NoApplicationProtocol => "no application protocol in common (ALPN)".to_owned(),
        Error::FailedToGetCurrentTime => "this host's clock cannot be read".to_owned(),
        Error::FailedToGetRandomBytes => "this host has no random numbers".to_owned(),
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "the key is not the certificate's".to_owned()
        }
        Error::InconsistentKeys(_) => "the key is of a kind that cannot be compared".to_owned(),
        Error::EncryptError | Error::HandshakeNotComplete | Error::BadMaxFragmentSize => {
            "TLS failed on this host".to_owned()
        }
        Error::General(text) => format!("TLS failed: {}", printable(text)),
        Error::Other(other) => match other.0.downcast_ref::<ChainError>() {
            Some(error) => chain(error),
            None => format!("TLS failed: {}", printable(&other.to_string())),
        },
        _ => "TLS failed for an unknown reason".to_owned(),
    }
}

/// The problem of a PEM file.
pub fn pem_words(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::MissingSectionEnd { .. } => "a section has no line -----END …-----".to_owned(),
        pem::Error::IllegalSectionStart { .. } => {
            "a line -----BEGIN …----- is malformed".to_owned()
        }
        pem::Error::Base64Decode(_) => "a section is not base64".to_owned(),
        pem::Error::SectionTooLarge => "a section is too large".to_owned(),
        pem::Error::NoItemsFound => {
            "it has no such PEM section; a key with a passphrase cannot be used".to_owned()
        }
        _ => "it is not PEM".to_owned(),
    }
}

fn certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::BadEncoding => "the certificate cannot be read".to_owned(),
        CertificateError::Expired => "the certificate has expired".to_owned(),
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate expired on {}", of(not_after.as_secs()))
        }
        CertificateError::NotValidYet => "the certificate is not valid yet".to_owned(),
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is not valid before {}", of(not_before.as_secs()))
        }
        CertificateError::Revoked => "the certificate has been revoked".to_owned(),
        CertificateError::UnhandledCriticalExtension => {
            "the certificate has a critical extension that is unknown here".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "the certificate is not from a trusted authority (see ca_file)".to_owned()
        }
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            "it is unknown whether the certificate has been revoked".to_owned()
        }
        CertificateError::BadSignature => {
            "a signature is wrong: the certificate is from another authority of the same name, or it \
             or the handshake is forged or damaged"
                .to_owned()
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "the certificate's key or signature is of a kind that is not supported, or too short"
                .to_owned()
        }
        CertificateError::NotValidForName => "the certificate is not for its name".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let presented: Vec<_> = presented.iter().map(|name| plain_name(name)).collect();
            not_for(&expected.to_str(), &presented)
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "the certificate is not for servers (extended key usage)".to_owned()
        }
        CertificateError::InvalidOcspResponse => {
            "the proof that the certificate is not revoked is unusable".to_owned()
        }
        CertificateError::Other(other) => match other.0.downcast_ref::<ChainError>() {
            Some(error) => chain(error),
            None => printable(&other.to_string()).into_owned(),
        },
        other => match format!("{other:?}").as_str() {
            "UnsupportedSignatureAlgorithm" => {
                "the certificate's signature is of a kind that is not supported".to_owned()
            }
            _ => "the certificate is not accepted".to_owned(),
        },
    }
}

/// A certificate that is for other names.
pub fn not_for(expected: &str, presented: &[String]) -> String {
    let presented = match presented {
        [] => "no name at all".to_owned(),
        [one] => one.clone(),
        [first, second] => format!("{first} and {second}"),
        [first, second, rest @ ..] => format!("{first}, {second} and {} more", rest.len()),
    };
    printable(&format!("the certificate is for {presented}, not for {expected}")).into_owned()
}

/// webpki writes names as `DnsName("a.example")`.
fn plain_name(name: &str) -> String {
    match name.split_once('(') {
        Some((_, rest)) => rest.trim_end_matches(')').trim_matches('"').to_owned(),
        None => name.to_owned(),
    }
}

/// The problem of a chain of certificates, if rustls has no name of its own for it.
fn chain(error: &ChainError) -> String {
    match error {
        ChainError::CaUsedAsEndEntity => {
            "the certificate is an authority's own; put that very certificate in ca_file to trust it"
        }
        ChainError::EndEntityUsedAsCa => {
            "the issuer of a certificate of the chain is no authority"
        }
        ChainError::UnsupportedCertVersion => {
            "the certificate is of X.509 version 1; put that very certificate in ca_file to trust it"
        }
        ChainError::PathLenConstraintViolated | ChainError::MaximumPathDepthExceeded => {
            "the chain of certificates is longer than its authority allows"
        }
        ChainError::NameConstraintViolation => {
            "the certificate's names are outside those that its authority may issue"
        }
        ChainError::EmptyEkuExtension => "the certificate names no use (extended key usage)",
        ChainError::UnsupportedCriticalExtension => {
            "the certificate has a critical extension that is unknown here"
        }
        ChainError::CertDistrusted => "the certificate is distrusted",
        ChainError::SignatureAlgorithmMismatch => {
            "the certificate names two different algorithms for its signature"
        }
        ChainError::InvalidSerialNumber => "the certificate's serial number is malformed",
        ChainError::InvalidCertValidity => "the certificate ends before it begins",
        ChainError::MaximumSignatureChecksExceeded
        | ChainError::MaximumPathBuildCallsExceeded
        | ChainError::MaximumNameConstraintComparisonsExceeded => {
            "the chain of certificates takes too long to check"
        }
        ChainError::BadDer
        | ChainError::BadDerTime
        | ChainError::ExtensionValueInvalid
        | ChainError::MalformedExtensions
        | ChainError::MalformedDnsIdentifier
        | ChainError::MalformedNameConstraint
        | ChainError::InvalidNetworkMaskConstraint
        | ChainError::TrailingData(_) => "the certificate is malformed",
        _ => "the chain of certificates is not accepted",
    }
    .to_owned()
}

/// The meaning of an alert of the peer (RFC 8446 section 6.2, RFC 5246 section 7.2.2).
fn alerted(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::HandshakeFailure => {
            "it has no protocol version, cipher or parameter in common with us (handshake_failure)"
        }
        AlertDescription::ProtocolVersion => "it does not speak TLS 1.2 or 1.3 (protocol_version)",
        AlertDescription::InsufficientSecurity => {
            "it wants stronger ciphers (insufficient_security)"
        }
        AlertDescription::CertificateRequired => {
            "it wants a client certificate (certificate_required)"
        }
        AlertDescription::UnknownCA => "it does not trust the issuer of a certificate (unknown_ca)",
        AlertDescription::BadCertificate => "it does not accept a certificate (bad_certificate)",
        AlertDescription::CertificateExpired => {
            "it considers a certificate expired (certificate_expired)"
        }
        AlertDescription::CertificateRevoked => {
            "it considers a certificate revoked (certificate_revoked)"
        }
        AlertDescription::CertificateUnknown => {
            "it does not accept a certificate (certificate_unknown)"
        }
        AlertDescription::UnsupportedCertificate => {
            "it does not accept a certificate of this kind (unsupported_certificate)"
        }
        AlertDescription::AccessDenied => "it denies access (access_denied)",
        AlertDescription::UnrecognisedName => {
            "it has no certificate for the requested name (unrecognized_name)"
        }
        AlertDescription::InternalError => "it failed (internal_error)",
        AlertDescription::CloseNotify => "it ended the connection (close_notify)",
        AlertDescription::UserCanceled => "it cancelled the handshake (user_canceled)",
        AlertDescription::InappropriateFallback => {
            "it detected a fallback to an older version (inappropriate_fallback)"
        }
        AlertDescription::Unknown(number) => return format!("alert {number}"),
        other => return spaced(&format!("{other:?}")),
    }
    .to_owned()
}

fn incompatible(why: &PeerIncompatible) -> String {
    match why {
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher suite in common".to_owned(),
        PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired => {
            "no key exchange group in common".to_owned()
        }
        PeerIncompatible::NoSignatureSchemesInCommon
        | PeerIncompatible::NoCertificateRequestSignatureSchemesInCommon => {
            "no signature algorithm in common".to_owned()
        }
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::SupportedVersionsExtensionRequired
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => {
            "no protocol version in common: the peer does not support TLS 1.2 or 1.3, or the version \
             that is required"
                .to_owned()
        }
        other => {
            let debug = format!("{other:?}");
            let name = debug.split('(').next().unwrap_or_default();
            format!("the peer lacks a necessary feature ({})", spaced(name))
        }
    }
}

fn misbehaved(why: &PeerMisbehaved) -> String {
    format!("the peer violated the TLS protocol ({})", spaced(&format!("{why:?}")))
}

fn invalid_message(why: &InvalidMessage) -> String {
    match why {
        InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion => {
            "the peer does not speak TLS there".to_owned()
        }
        InvalidMessage::MessageTooLarge | InvalidMessage::HandshakePayloadTooLarge => {
            "the peer sent a message that is too large, or does not speak TLS there".to_owned()
        }
        InvalidMessage::CertificatePayloadTooLarge => {
            "the peer's certificates are too large".to_owned()
        }
        other => {
            let debug = format!("{other:?}");
            let name = debug.split('(').next().unwrap_or_default();
            format!("the peer sent a malformed message ({})", spaced(name))
        }
    }
}

/// `SelectedUnofferedCipherSuite` as words, for the many rare cases without their own text.
fn spaced(name: &str) -> String {
    let mut words = String::with_capacity(name.len() + 8);
    let mut before_is_upper = true;
    for character in name.chars() {
        if character.is_ascii_uppercase() && !before_is_upper {
            words.push(' ');
        }
        before_is_upper = character.is_ascii_uppercase();
        words.push(character.to_ascii_lowercase());
    }
    words
}

fn of(seconds: u64) -> String {
    day(i64::try_from(seconds).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_rustls::rustls::OtherError;

    use crate::tls_failure::*;

    /// The text contains no marks of Rust's debug text.
    fn is_plain(text: &str) -> bool {
        let has_camel = text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| {
            word.chars().skip(1).any(|c| c.is_ascii_uppercase())
                && word.chars().any(|c| c.is_ascii_lowercase())
        });
        !has_camel && !text.contains(['{', '}', '"']) && text.len() > 10
    }

    #[test]
    fn every_kind_has_words() {
        let other = |error: ChainError| {
            Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
        };
        for error in [
            other(ChainError::CaUsedAsEndEntity),
            other(ChainError::UnsupportedCertVersion),
            other(ChainError::UnsupportedNameType),
            Error::InvalidCertificate(CertificateError::UnknownIssuer),
            Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure),
            Error::AlertReceived(AlertDescription::HandshakeFailure),
            Error::AlertReceived(AlertDescription::UnknownPSKIdentity),
            Error::AlertReceived(AlertDescription::Unknown(250)),
            Error::PeerIncompatible(PeerIncompatible::ServerDoesNotSupportTls12Or13),
            Error::PeerIncompatible(PeerIncompatible::ServerRejectedEncryptedClientHello(None)),
            Error::PeerMisbehaved(PeerMisbehaved::SelectedUnofferedCipherSuite),
            Error::InvalidMessage(InvalidMessage::InvalidContentType),
            Error::InvalidMessage(InvalidMessage::MissingData("ServerHello")),
            Error::General("x".to_owned()),
            Error::BadMaxFragmentSize,
        ] {
            let text = words(&error);
            assert!(is_plain(&text) || text == "alert 250", "{text}");
        }
        assert_eq!(spaced("SelectedUnofferedCipherSuite"), "selected unoffered cipher suite");
    }

    #[test]
    fn the_texts_have_the_problem_and_the_remedy() {
        let presented =
            vec!["DnsName(\"a.example\")".to_owned(), "IpAddress(192.0.2.1)".to_owned()];
        let expected = "mail.example".try_into().unwrap();
        let name = CertificateError::NotValidForNameContext { expected, presented };
        let text = words(&Error::InvalidCertificate(name));
        for part in ["a.example", "192.0.2.1", "mail.example"] {
            assert!(text.contains(part), "{text}");
        }
        let error = io::Error::new(
            io::ErrorKind::InvalidData,
            Error::AlertReceived(AlertDescription::ProtocolVersion),
        );
        assert!(reason(&error).contains("protocol_version"));
        assert!(reason(&io::ErrorKind::UnexpectedEof.into()).contains("closed"));
    }
}
