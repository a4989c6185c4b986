//! The greeting of a connection, and whether it may be encrypted.

use crate::{Because, Consequence, Decision, Peer, Reasons, Rule};
use relay_connector::Connector;
use relay_mail::reply::{
    BAD_SEQUENCE, GREETING, SERVICE_NOT_AVAILABLE, START_TLS, UNRECOGNIZED_COMMAND,
};

/// The greeting of a connection: 220, or 421 and the end if no connector serves it.
pub fn connect(connector: Option<&Connector>) -> Decision {
    let mut reasons = Reasons::default();
    let Some(connector) = connector else {
        reasons.note(Rule::Connector, "no connector serves this address on this binding");
        return reasons.decide(SERVICE_NOT_AVAILABLE);
    };
    reasons.note(Rule::Connector, format!("the connection belongs to `{}`", connector.name));
    if connector.refuse {
        reasons.note(Rule::Refuse, "the connector refuses its sources");
        return reasons.decide(SERVICE_NOT_AVAILABLE);
    }
    let text = match &connector.banner {
        Some(banner) => {
            reasons.note(Rule::Banner, "set by the connector");
            banner.clone()
        }
        None => format!("{} {}", connector.fqdn, GREETING.text),
    };
    reasons.decide(GREETING.with_text(text))
}

/// What a client in `proxy_protocol_from` sends before it gets the greeting for itself.
pub fn own_proxy_header() -> Because {
    let found = "the client must begin with a PROXY header, without which the connection ends \
        without a reply; here the header is UNKNOWN or LOCAL, which names no other client";
    Because { rule: Rule::ProxyProtocolFrom, found: found.into() }
}

/// STARTTLS: offered once, if the connector has Tls and a certificate.
pub fn start_tls(peer: &Peer) -> Decision {
    let mut reasons = Reasons::default();
    if peer.tls {
        reasons.note(Rule::Tls, "the session is encrypted already");
        return reasons.conclude(BAD_SEQUENCE, Consequence::ProtocolError);
    }
    if !peer.connector.auth_mechanism.tls {
        reasons.note(Rule::AuthMechanism, "the connector does not have Tls");
        return reasons.conclude(UNRECOGNIZED_COMMAND, Consequence::ProtocolError);
    }
    if peer.connector.encryption.certificate.is_none() {
        reasons.note(Rule::Tls, "there is no certificate");
        return reasons.conclude(UNRECOGNIZED_COMMAND, Consequence::ProtocolError);
    }
    reasons.note(Rule::AuthMechanism, "the connector has Tls");
    reasons.decide(START_TLS)
}
