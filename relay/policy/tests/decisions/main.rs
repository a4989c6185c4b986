//! Decisions by the whole table of principals, permissions and commands, and one by one.
//!
//! The tests compare replies, rules and numbers. The words of the reasons are in
//! tests/decisions.snap only.

#![expect(clippy::unwrap_used, reason = "a test that cannot build its question has failed")]

mod connections;
mod messages;
mod permissions;
mod recipients;
mod reload;
mod reports;
mod rights;
mod words;

use std::sync::Arc;

use relay_connector::Permission;
use relay_connector::PermissionSet;
use relay_connector::Principal;
use relay_connector::{ConnectorIds, PermissionGroup, TableMatch};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::reply::{self, Enhanced, Reply};

use relay_config::Config;
use relay_policy::limits::HEADER_FIELDS;
use relay_policy::*;

/// The article's three connectors, and one with the keys of a test.
fn rules(keys: &str) -> Arc<Rules> {
    let text = format!(
        r#"
hostname = "edge1.contoso.example"
delivery.smart_host = "127.0.0.1:2626"
accepted_domain = [
    {{ name = "contoso.example" }},
    {{ name = "mailboxes.example", recipient_lookup = "lmtp://127.0.0.1:24" }},
    {{ name = "*.partner.example", type = "InternalRelay" }},
    {{ name = "customer.example", type = "ExternalRelay" }},
]
[[connector]]
name = "Default Frontend"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]
[[connector]]
name = "SMTP Relay EXCH01"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.96.15"]
auth_mechanism = ["ExternalAuthoritative"]
permission_groups = ["ExchangeServers"]
[[connector]]
name = "Scanners"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.97.0/24"]
permission_groups = ["AnonymousUsers"]
grants = {{ anonymous = ["ms-Exch-SMTP-Accept-Any-Recipient"] }}
[[connector]]
name = "Other"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.0.0.1"]
{keys}
"#
    );
    let config = Config::parse(&text, "relay.toml").unwrap_or_else(|error| panic!("{error}"));
    config.rules(&mut ConnectorIds::default(), 1).unwrap()
}

fn peer(rules: &Rules, name: &str) -> Peer {
    let connector = rules.connectors().find(|(_, connector)| connector.name == name);
    Peer::new(Arc::clone(connector.unwrap().1))
}

/// RCPT where nothing has to be found out.
fn rcpt_now(rules: &Rules, peer: &Peer, recipient: &ForwardPath, so_far: usize) -> Decision {
    match rcpt(rules, peer, recipient, so_far, &Findings::default()) {
        DecisionOrInquiry::Decided(decision) => decision,
        DecisionOrInquiry::Needs(inquiry) => panic!("{inquiry:?}"),
    }
}

fn sender(text: &str) -> ReversePath {
    ReversePath::parse(text).unwrap()
}

fn recipient(text: &str) -> ForwardPath {
    ForwardPath::parse(text).unwrap()
}

/// The rule that decided.
fn rule(decision: &Decision) -> Rule {
    decision.because.last().unwrap().rule
}

/// The quantity and the limit in the last reason.
fn numbers(decision: &Decision) -> (Option<u64>, Option<u64>) {
    let found = &decision.because.last().unwrap().found;
    (found.measured(), found.limit())
}
