//! `relay selftest`: would this configuration relay for somebody to whom it grants no relaying?
//!
//! The classic open-relay set is played against every connector, through the session that serves
//! real clients, without a socket. What a connector may relay is read here from its permissions
//! alone, so that a mistake anywhere between the wire and the decision shows as a difference. Only
//! peers that do not authenticate are played: what a user may do needs the user's password first.

mod player;
mod probes;

#[cfg(test)]
mod tests;

use relay_connector::Connection;
use std::net::SocketAddr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use player::ProbeDialogue;
use probes::{Names, probes};
use relay_connector::range::Family;
use relay_connector::{Binding, Connector, Permission, PermissionSet};
use relay_policy::{AcceptedDomainType, Peer, Rules};

pub use probes::{Asks, Probe};

/// What was tried with one connector on one of its bindings.
#[derive(Clone, Debug)]
pub struct Trial {
    /// Who was asked.
    pub connector: Arc<Connector>,
    /// Where.
    pub binding: Binding,
    /// As whom.
    pub remote: IpAddr,
    /// What came of each probe.
    pub results: Vec<ProbeResult>,
}

/// What came of one probe.
#[derive(Clone, Debug)]
pub struct ProbeResult {
    /// What was tried.
    pub probe: Probe,
    /// Was the sender or the recipient that it is about accepted?
    pub accepted: bool,
    /// May the peer do that, by the connector's permissions?
    pub granted: bool,
    /// The dialogue, for whoever has to look into it.
    pub dialogue: Vec<String>,
}

impl Trial {
    /// What was accepted though nothing grants it.
    pub fn faults(&self) -> impl Iterator<Item = &ProbeResult> {
        self.results.iter().filter(|tried| tried.accepted && !tried.granted)
    }

    /// How many probes were accepted.
    pub fn accepted(&self) -> usize {
        self.results.iter().filter(|tried| tried.accepted).count()
    }
}

/// Plays every probe against every connector that anybody can reach.
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

/// Nothing but the permission that each right has in the documentation.
fn is_granted(permissions: PermissionSet, asks: Asks) -> bool {
    let submit = permissions.contains(Permission::Submit);
    submit
        && match asks {
            Asks::ToRelay => permissions.contains(Permission::AcceptAnyRecipient),
            Asks::ToSpeakForUs => permissions.contains(Permission::AcceptAuthoritativeDomainSender),
            Asks::ToSpeakForOthers => permissions.contains(Permission::AcceptAnySender),
        }
}

/// The address that a client of this binding has connected to; an example's where it listens on all.
fn local_address(binding: Binding) -> IpAddr {
    match (binding.is_wildcard(), binding.family()) {
        (false, _) => binding.address().ip(),
        (true, Family::Ipv4) => Ipv4Addr::new(192, 0, 2, 25).into(),
        (true, Family::Ipv6) => Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x25).into(),
    }
}
