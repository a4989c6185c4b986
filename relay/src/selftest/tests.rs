//! The configuration relays nothing beyond its rules, and the self-test would notice it.

use relay_config::Config;
use relay_connector::ConnectorIds;

use super::*;

const CONFIGURATION: &str = r#"
hostname = "edge1.contoso.example"
delivery.smart_host = "127.0.0.1:2626"
accepted_domain = [{ name = "contoso.example" }, { name = "*.partner.example", type = "InternalRelay" }]
tls = { certificate = "/relay.pem", key = "/relay.key" }
[[connector]]
name = "Frontend"
bindings = ["0.0.0.0:25", "[::]:25"]
remote_ip_ranges = ["0.0.0.0/0", "::/0"]
permission_groups = ["AnonymousUsers"]
[[connector]]
name = "Encrypted"
bindings = ["0.0.0.0:26"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]
require_tls = true
[[connector]]
name = "Scanners"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.97.0/24"]
permission_groups = ["AnonymousUsers"]
grants = { anonymous = ["ms-Exch-SMTP-Accept-Any-Recipient"] }
[[connector]]
name = "Trusted"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.96.15"]
auth_mechanism = ["ExternalAuthoritative"]
permission_groups = ["ExchangeServers"]
[[connector]]
name = "Only accepted senders"
bindings = ["127.0.0.1:27"]
remote_ip_ranges = ["10.0.0.0/8"]
grants = { anonymous = ["ms-Exch-SMTP-Submit"] }
[[connector]]
name = "No permissions"
bindings = ["0.0.0.0:28"]
remote_ip_ranges = ["10.0.0.0/8"]
"#;

fn trials(is_granted: fn(PermissionSet, Asks) -> bool) -> Vec<Trial> {
    let config = Config::parse(CONFIGURATION, "relay.toml").unwrap();
    let rules = config.rules(&mut ConnectorIds::default(), 1).unwrap();
    run_with(&rules, "edge1.contoso.example", is_granted)
}

#[test]
fn only_granted_requests_are_accepted() {
    let trials = trials(is_granted);
    let names: Vec<_> = trials.iter().map(|trial| trial.connector.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "Frontend",
            "Trusted",
            "Scanners",
            "Frontend",
            "Encrypted",
            "Only accepted senders",
            "No permissions"
        ]
    );
    for trial in &trials {
        if let Some(tried) = trial.faults().next() {
            panic!("{}: {}\n{:#?}", trial.connector.name, tried.probe.name, tried.dialogue);
        }
    }
}

/// The probes reach the session: all granted requests are accepted.
#[test]
fn granted_requests_are_accepted() {
    let accepted = |name: &str, probe: &str| {
        let trials = trials(is_granted);
        let trial = trials.iter().find(|trial| trial.connector.name == name).unwrap();
        let tried = trial.results.iter().find(|tried| tried.probe.name == probe).unwrap();
        tried.accepted
    };
    for (name, probe, expected) in [
        ("Frontend", "a foreign recipient", false),
        ("Frontend", "our domain", true),
        ("Frontend", "a foreign sender", true),
        ("Encrypted", "a foreign sender", true),
        ("Encrypted", "a foreign recipient", false),
        ("Scanners", "a foreign recipient", true),
        ("Scanners", "percent hack at an accepted domain", true),
        ("Scanners", "source route over our name", false),
        ("Trusted", "a look-alike of other letters", true),
        ("Only accepted senders", "our domain", false),
        ("Only accepted senders", "a foreign sender", false),
        ("No permissions", "a foreign sender", false),
    ] {
        assert_eq!(accepted(name, probe), expected, "{name}: {probe}");
    }
}

/// If the rules grant nothing, every acceptance is a fault.
#[test]
fn a_relaying_server_is_detected() {
    let trials = trials(|_, _| false);
    let faults = |name: &str| {
        let trial = trials.iter().find(|trial| trial.connector.name == name).unwrap();
        trial.faults().map(|tried| tried.probe.name).collect::<Vec<_>>()
    };
    assert!(faults("Scanners").contains(&"a foreign recipient"));
    assert!(faults("Trusted").contains(&"bang path at our address"));
    assert_eq!(
        faults("Frontend"),
        [
            "our domain",
            "our domain in upper case",
            "our domain, quoted local part",
            "our domain, empty quoted local part",
            "a foreign sender"
        ]
    );
    assert_eq!(faults("No permissions"), [""; 0]);
}
