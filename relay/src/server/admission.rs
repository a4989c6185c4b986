//! How many connections a connector has, in all, from each source and from each network.
//!
//! A source is what the guard's budgets count as one: an IPv4 address, or the /64 of an IPv6
//! address, since one host has all of it.
//!
//! Two limits hold for a source. The fixed one decides while a connector is far from full: of 5,000
//! connections with none open, 2 percent are 100 and the fixed limit is 20. The percentage is of
//! those that are left, so it falls as the connector fills, below 20 from 4,000 on, and the nearer
//! the end the less one source may take. Who has no connection is never refused for its share.
//!
//! One customer of a provider has many /64s, so wider networks have a share of what is left too. A
//! range that lies within such a network was written for its hosts: there the network's share
//! protects no other client, and does not hold. The last connections of a connector are kept for
//! sources that have none.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relay_common::address::Address;
use relay_connector::{ConnectorId, Limits, Range};
use relay_mail::reply;
use relay_policy::{Because, Decision, Rule};
use serde::{Deserialize, Serialize};

use crate::limits::{NETWORK_SHARES_IPV4, NETWORK_SHARES_IPV6, RESERVED_CONNECTION_PERCENTAGE};

/// Counts the connections of every connector. Only connectors and sources that have one take
/// memory.
#[derive(Debug, Default)]
pub(super) struct Admission(Mutex<HashMap<ConnectorId, Occupancy>>);

#[derive(Debug, Default)]
struct Occupancy {
    connections: u32,
    /// Of sources and of the networks that they are in.
    networks: HashMap<Network, u32>,
}

/// A network by its leading bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Network {
    address: Address,
    bits: u32,
}

/// One connection that was admitted. Dropped, it makes room for another.
#[derive(Debug)]
pub(super) struct Place {
    admission: Arc<Admission>,
    connector: ConnectorId,
    source: Address,
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("max_inbound_connection is reached")]
    Connector,
    #[error("the /{0} that the client is in has its share of max_inbound_connection")]
    Network(u32),
    #[error("the rest of max_inbound_connection is kept for sources without a connection")]
    Reserved,
    #[error("max_inbound_connection_percentage_per_source is reached")]
    Share,
    #[error("max_inbound_connection_per_source is reached")]
    Source,
}

/// How far a limit is used up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUse {
    /// The Exchange parameter.
    pub limit: String,
    /// Its unit is the limit's own.
    pub used: u64,
    /// What it may come to.
    pub most: u64,
}

impl Refusal {
    pub(super) fn decision(self) -> Decision {
        let of_source = reply::TOO_MANY_CONNECTIONS_PER_SOURCE;
        let (reply, rule) = match self {
            Self::Connector => (reply::TOO_MANY_CONNECTIONS, Rule::MaxInboundConnection),
            Self::Network(_) | Self::Reserved | Self::Share => {
                (of_source, Rule::MaxInboundConnectionPercentagePerSource)
            }
            Self::Source => (of_source, Rule::MaxInboundConnectionPerSource),
        };
        Decision { reply, because: vec![Because { rule, found: self.to_string() }] }
    }
}

impl Admission {
    /// Counts one more connection, unless a limit is reached. `range` is the one of the connector that
    /// contains the client.
    pub(super) fn admit(
        self: &Arc<Self>,
        connector: ConnectorId,
        limits: &Limits,
        range: Option<&Range>,
        remote: IpAddr,
    ) -> Result<Place, Refusal> {
        let source = Address::from(remote);
        let mut connectors = self.lock();
        let occupancy = connectors.entry(connector).or_default();
        let of_source = occupancy.count(Network::source(source));
        if limits.max_inbound_connection_per_source.is_some_and(|most| of_source >= most) {
            return Err(Refusal::Source);
        }
        if let Some(most) = limits.max_inbound_connection {
            let left = most.saturating_sub(occupancy.connections);
            if left == 0 {
                return Err(Refusal::Connector);
            }
            let percentage = limits.max_inbound_connection_percentage_per_source;
            if of_source >= share(percentage, left) {
                return Err(Refusal::Share);
            }
            for &(bits, percentage) in shares_beyond(range, source, limits) {
                let most = network_share(percentage, left, limits);
                if occupancy.count(Network::new(source, bits)) >= most {
                    return Err(Refusal::Network(bits));
                }
            }
            if of_source > 0 && left <= reserve(most) {
                return Err(Refusal::Reserved);
            }
        }
        occupancy.connections += 1;
        for network in Network::all(source) {
            *occupancy.networks.entry(network).or_default() += 1;
        }
        Ok(Place { admission: Arc::clone(self), connector, source })
    }

    /// How far the limits are used up that another connection from `remote` would meet.
    pub(super) fn uses(
        &self,
        connector: ConnectorId,
        limits: &Limits,
        range: Option<&Range>,
        remote: IpAddr,
    ) -> Vec<LimitUse> {
        let connectors = self.lock();
        let occupancy = connectors.get(&connector);
        let source = Address::from(remote);
        let connections = occupancy.map_or(0, |occupancy| occupancy.connections);
        let count = |network| occupancy.map_or(0, |occupancy| occupancy.count(network));
        let of_source = count(Network::source(source));
        let left = limits.max_inbound_connection.map(|most| most.saturating_sub(connections));
        let share_of = |percentage| left.map(|left| share(percentage, left));
        let percentage = limits.max_inbound_connection_percentage_per_source;
        let named = |limit: &str, used, most| (limit.to_owned(), used, most);
        let own = [
            named("max_inbound_connection", connections, limits.max_inbound_connection),
            named(
                "max_inbound_connection_per_source",
                of_source,
                limits.max_inbound_connection_per_source,
            ),
            named("max_inbound_connection_percentage_per_source", of_source, share_of(percentage)),
        ];
        let networks = shares_beyond(range, source, limits).iter().map(|&(bits, percentage)| {
            let used = count(Network::new(source, bits));
            let limit = format!("max_inbound_connection, the share of a /{bits}");
            (limit, used, left.map(|left| network_share(percentage, left, limits)))
        });
        own.into_iter()
            .chain(networks)
            // What is unlimited cannot be used up.
            .filter_map(|(limit, used, most)| {
                Some(LimitUse { limit, used: used.into(), most: most?.into() })
            })
            .collect()
    }

    /// The connections of all connectors.
    pub(super) fn connections(&self) -> u64 {
        self.lock().values().map(|occupancy| u64::from(occupancy.connections)).sum()
    }

    /// Numbers are right after every statement, so that a panic elsewhere leaves no harm.
    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectorId, Occupancy>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many connections a source may have: so many percent of those that are left, and always one.
fn share(percentage: u32, left: u32) -> u32 {
    let share = u64::from(left) * u64::from(percentage) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

/// How many connections are kept for sources without one.
fn reserve(most: u32) -> u32 {
    u32::try_from(u64::from(most) * u64::from(RESERVED_CONNECTION_PERCENTAGE) / 100).unwrap_or(most)
}

/// The networks of this address that have a share, and how many percent it is of what is left.
fn shares(address: Address) -> &'static [(u32, u32)] {
    if address.is_ipv4() { NETWORK_SHARES_IPV4 } else { NETWORK_SHARES_IPV6 }
}

/// How many connections a network may have: so many percent of those that are left, and always as
/// many as one source in it.
fn network_share(percentage: u32, left: u32, limits: &Limits) -> u32 {
    share(percentage, left).max(limits.max_inbound_connection_per_source.unwrap_or(0))
}

/// Those among them that hold for a client in this range: a range within a network is for its hosts.
/// Where a source may have everything, so may a network.
fn shares_beyond(
    range: Option<&Range>,
    address: Address,
    limits: &Limits,
) -> &'static [(u32, u32)] {
    if limits.max_inbound_connection_percentage_per_source >= 100 {
        return &[];
    }
    let all = shares(address);
    let Some(range) = range else { return all };
    let is_within = |&(bits, _): &(u32, u32)| {
        let [low, high] = [range.low(), range.high()]
            .map(|number| Address { octets: number.to_be_bytes() }.network(bits));
        low == high
    };
    // Wider networks come later, and what is within one of them is within those after it.
    let wider = all.iter().take_while(|share| !is_within(share)).count();
    &all[..wider]
}

impl Network {
    fn new(address: Address, bits: u32) -> Self {
        Self { address: address.network(bits), bits }
    }

    fn source(address: Address) -> Self {
        Self::new(address, if address.is_ipv4() { 32 } else { 64 })
    }

    /// What a connection from this address is counted for.
    fn all(address: Address) -> impl Iterator<Item = Self> {
        let wider = shares(address).iter().map(move |&(bits, _)| Self::new(address, bits));
        std::iter::once(Self::source(address)).chain(wider)
    }
}

impl Occupancy {
    fn count(&self, network: Network) -> u32 {
        self.networks.get(&network).copied().unwrap_or(0)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut connectors = self.admission.lock();
        let Entry::Occupied(mut connector) = connectors.entry(self.connector) else { return };
        let occupancy = connector.get_mut();
        occupancy.connections = occupancy.connections.saturating_sub(1);
        for network in Network::all(self.source) {
            if let Entry::Occupied(mut count) = occupancy.networks.entry(network) {
                *count.get_mut() = count.get().saturating_sub(1);
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        if occupancy.connections == 0 {
            connector.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_source_is_its_64() {
        let admission = Arc::new(Admission::default());
        let limits = Limits { max_inbound_connection_per_source: Some(1), ..Limits::default() };
        let admit = |remote: &str| {
            admission.admit(ConnectorId(1), &limits, None, remote.parse::<IpAddr>().unwrap())
        };
        let _held = admit("2001:db8:0:7::1").unwrap();
        assert_eq!(admit("2001:db8:0:7:ffff::2").unwrap_err(), Refusal::Source);
        let _other = admit("2001:db8:0:8::1").unwrap();
        // IPv4 addresses share the first 64 bits of their IPv6 form and are each their own source.
        let _first = admit("192.0.2.1").unwrap();
        let _second = admit("192.0.2.2").unwrap();
        assert_eq!(admit("::ffff:192.0.2.1").unwrap_err(), Refusal::Source);
    }

    #[test]
    fn a_place_is_taken_and_given_back() {
        let admission = Arc::new(Admission::default());
        let limits = Limits {
            max_inbound_connection: Some(3),
            max_inbound_connection_per_source: Some(2),
            max_inbound_connection_percentage_per_source: 100,
            ..Limits::default()
        };
        let admit = |id, last: u8| {
            admission.admit(ConnectorId(id), &limits, None, IpAddr::from([192, 0, 2, last]))
        };
        let first = admit(1, 1).unwrap();
        let second = admit(1, 1).unwrap();
        assert_eq!(admit(1, 1).unwrap_err(), Refusal::Source);
        let third = admit(1, 2).unwrap();
        assert_eq!(admit(1, 3).unwrap_err(), Refusal::Connector);
        let other = admit(2, 1).unwrap();
        drop(second);
        let again = admit(1, 3).unwrap();
        drop((first, third, other, again));
        assert!(admission.lock().is_empty(), "what is gone takes no memory");
    }

    /// Fills a connector from as many sources as it takes, each as far as it may.
    fn fill(limits: &Limits, sources: u32) -> Vec<u32> {
        let admission = Arc::new(Admission::default());
        let mut held = Vec::new();
        let counts = (0..sources).map(|source| {
            let remote = IpAddr::from((source << 8).to_be_bytes());
            let before = held.len();
            while held.len() < 100_000
                && let Ok(place) = admission.admit(ConnectorId(1), limits, None, remote)
            {
                held.push(place);
            }
            u32::try_from(held.len() - before).unwrap()
        });
        counts.collect()
    }

    #[test]
    fn the_share_of_a_source_falls_as_the_connector_fills() {
        let counts = fill(&Limits::default(), 300);
        // 200 sources take the 20 of the fixed limit each, which are the first 4,000.
        assert!(counts[..199].iter().all(|&count| count == 20), "{counts:?}");
        assert!(counts[201] < 20 && counts.is_sorted_by(|a, b| a >= b), "{counts:?}");
        assert!(counts.iter().sum::<u32>() < 5_000 && counts[299] > 0, "{counts:?}");

        let limits = Limits { max_inbound_connection: Some(10), ..Limits::default() };
        assert_eq!(fill(&limits, 11), [[1; 10].as_slice(), &[0]].concat());
        let whole = Limits { max_inbound_connection_percentage_per_source: 100, ..limits };
        // Of 10 that are left after 0, of 9 after 1, and so on: half of them to the first.
        assert_eq!(fill(&whole, 3), [5, 3, 1]);
    }

    /// How many connections each of these ranges gets of one connector, each client as many as it
    /// may, at most so many clients.
    fn fill_from(
        admission: &Arc<Admission>,
        range: Option<&str>,
        clients: impl Iterator<Item = String>,
    ) -> Vec<Place> {
        let range = range.map(|range| range.parse::<Range>().unwrap());
        let mut held = Vec::new();
        for client in clients {
            let remote: IpAddr = client.parse().unwrap();
            let limits = Limits::default();
            while let Ok(place) = admission.admit(ConnectorId(1), &limits, range.as_ref(), remote) {
                held.push(place);
            }
        }
        held
    }

    #[test]
    fn many_networks_of_one_customer_share_and_leave_room_for_others() {
        let sites = || (0..428).map(|site| format!("2001:db8:1:{site:x}::1"));
        let admission = Arc::new(Admission::default());
        let taken = fill_from(&admission, None, sites());
        // Ten percent of what is left: n is at most (5000 - n) / 10.
        assert_eq!(taken.len(), 454);
        let halves =
            fill_from(&admission, None, (0..256).map(|it| format!("2001:db8:2:{it:x}::1")));
        assert!((200..300).contains(&halves.len()), "a /56 has five percent: {}", halves.len());
        // A provider's customers together have no more than half.
        let provider =
            fill_from(&admission, None, (3..5000).map(|it| format!("2001:db8:{it:x}::1")));
        let all = taken.len() + halves.len() + provider.len();
        assert!((1600..1700).contains(&all), "{all}");
        let rented = fill_from(&admission, None, (0..256).map(|it| format!("192.0.2.{it}")));
        assert!((600..700).contains(&rented.len()), "a quarter of what is left: {}", rented.len());
        let limits = Limits::default();
        for remote in ["198.51.100.1", "2a00::1"] {
            let remote = remote.parse().unwrap();
            assert!(admission.admit(ConnectorId(1), &limits, None, remote).is_ok(), "{remote}");
        }
        drop((taken, halves, provider, rented));
        assert!(admission.lock().is_empty(), "what is gone takes no memory");
    }

    #[test]
    fn the_last_connections_are_for_sources_that_have_none() {
        let admission = Arc::new(Admission::default());
        let limits = Limits {
            max_inbound_connection: Some(100),
            max_inbound_connection_per_source: None,
            max_inbound_connection_percentage_per_source: 100,
            ..Limits::default()
        };
        let admit = |third: u8| {
            admission.admit(ConnectorId(1), &limits, None, IpAddr::from([10, 0, third, 1]))
        };
        let mut held = Vec::new();
        for source in 0..90 {
            held.push(admit(source).unwrap());
        }
        assert_eq!(admit(0).unwrap_err(), Refusal::Reserved);
        for source in 90..100 {
            held.push(admit(source).unwrap());
        }
        assert_eq!(admit(100).unwrap_err(), Refusal::Connector);
    }

    #[test]
    fn a_network_that_a_range_was_written_for_may_have_all_of_it() {
        let clients = || (0..250).map(|host| format!("10.38.97.{host}"));
        let of = |range| fill_from(&Arc::new(Admission::default()), Some(range), clients()).len();
        assert!(of("10.38.97.0/24") > 4_000);
        assert!(of("10.38.97.0-10.38.97.255") > 4_000);
        // Others are in it too.
        assert_eq!(of("10.38.0.0/16"), 1_000);
        assert_eq!(of("0.0.0.0-255.255.255.255"), 1_000);
        let sites = || (0..255).map(|site| format!("fd38:0:0:{site:x}::1"));
        let of = |range| fill_from(&Arc::new(Admission::default()), Some(range), sites()).len();
        assert!(of("fd38::/56") > 4_000);
        assert_eq!(of("fd38::/48"), 238, "its /56 has five percent");
        assert_eq!(of("::/0"), 238);
    }

    #[test]
    fn unlimited_is_without_limit() {
        let limits = Limits {
            max_inbound_connection: None,
            max_inbound_connection_per_source: None,
            max_inbound_connection_percentage_per_source: 1,
            ..Limits::default()
        };
        assert_eq!(fill(&limits, 1), [100_000]);
    }
}
