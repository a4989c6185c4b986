//! How many of the connections that are left may one source have, and how many a network?
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

use crate::limits::{NETWORK_SHARES_IPV4, NETWORK_SHARES_IPV6, RESERVED_CONNECTION_PERCENTAGE};
use relay_common::address::Address;
use relay_connector::{Limits, Range};

/// A network by its leading bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network {
    address: Address,
    bits: u32,
}

/// How many connections a source may have: so many percent of those that are left, and always one.
pub(super) fn share(percentage: u32, left: u32) -> u32 {
    let share = u64::from(left) * u64::from(percentage) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

/// How many connections are kept for sources without one.
pub(super) fn reserve(most: u32) -> u32 {
    u32::try_from(u64::from(most) * u64::from(RESERVED_CONNECTION_PERCENTAGE) / 100).unwrap_or(most)
}

/// The networks of this address that have a share, and how many percent it is of what is left.
fn shares(address: Address) -> &'static [(u32, u32)] {
    if address.is_ipv4() { NETWORK_SHARES_IPV4 } else { NETWORK_SHARES_IPV6 }
}

/// How many connections a network may have: so many percent of those that are left, and always as
/// many as one source in it.
pub(super) fn network_share(percentage: u32, left: u32, limits: &Limits) -> u32 {
    share(percentage, left).max(limits.max_inbound_connection_per_source.unwrap_or(0))
}

/// Those among them that hold for a client in this range: a range within a network is for its hosts.
/// Where a source may have everything, so may a network.
pub(super) fn shares_beyond(
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
    pub(super) fn new(address: Address, bits: u32) -> Self {
        Self { address: address.network(bits), bits }
    }

    pub(super) fn source(address: Address) -> Self {
        Self::new(address, if address.is_ipv4() { 32 } else { 64 })
    }

    /// What a connection from this address is counted for.
    pub(super) fn all(address: Address) -> impl Iterator<Item = Self> {
        let wider = shares(address).iter().map(move |&(bits, _)| Self::new(address, bits));
        std::iter::once(Self::source(address)).chain(wider)
    }
}
