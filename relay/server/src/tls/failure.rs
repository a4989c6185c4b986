//! Why a handshake with a client failed, for the log.

use std::io::{Error, ErrorKind};

use relay_session::HandshakeFailure;
use tokio_rustls::rustls::{
    self, AlertDescription, InvalidMessage, PeerIncompatible, PeerMisbehaved,
};

/// Who ended a handshake, and why.
pub(crate) fn handshake_failure(error: &Error) -> HandshakeFailure {
    match error.kind() {
        ErrorKind::Unsupported => HandshakeFailure::NoCertificate,
        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof => {
            HandshakeFailure::ClientLeft(words(error))
        }
        _ => HandshakeFailure::Refused(words(error)),
    }
}

/// The text of a failed handshake for administrators.
fn words(error: &Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let words = match inner {
        Some(rustls::Error::AlertReceived(alert)) => return alert_words(*alert),
        Some(rustls::Error::PeerIncompatible(why)) => match why {
            PeerIncompatible::NoCipherSuitesInCommon => {
                "the client offers no cipher suite that this host supports"
            }
            PeerIncompatible::NoKxGroupsInCommon
            | PeerIncompatible::NamedGroupsExtensionRequired => {
                "the client offers no key exchange that this host supports"
            }
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired => {
                "the client accepts no signature of the certificate's key"
            }
            PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled => {
                "the client offers no TLS version that this connector allows"
            }
            PeerIncompatible::ExtendedMasterSecretExtensionRequired => {
                "the client lacks the extended master secret of RFC 7627"
            }
            _ => return error.to_string(),
        },
        Some(rustls::Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName)) => {
            "the client asks for a server name (SNI) that is not a host name"
        }
        Some(rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        )) => "the client did not send TLS, perhaps plain text",
        Some(rustls::Error::NoCertificatesPresented) => "the client shows no certificate",
        _ => match error.kind() {
            ErrorKind::UnexpectedEof => "the client closed the connection",
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => "the client reset the connection",
            _ => return error.to_string(),
        },
    };
    words.to_owned()
}

fn alert_words(alert: AlertDescription) -> String {
    let words = match alert {
        AlertDescription::UnknownCA => "the client does not trust the issuer of our certificate",
        AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown => "the client does not accept our certificate",
        AlertDescription::UserCanceled | AlertDescription::CloseNotify => "the client gave up",
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            "the client has no common version or cipher suite with this host"
        }
        _ => "the client ended the handshake",
    };
    format!("{words} (alert {alert:?})")
}

#[cfg(test)]
mod tests {
    use crate::tls::failure::*;

    #[test]
    fn every_failure_has_its_own_words() {
        use rustls::Error as E;
        let told =
            |error: E| handshake_failure(&Error::new(ErrorKind::InvalidData, error)).to_string();
        let mut words = vec![
            told(E::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)),
            told(E::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon)),
            told(E::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled)),
            told(E::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName)),
            told(E::InvalidMessage(InvalidMessage::InvalidContentType)),
            told(E::AlertReceived(AlertDescription::UnknownCA)),
            told(E::AlertReceived(AlertDescription::UserCanceled)),
            told(E::AlertReceived(AlertDescription::InternalError)),
            handshake_failure(&ErrorKind::UnexpectedEof.into()).to_string(),
            handshake_failure(&ErrorKind::ConnectionReset.into()).to_string(),
            handshake_failure(&ErrorKind::Unsupported.into()).to_string(),
        ];
        assert!(words.iter().all(|words| words.len() > 10), "{words:?}");
        let count = words.len();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), count);
        assert!(told(E::AlertReceived(AlertDescription::UnknownCA)).contains("UnknownCA"));
    }
}
