//! Which range wins, for every address of a space of 256: the daemon's table, and the longest
//! prefix among the kernel's blocks, compared with a search of every range.
//!
//! The first octet of an input selects the family. Each further three are a range: its connector
//! and form, its first and its last address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::OnceLock;

use relay_config::Config;
use relay_connector::range::number_of;
use relay_connector::{Clients, Connector, ConnectorId, Range, RangeId, Table, TableMatch};

const CONNECTORS: usize = 3;
/// A larger number would only make an input slow.
const RANGES: usize = 64;

/// See the module.
pub fn check(input: &[u8]) {
    let Some((&family, ranges)) = input.split_first() else { return };
    let family = Family { ipv6: family & 1 != 0 };
    let mut connectors = family.connectors();
    let mut placed: Vec<Placed> = Vec::new();
    for range in ranges.as_chunks().0.iter().take(RANGES) {
        placed.push(family.placed(*range, &mut connectors));
    }
    let is_sound = placed
        .iter()
        .enumerate()
        .all(|(at, (range, _))| placed[..at].iter().all(|(other, _)| fits(*range, *other)));
    match Table::compile(&connectors, Clients::OfTheBindingsFamily) {
        Err(conflicts) => assert!(!is_sound && !conflicts.is_empty(), "{conflicts:?}"),
        Ok(table) => {
            assert!(is_sound);
            every_address_agrees(&table, &family, &placed);
        }
    }
}

/// First and last address; connector and range.
type Placed = ((u8, u8), (ConnectorId, RangeId));

fn every_address_agrees(table: &Table, family: &Family, placed: &[Placed]) {
    for number in 0..=255 {
        let remote = family.address(number);
        let smallest = placed
            .iter()
            .filter(|((low, high), _)| (*low..=*high).contains(&number))
            .min_by_key(|((low, high), _)| high - low)
            .map(|&(_, owner)| owner);
        let daemon = match table.classify(family.binding(), remote.into()) {
            TableMatch::Connector { connector, range } => Some((connector, range)),
            TableMatch::NoBinding | TableMatch::NoConnector => None,
        };
        assert_eq!(daemon, smallest, "{remote}");
        assert_eq!(longest_prefix(table, remote), smallest, "{remote}");
    }
}

fn longest_prefix(table: &Table, remote: IpAddr) -> Option<(ConnectorId, RangeId)> {
    let address = number_of(remote);
    let contains = |bits: u8, first: u128| {
        let host = u128::MAX.checked_shr(bits.into()).unwrap_or(0);
        first | host == address | host
    };
    table
        .blocks()
        .filter(|(_, block, ..)| contains(block.bits, block.address.to_bits()))
        .max_by_key(|(_, block, ..)| block.bits)
        .map(|(.., connector, range)| (connector, range))
}

/// Disjoint, or one strictly inside the other.
fn fits(one: (u8, u8), other: (u8, u8)) -> bool {
    let inside = |inner: (u8, u8), outer: (u8, u8)| outer.0 <= inner.0 && inner.1 <= outer.1;
    let apart = one.1 < other.0 || other.1 < one.0;
    apart || (inside(one, other) != inside(other, one))
}

/// The position of the 256 addresses.
struct Family {
    ipv6: bool,
}

impl Family {
    fn address(&self, number: u8) -> IpAddr {
        match self.ipv6 {
            // The end of the address space, where an addition could overflow.
            true => Ipv6Addr::from_bits(u128::MAX - 255 + u128::from(number)).into(),
            false => Ipv4Addr::new(255, 255, 255, number).into(),
        }
    }

    fn binding(&self) -> SocketAddr {
        let any = if self.ipv6 {
            IpAddr::from(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::from(Ipv4Addr::UNSPECIFIED)
        };
        SocketAddr::new(any, 25)
    }

    fn connectors(&self) -> Vec<Connector> {
        // Read once: the parser has its own target.
        static READ: [OnceLock<Vec<Connector>>; 2] = [const { OnceLock::new() }; 2];
        READ[usize::from(self.ipv6)].get_or_init(|| self.read_connectors()).clone()
    }

    fn read_connectors(&self) -> Vec<Connector> {
        let binding = self.binding();
        let mut text =
            "hostname = \"relay.example\"\ndelivery.smart_host = \"a.example:25\"\n".to_owned();
        // A range outside the 256 addresses, since a connector needs at least one.
        for number in 0..CONNECTORS {
            text.push_str(&format!(
                "[[connector]]\nname = \"{number}\"\nbindings = [\"{binding}\"]\n\
                 remote_ip_ranges = [\"192.0.2.{number}\", \"2001:db8::{number}\"]\n\
                 permission_groups = [\"AnonymousUsers\"]\n",
            ));
        }
        match Config::parse(&text, "relay.toml") {
            Ok(config) => config.connectors().to_vec(),
            Err(refusals) => panic!("{refusals}"),
        }
    }

    /// Adds the range to its connector; returns the range and connector ids.
    fn placed(&self, range: [u8; 3], connectors: &mut [Connector]) -> Placed {
        let [kind, one, other] = range;
        let owner = usize::from(kind) % CONNECTORS;
        let bits = if self.ipv6 { 128 } else { 32 };
        let (low, high, text) = if kind & 0x80 == 0 {
            let (low, high) = (one.min(other), one.max(other));
            (low, high, format!("{}-{}", self.address(low), self.address(high)))
        } else {
            let host_bits = other % 9;
            let host = u8::MAX.checked_shr(u32::from(8 - host_bits)).unwrap_or(0);
            let low = one & !host;
            (low, low | host, format!("{}/{}", self.address(low), bits - host_bits))
        };
        let Ok(range) = text.parse::<Range>() else { panic!("{text} is a range") };
        assert_eq!(range.text(), text);
        let ranges = &mut connectors[owner].remote_ip_ranges;
        ranges.push(range);
        ((low, high), (ConnectorId(owner as u32 + 1), RangeId(ranges.len() as u32 - 1)))
    }
}
