//! The greeting and STARTTLS.

use super::*;

/// A connector with a certificate and `require_tls`.
pub(super) fn with_tls() -> (Arc<Rules>, Peer) {
    let text = r#"
hostname = "edge1"
delivery.smart_host = "127.0.0.1:2626"
tls = { certificate = "c", key = "k" }
connector = [{ name = "C", bindings = ["0.0.0.0:25"], remote_ip_ranges = ["10.0.0.1"], require_tls = true, permission_groups = ["AnonymousUsers"] }]
"#;
    let config = Config::parse(text, "relay.toml").unwrap();
    let rules = config.rules(&mut ConnectorIds::default(), 1).unwrap();
    let peer = peer(&rules, "C");
    (rules, peer)
}

#[test]
fn the_greeting() {
    let plain = rules("banner = \"220 hello there\"");
    let greet = |rules: &Rules, name: Option<&str>| {
        let connector = name.map(|name| peer(rules, name).connector);
        connect(connector.as_deref())
    };
    let usual = greet(&plain, Some("Scanners"));
    assert_eq!(usual.reply.to_string(), "220 edge1.contoso.example ESMTP");
    assert_eq!(rule(&usual), Rule::Connector);
    let own = greet(&plain, Some("Other"));
    assert_eq!(own.reply.to_string(), "220 hello there");
    assert_eq!(rule(&own), Rule::Banner);
    let unserved = greet(&plain, None);
    assert_eq!(unserved.reply, reply::SERVICE_NOT_AVAILABLE);
    assert_eq!(rule(&unserved), Rule::Connector);
    let refused = greet(&rules("refuse = true"), Some("Other"));
    assert_eq!(refused.reply, reply::SERVICE_NOT_AVAILABLE);
    assert_eq!(rule(&refused), Rule::Refuse);
}

#[test]
fn mail_asks_for_tls_before_anything_else() {
    let (rules, mut peer) = with_tls();
    let offered = start_tls(&peer);
    assert_eq!(offered.reply, reply::START_TLS);
    assert_eq!(rule(&offered), Rule::AuthMechanism);
    let plain = mail(&rules, &peer, &ReversePath::Null, None);
    assert_eq!(plain.reply, reply::TLS_REQUIRED);
    assert_eq!(rule(&plain), Rule::RequireTls);
    peer.tls = true;
    let again = start_tls(&peer);
    assert_eq!((&again.reply, rule(&again)), (&reply::BAD_SEQUENCE, Rule::Tls));
    assert_eq!(mail(&rules, &peer, &ReversePath::Null, None).reply, reply::SENDER_OK);
}

#[test]
fn starttls_needs_a_certificate_and_the_mechanism() {
    let with_mechanism = rules("");
    let decision = start_tls(&peer(&with_mechanism, "Other"));
    assert_eq!(decision.reply, reply::UNRECOGNIZED_COMMAND);
    assert_eq!(rule(&decision), Rule::Tls);
    let without = rules("auth_mechanism = [\"None\"]");
    let decision = start_tls(&peer(&without, "Other"));
    assert_eq!(decision.reply, reply::UNRECOGNIZED_COMMAND);
    assert_eq!(rule(&decision), Rule::AuthMechanism);
}
