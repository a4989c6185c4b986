//! How many connections a connector has, in all and from each source.
//!
//! A source is what the guard's budgets count as one: an IPv4 address, or the /64 of an IPv6
//! address, since one host has all of it.

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
            Self::Source => reply::TOO_MANY_CONNECTIONS_PER_SOURCE,
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
        if of_source >= limits.max_inbound_connection_per_source {
            return Err(Refusal::Source);
        }
        if occupancy.connections >= limits.max_inbound_connection {
            return Err(Refusal::Connector);
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
        let of_source = occupancy
            .and_then(|occupancy| occupancy.sources.get(&Address::from(remote).source()))
            .copied();
        let entry = |limit: &str, used: u32, most: u32| LimitUse {
            limit: limit.to_owned(),
            used: used.into(),
            most: most.into(),
        };
        vec![
            entry(
                "max_inbound_connection",
                occupancy.map_or(0, |occupancy| occupancy.connections),
                limits.max_inbound_connection,
            ),
            entry(
                "max_inbound_connection_per_source",
                of_source.unwrap_or(0),
                limits.max_inbound_connection_per_source,
            ),
        ]
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
        let limits = Limits { max_inbound_connection_per_source: 1, ..Limits::default() };
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
            max_inbound_connection: 3,
            max_inbound_connection_per_source: 2,
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
        let again = admit(1, 1).unwrap();
        drop((first, third, other, again));
        assert!(admission.lock().is_empty(), "what is gone takes no memory");
    }
}
