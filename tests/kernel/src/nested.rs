//! Random nested configurations, and the plain rule as the reference for every classifier.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fastrand::Rng;

/// A configuration and the data that the plain rule needs.
pub struct Nested {
    /// The connectors, as TOML.
    pub text: String,
    /// Names of the connectors, by number.
    pub names: Vec<String>,
    /// Local addresses to connect to: one for each binding, and some without a binding.
    pub locals: Vec<SocketAddr>,
    groups: Vec<Group>,
}

/// All of IPv4, all of IPv6.
const EVERYWHERE: [(&str, &str); 2] =
    [("0.0.0.0", "255.255.255.255"), ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")];

/// Connectors that share their bindings, and so one set of nested ranges for each family.
struct Group {
    bindings: Vec<SocketAddr>,
    ranges: Vec<Range>,
}

#[derive(Clone, Copy)]
struct Range {
    ipv4: bool,
    low: u128,
    high: u128,
    connector: usize,
    /// Its index in the connector's list.
    index: u32,
}

/// The result of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This connector's range.
    Connector {
        /// The connector's number.
        number: usize,
        /// The range's index in the connector's list.
        range: u32,
    },
    /// There is no binding.
    NoBinding,
    /// There is a binding, and no range contains the address.
    NoConnector,
}

impl Nested {
    /// A configuration with this number of connectors and about this number of ranges, anywhere, on
    /// bindings of every kind.
    pub fn random(rng: &mut Rng, connectors: usize, ranges: usize) -> Self {
        let bindings = [
            vec!["0.0.0.0:25", "[::]:25"],
            vec!["192.0.2.1:25", "[2001:db8::25]:25"],
            vec!["0.0.0.0:587", "192.0.2.1:2525", "[::]:2525"],
        ];
        Self::within(rng, &bindings, &EVERYWHERE, connectors, ranges)
    }

    /// The same on these groups of bindings, with the ranges inside these regions.
    pub fn within(
        rng: &mut Rng,
        bindings: &[Vec<&str>],
        regions: &[(&str, &str)],
        connectors: usize,
        ranges: usize,
    ) -> Self {
        let mut groups: Vec<Group> = bindings
            .iter()
            .map(|bindings| Group {
                bindings: bindings.iter().map(|text| text.parse().unwrap()).collect(),
                ranges: Vec::new(),
            })
            .collect();
        // Every group gets its share of connectors; a group without any has no binding.
        let group_of = |connector: usize| connector % bindings.len();
        let used = groups.len().min(connectors);
        groups.truncate(used);
        let mut lists = vec![Vec::new(); connectors];
        let share = ranges / used / regions.len();
        for (number, group) in groups.iter_mut().enumerate() {
            let members: Vec<usize> = (0..connectors).filter(|c| group_of(*c) == number).collect();
            for (low, high) in regions {
                let (low, high): (IpAddr, IpAddr) = (low.parse().unwrap(), high.parse().unwrap());
                let (ipv4, low, high) = (low.is_ipv4(), self::number(low), self::number(high));
                let mut nest = Vec::new();
                if rng.bool() {
                    nest.push((low, high));
                }
                fill(rng, low, high, share.saturating_sub(nest.len()), &mut nest);
                // The order of ranges must not matter.
                rng.shuffle(&mut nest);
                for (low, high) in nest {
                    let connector = members[rng.usize(..members.len())];
                    let list = &mut lists[connector];
                    let index = list.len() as u32;
                    list.push(write_range(rng, ipv4, low, high));
                    group.ranges.push(Range { ipv4, low, high, connector, index });
                }
            }
        }
        let mut text = String::new();
        let names: Vec<String> = (0..connectors).map(|number| format!("C{number}")).collect();
        for (number, list) in lists.iter_mut().enumerate() {
            if list.is_empty() {
                // A connector must have a range. This one is on a port that no test uses.
                let port = 10_000 + number;
                let _ = write!(
                    text,
                    "[[connector]]\nname = \"C{number}\"\nbindings = [\"0.0.0.0:{port}\"]\n\
                     remote_ip_ranges = [\"203.0.113.9\"]\npermission_groups = [\"AnonymousUsers\"]\n"
                );
                continue;
            }
            let _ = write!(
                text,
                "[[connector]]\nname = \"C{number}\"\nbindings = {:?}\nremote_ip_ranges = {list:?}\n\
                 permission_groups = [\"AnonymousUsers\"]\n",
                bindings[group_of(number)],
            );
        }
        let locals = [
            "198.51.100.1:25",
            "[2001:db8::1]:25",
            "192.0.2.1:25",
            "[2001:db8::25]:25",
            "198.51.100.1:587",
            "192.0.2.1:2525",
            "[2001:db8::1]:2525",
            "198.51.100.1:2525",
            "198.51.100.1:26",
        ]
        .map(|text| text.parse().unwrap())
        .to_vec();
        Self { text, names, locals, groups }
    }

    /// The rule in its simplest form: the exact binding before the wildcard; on it, the smallest
    /// range that contains the address.
    pub fn expected(&self, local: SocketAddr, remote: IpAddr) -> Expected {
        let wildcard = match local.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let listening = |address: SocketAddr| {
            self.groups
                .iter()
                .find(|group| group.bindings.contains(&address) && !group.ranges.is_empty())
        };
        let group = listening(local).or_else(|| listening(SocketAddr::new(wildcard, local.port())));
        let Some(group) = group else {
            return Expected::NoBinding;
        };
        let address = number(remote);
        group
            .ranges
            .iter()
            .filter(|range| range.ipv4 == remote.is_ipv4())
            .filter(|range| (range.low..=range.high).contains(&address))
            .min_by_key(|range| range.high - range.low)
            .map_or(Expected::NoConnector, |range| Expected::Connector {
                number: range.connector,
                range: range.index,
            })
    }

    /// Every range's first and last address and the addresses beside them.
    pub fn boundaries(&self) -> Vec<IpAddr> {
        let mut boundaries = Vec::new();
        for range in self.groups.iter().flat_map(|group| &group.ranges) {
            let highest = if range.ipv4 { u128::from(u32::MAX) } else { u128::MAX };
            for number in [
                range.low.saturating_sub(1),
                range.low,
                range.high,
                range.high.saturating_add(1).min(highest),
            ] {
                boundaries.push(address(range.ipv4, number));
            }
        }
        boundaries
    }

    /// A random address: any address, or one inside some range.
    pub fn random_address(&self, rng: &mut Rng) -> IpAddr {
        let group = &self.groups[rng.usize(..self.groups.len())];
        match rng.u8(..4) {
            0 => IpAddr::V4(rng.u32(..).into()),
            1 => IpAddr::V6(rng.u128(..).into()),
            _ => {
                let range = group.ranges[rng.usize(..group.ranges.len())];
                address(range.ipv4, rng.u128(range.low..=range.high))
            }
        }
    }
}

/// Fills an interval with smaller nested ones, `budget` of them if there is room.
fn fill(rng: &mut Rng, low: u128, high: u128, mut budget: usize, nest: &mut Vec<(u128, u128)>) {
    if budget == 0 || high - low < 4 {
        return;
    }
    let children = rng.usize(1..=budget.min(12));
    let mut points: Vec<u128> = Vec::new();
    for _ in 0..children {
        let start = rng.u128(low..=high);
        // Ranges of every size: from one address up to the parent's size.
        let size = (high - low) >> rng.u32(1..128).min(127);
        points.extend([start, start.saturating_add(size).min(high)]);
    }
    points.sort_unstable();
    points.dedup();
    let children: Vec<(u128, u128)> = points
        .chunks(2)
        .map(|pair| (pair[0], pair[pair.len() - 1]))
        .filter(|&child| child != (low, high))
        .take(budget)
        .collect();
    budget -= children.len();
    let share = budget / children.len().max(1);
    for &(child_low, child_high) in &children {
        nest.push((child_low, child_high));
        fill(rng, child_low, child_high, share, nest);
    }
}

/// In one of the forms that the configuration accepts.
fn write_range(rng: &mut Rng, ipv4: bool, low: u128, high: u128) -> String {
    let (first, last) = (address(ipv4, low), address(ipv4, high));
    let size = (high - low).wrapping_add(1);
    if size == 1 && rng.bool() {
        return first.to_string();
    }
    if size.is_power_of_two() && low.is_multiple_of(size) {
        let bits = if ipv4 { 32 } else { 128 } - size.trailing_zeros();
        // Host bits may be set, as in Exchange's own examples.
        return format!("{}/{bits}", address(ipv4, rng.u128(low..=high)));
    }
    format!("{first}-{last}")
}

fn address(ipv4: bool, number: u128) -> IpAddr {
    if ipv4 { IpAddr::V4((number as u32).into()) } else { IpAddr::V6(number.into()) }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}
