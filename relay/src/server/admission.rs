//! How many connections a connector has, in all and from each source.
//!
//! A source is what the guard's budgets count as one: an IPv4 address, or the /64 of an IPv6
//! address, since one host has all of it.
//!
//! Two limits hold for a source. The fixed one decides while a connector is far from full: of 5,000
//! connections with none open, 2 percent are 100 and the fixed limit is 20. The percentage is of
//! those that are left, so it falls as the connector fills, below 20 from 4,000 on, and the nearer
//! the end the less one source may take. Who has no connection is never refused for its share.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use relay_common::address::Address;
use serde::{Deserialize, Serialize};

use crate::connector::{ConnectorId, Limits};
use crate::smtp::reply::{self, Reply};

/// Counts the connections of every connector. Only connectors and sources that have one take
/// memory.
#[derive(Debug, Default)]
pub(super) struct Admission(Mutex<HashMap<ConnectorId, Occupancy>>);

#[derive(Debug, Default)]
struct Occupancy {
    connections: u32,
    sources: HashMap<Address, u32>,
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
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::Connector => reply::TOO_MANY_CONNECTIONS,
            Self::Share | Self::Source => reply::TOO_MANY_CONNECTIONS_PER_SOURCE,
        }
    }
}

impl Admission {
    /// Counts one more connection, unless a limit is reached.
    pub(super) fn admit(
        self: &Arc<Self>,
        connector: ConnectorId,
        limits: &Limits,
        remote: IpAddr,
    ) -> Result<Place, Refusal> {
        let source = Address::from(remote).source();
        let mut connectors = self.lock();
        let occupancy = connectors.entry(connector).or_default();
        let of_source = occupancy.sources.get(&source).copied().unwrap_or(0);
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
        }
        occupancy.connections += 1;
        occupancy.sources.insert(source, of_source + 1);
        Ok(Place { admission: Arc::clone(self), connector, source })
    }

    /// How far the limits are used up that another connection from `remote` would meet.
    pub(super) fn uses(
        &self,
        connector: ConnectorId,
        limits: &Limits,
        remote: IpAddr,
    ) -> Vec<LimitUse> {
        let connectors = self.lock();
        let occupancy = connectors.get(&connector);
        let source = Address::from(remote).source();
        let connections = occupancy.map_or(0, |occupancy| occupancy.connections);
        let of_source =
            occupancy.and_then(|occupancy| occupancy.sources.get(&source)).copied().unwrap_or(0);
        let left = limits.max_inbound_connection.map(|most| most.saturating_sub(connections));
        let percentage = limits.max_inbound_connection_percentage_per_source;
        [
            ("max_inbound_connection", connections, limits.max_inbound_connection),
            (
                "max_inbound_connection_per_source",
                of_source,
                limits.max_inbound_connection_per_source,
            ),
            (
                "max_inbound_connection_percentage_per_source",
                of_source,
                left.map(|left| share(percentage, left)),
            ),
        ]
        .into_iter()
        // What is unlimited cannot be used up.
        .filter_map(|(limit, used, most)| {
            Some(LimitUse { limit: limit.to_owned(), used: used.into(), most: most?.into() })
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

impl Drop for Place {
    fn drop(&mut self) {
        let mut connectors = self.admission.lock();
        let Entry::Occupied(mut connector) = connectors.entry(self.connector) else { return };
        let occupancy = connector.get_mut();
        occupancy.connections = occupancy.connections.saturating_sub(1);
        if let Entry::Occupied(mut source) = occupancy.sources.entry(self.source) {
            *source.get_mut() = source.get().saturating_sub(1);
            if *source.get() == 0 {
                source.remove();
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
            admission.admit(ConnectorId(1), &limits, remote.parse::<IpAddr>().unwrap())
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
            admission.admit(ConnectorId(id), &limits, IpAddr::from([192, 0, 2, last]))
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
            let remote = IpAddr::from(source.to_be_bytes());
            let before = held.len();
            while held.len() < 100_000
                && let Ok(place) = admission.admit(ConnectorId(1), limits, remote)
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
