//! `relay selftest`: would this configuration relay for a client without a relay right?
//!
//! The classic open-relay tests run against every connector, through the session that serves real
//! clients, without a socket. The expected result is computed here from the connector's permissions
//! alone, so that an error anywhere between the wire and the decision shows as a difference. Only
//! clients that do not authenticate are tested, because the rights of a user require the user's
//! password.

mod player;
mod probes;

#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use player::ProbeDialogue;
use probes::{Names, probes};
use relay_connector::range::Family;
use relay_connector::{Binding, Connection, Connector, Permission, PermissionSet};
use relay_policy::{AcceptedDomainType, Peer, Rules};

pub use probes::{Asks, Probe};

/// The results of one connector on one of its bindings.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The connector.
    pub connector: Arc<Connector>,
    /// The binding.
    pub binding: Binding,
    /// The client address.
    pub remote: IpAddr,
    /// The results of the probes.
    pub results: Vec<ProbeResult>,
}

/// The result of one probe.
#[derive(Clone, Debug)]
pub struct ProbeResult {
    /// The probe.
    pub probe: Probe,
    /// Was the tested sender or recipient accepted?
    pub accepted: bool,
    /// Do the connector's permissions allow it?
    pub granted: bool,
    /// The dialogue, for the search for the cause.
    pub dialogue: Vec<String>,
}

impl Trial {
    /// The accepted probes without a grant.
    pub fn faults(&self) -> impl Iterator<Item = &ProbeResult> {
        self.results.iter().filter(|tried| tried.accepted && !tried.granted)
    }

    /// The number of accepted probes.
    pub fn accepted(&self) -> usize {
        self.results.iter().filter(|tried| tried.accepted).count()
    }
}

/// Runs every probe against every connector that can be reached.
pub fn run(rules: &Arc<Rules>, hostname: &str) -> Vec<Trial> {
    run_with(rules, hostname, is_granted)
}

fn run_with(
    rules: &Arc<Rules>,
    hostname: &str,
    is_granted: fn(PermissionSet, Asks) -> bool,
) -> Vec<Trial> {
    let own = rules.accepted_domains.example_domain(AcceptedDomainType::Authoritative);
    let accepted = own.clone().or_else(|| rules.accepted_domains.an_example_of_any_type());
    let mut trials = Vec::new();
    for (binding, remote, id) in rules.table.first_addresses() {
        let Some(connector) = rules.connector(id).filter(|connector| !connector.refuse) else {
            continue;
        };
        let peer = Peer::new(Arc::clone(connector));
        let permissions = peer.permissions;
        let local = local_address(binding);
        let names = Names { hostname, local, own: own.as_deref(), accepted: accepted.as_deref() };
        let connection = Connection::accepted(
            SocketAddr::new(local, binding.address().port()),
            SocketAddr::new(remote, 0),
        );
        let results = probes(&names).into_iter().map(|probe| {
            let ProbeDialogue { accepted, dialogue } =
                player::play(rules, &peer, connection, &probe);
            ProbeResult { granted: is_granted(permissions, probe.asks), probe, accepted, dialogue }
        });
        let results = results.collect();
        trials.push(Trial { connector: Arc::clone(connector), binding, remote, results });
    }
    trials
}

/// Uses only the permission that the documentation names for each right.
fn is_granted(permissions: PermissionSet, asks: Asks) -> bool {
    let submit = permissions.contains(Permission::Submit);
    submit
        && match asks {
            Asks::ToRelay => permissions.contains(Permission::AcceptAnyRecipient),
            Asks::ToSpeakForUs => permissions.contains(Permission::AcceptAuthoritativeDomainSender),
            Asks::ToSpeakForOthers => permissions.contains(Permission::AcceptAnySender),
        }
}

/// The local address of a client's connection; an example address for a wildcard binding.
fn local_address(binding: Binding) -> IpAddr {
    match (binding.is_wildcard(), binding.family()) {
        (false, _) => binding.address().ip(),
        (true, Family::Ipv4) => Ipv4Addr::new(192, 0, 2, 25).into(),
        (true, Family::Ipv6) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x25).into(),
    }
}
