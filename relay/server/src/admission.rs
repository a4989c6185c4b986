//! Limits of connections: of a connector, of each source and of each network.
//!
//! A source is one unit of the guard's budgets: an IPv4 address, or the /64 of an IPv6 address,
//! because one host has the whole /64.
//!
//! [`shares`]: how many of the free connections a source and a network may have.

mod shares;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use crate::Shared;
use crate::admission::shares::Network;
use crate::admission::shares::network_share;
use crate::admission::shares::reserve;
use crate::admission::shares::share;
use crate::admission::shares::shares_beyond;
use parking_lot::Mutex;
use relay_common::address::Address;
use relay_connector::{ClientAddress, Connection, ConnectorId, Limits, Range};
use relay_kernel::classifier::{Classification, ConnectorChoice};
use relay_mail::reply;
use relay_policy::{Decision, Rule};
use serde::{Deserialize, Serialize};

/// Counts the connections of every connector. Only connectors and sources with connections need
/// memory.
#[derive(Debug, Default)]
pub(super) struct Admission(Mutex<HashMap<ConnectorId, Occupancy>>);

#[derive(Debug, Default)]
struct Occupancy {
    connections: u32,
    /// By source, and by network of the source.
    networks: HashMap<Network, u32>,
}

/// An admitted connection. When it is dropped, its slot is free again.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    admission: Arc<Admission>,
    connector: ConnectorId,
    source: Address,
}

/// Why a connection is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AdmissionRefusal {
    #[error("max_inbound_connection is reached")]
    Connector,
    #[error("the client's /{0} has used up its share of max_inbound_connection")]
    Network(u32),
    #[error("the rest of max_inbound_connection is reserved for sources without a connection")]
    Reserved,
    #[error("max_inbound_connection_percentage_per_source is reached")]
    Share,
    #[error("max_inbound_connection_per_source is reached")]
    Source,
}

/// The use of a limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitUse {
    /// The Exchange parameter.
    pub limit: String,
    /// The current value, in the unit of the limit.
    pub used: u64,
    /// The limit.
    pub most: u64,
}

impl Shared {
    /// A permit for one more connection of this client, or the refusal: back pressure, or a limit of
    /// the connector.
    pub(super) fn admit(
        &self,
        chosen: &ConnectorChoice,
        client: ClientAddress,
    ) -> Result<ConnectionPermit, Decision> {
        let pressure = self.back_pressure.pressure();
        if let Some(refusal) = relay_policy::connect_under_pressure(pressure) {
            return Err(refusal);
        }
        let (limits, range) = (&chosen.connector.limits, chosen.range());
        let admitted = self.admission.admit(chosen.id, limits, range, client.ip());
        admitted.map_err(AdmissionRefusal::decision)
    }

    /// Records a connection that was refused before its session.
    pub(super) fn record_refused(
        &self,
        classification: &Classification,
        connection: &Connection,
        decision: &Decision,
    ) {
        self.refusals.record_connection(&self.tracker, classification, connection, decision);
    }
}

impl AdmissionRefusal {
    pub(super) fn decision(self) -> Decision {
        let of_source = reply::TOO_MANY_CONNECTIONS_PER_SOURCE;
        let (reply, rule) = match self {
            Self::Connector => (reply::TOO_MANY_CONNECTIONS, Rule::MaxInboundConnection),
            Self::Network(_) | Self::Reserved | Self::Share => {
                (of_source, Rule::MaxInboundConnectionPercentagePerSource)
            }
            Self::Source => (of_source, Rule::MaxInboundConnectionPerSource),
        };
        Decision::new(reply, rule, self.to_string())
    }
}

impl Admission {
    /// Counts one more connection, unless a limit is reached. `range` is the range of the connector
    /// that contains the client.
    pub(super) fn admit(
        self: &Arc<Self>,
        connector: ConnectorId,
        limits: &Limits,
        range: Option<&Range>,
        remote: IpAddr,
    ) -> Result<ConnectionPermit, AdmissionRefusal> {
        let source = Address::from(remote);
        let mut connectors = self.0.lock();
        let occupancy = connectors.entry(connector).or_default();
        let of_source = occupancy.count(Network::source(source));
        if limits.max_inbound_connection_per_source.is_some_and(|most| of_source >= most) {
            return Err(AdmissionRefusal::Source);
        }
        if let Some(most) = limits.max_inbound_connection {
            let left = most.saturating_sub(occupancy.connections);
            if left == 0 {
                return Err(AdmissionRefusal::Connector);
            }
            let percentage = limits.max_inbound_connection_percentage_per_source;
            if of_source >= share(percentage, left) {
                return Err(AdmissionRefusal::Share);
            }
            for &(bits, percentage) in shares_beyond(range, source, limits) {
                let most = network_share(percentage, left, limits);
                if occupancy.count(Network::new(source, bits)) >= most {
                    return Err(AdmissionRefusal::Network(bits));
                }
            }
            if of_source > 0 && left <= reserve(most) {
                return Err(AdmissionRefusal::Reserved);
            }
        }
        occupancy.connections += 1;
        for network in Network::all(source) {
            *occupancy.networks.entry(network).or_default() += 1;
        }
        Ok(ConnectionPermit { admission: Arc::clone(self), connector, source })
    }

    /// The use of the limits that apply to another connection from `remote`.
    pub(super) fn uses(
        &self,
        connector: ConnectorId,
        limits: &Limits,
        range: Option<&Range>,
        remote: IpAddr,
    ) -> Vec<LimitUse> {
        let connectors = self.0.lock();
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
            // A limit that is unlimited cannot be used up.
            .filter_map(|(limit, used, most)| {
                Some(LimitUse { limit, used: used.into(), most: most?.into() })
            })
            .collect()
    }

    /// The connections of all connectors.
    pub(super) fn connections(&self) -> u64 {
        self.0.lock().values().map(|occupancy| u64::from(occupancy.connections)).sum()
    }
}

impl Occupancy {
    fn count(&self, network: Network) -> u32 {
        self.networks.get(&network).copied().unwrap_or(0)
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut connectors = self.admission.0.lock();
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
