//! How many of the free connections may one source have, and how many a network?
//!
//! Two limits apply to a source. The fixed limit decides while a connector has many free
//! connections: with 5,000 connections and none open, 2 percent are 100, but the fixed limit is 20.
//! The percentage is of the free connections, so it falls as the connector fills: below 20 from
//! 4,000 connections on. A source without a connection is never refused because of its share.
//!
//! One customer of a provider has many /64s, so larger networks have a share of the free
//! connections too. If a range lies within such a network, the administrator wrote it for those
//! hosts: the network's share would protect no other client and does not apply. The last
//! connections of a connector are reserved for sources without a connection.

use crate::limits::{NETWORK_SHARES_IPV4, NETWORK_SHARES_IPV6, RESERVED_CONNECTION_PERCENTAGE};
use relay_common::address::Address;
use relay_connector::{Limits, Range};

/// A network by its leading bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Network {
    address: Address,
    bits: u32,
}

/// The connections of a source: a percentage of the free connections, and at least one.
pub(super) fn share(percentage: u32, left: u32) -> u32 {
    let share = u64::from(left) * u64::from(percentage) / 100;
    u32::try_from(share).unwrap_or(u32::MAX).max(1)
}

/// The connections that are reserved for sources without a connection.
pub(super) fn reserve(most: u32) -> u32 {
    u32::try_from(u64::from(most) * u64::from(RESERVED_CONNECTION_PERCENTAGE) / 100).unwrap_or(most)
}

/// The networks of this address that have a share, with the percentage.
fn shares(address: Address) -> &'static [(u32, u32)] {
    if address.is_ipv4() { NETWORK_SHARES_IPV4 } else { NETWORK_SHARES_IPV6 }
}

/// The connections of a network: a percentage of the free connections, and at least as many as one
/// source in it may have.
pub(super) fn network_share(percentage: u32, left: u32, limits: &Limits) -> u32 {
    share(percentage, left).max(limits.max_inbound_connection_per_source.unwrap_or(0))
}

/// The shares that apply to a client in this range. A range within a network is for its hosts, so
/// the share of the network does not apply. If a source has no limit, a network has none.
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
    // Larger networks come later; a network that contains one of them contains the earlier ones
    // too.
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

    /// All units for which a connection from this address counts.
    pub(super) fn all(address: Address) -> impl Iterator<Item = Self> {
        let wider = shares(address).iter().map(move |&(bits, _)| Self::new(address, bits));
        std::iter::once(Self::source(address)).chain(wider)
    }
}
