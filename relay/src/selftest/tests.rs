//! That nothing is relayed beyond the rules, and that the self-test would see it if it were.

use relay_connector::ConnectorIds;

use super::*;
use crate::config::Config;

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
name = "Nobody"
bindings = ["0.0.0.0:28"]
remote_ip_ranges = ["10.0.0.0/8"]
"#;

fn trials(is_granted: fn(PermissionSet, Asks) -> bool) -> Vec<Trial> {
    let config = Config::parse(CONFIGURATION, "relay.toml").unwrap();
    let rules = config.rules(&mut ConnectorIds::default(), 1).unwrap();
    run_with(&rules, "edge1.contoso.example", is_granted)
}

#[test]
fn nothing_is_accepted_that_is_not_granted() {
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
            "Nobody"
        ]
    );
    for trial in &trials {
        if let Some(tried) = trial.faults().next() {
            panic!("{}: {}\n{:#?}", trial.connector.name, tried.probe.name, tried.dialogue);
        }
    }
}

/// The session was really asked: everybody gets what is granted.
#[test]
fn what_is_granted_is_accepted() {
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
        ("Nobody", "a foreign sender", false),
    ] {
        assert_eq!(accepted(name, probe), expected, "{name}: {probe}");
    }
}

/// With rules by which nobody may do anything, whatever is accepted is a fault.
#[test]
fn a_server_that_relays_is_found_out() {
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
    assert_eq!(faults("Nobody"), [""; 0]);
}
