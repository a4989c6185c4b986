//! The table compared with a brute-force version of the rule, and the refused ranges.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::table::*;
use crate::{
    AntiSpam, AuthMechanism, ConnectorTls, Extensions, Limits, PermissionGroups,
    ProtocolLoggingLevel, Range, RejectRecipientDomains,
};
use proptest::prelude::*;

fn connector(name: &str, bindings: &[&str], ranges: &[&str]) -> Connector {
    Connector {
        name: name.to_owned(),
        line: 1,
        comment: String::new(),
        enabled: true,
        bindings: bindings.iter().map(|text| text.parse().unwrap()).collect(),
        remote_ip_ranges: ranges.iter().map(|text| text.parse().unwrap()).collect(),
        auth_mechanism: AuthMechanism::default(),
        permission_groups: PermissionGroups::default(),
        grants: Vec::new(),
        denies: Vec::new(),
        encryption: ConnectorTls::default(),
        require_tls: false,
        refuse: false,
        syn_budget: None,
        syn_budget_per_source: None,
        banner: None,
        fqdn: "edge1.contoso.example".to_owned(),
        require_ehlo_domain: false,
        extensions: Extensions::default(),
        reject_recipient_domains: RejectRecipientDomains::default(),
        protocol_logging_level: ProtocolLoggingLevel::None,
        antispam: AntiSpam::default(),
        limits: Limits::default(),
    }
}

fn compile(connectors: &[Connector]) -> Result<Table, Vec<Conflict>> {
    Table::compile(connectors, Clients::OfTheBindingsFamily)
}

fn found(table: &Table, local: &str, remote: &str) -> Option<(u32, u32)> {
    match table.classify(local.parse().unwrap(), remote.parse().unwrap()) {
        TableMatch::Connector { connector, range } => Some((connector.0, range.0)),
        TableMatch::NoBinding | TableMatch::NoConnector => None,
    }
}

/// The winner by longest prefix over the published blocks, as in the kernel.
fn longest_prefix(table: &Table, number: u32, remote: IpAddr) -> Option<(ConnectorId, RangeId)> {
    let address = number_of(remote);
    table
        .blocks()
        .filter(|&(binding, block, ..)| {
            let host = u128::MAX.checked_shr(block.bits.into()).unwrap_or(0);
            binding == number && block.address.to_bits() | host == address | host
        })
        .max_by_key(|(_, block, ..)| block.bits)
        .map(|(_, _, connector, range)| (connector, range))
}

#[test]
fn the_smallest_range_wins() {
    let table = compile(&[
        connector("Default Frontend", &["0.0.0.0:25", "[::]:25"], &["0.0.0.0/0", "::/0"]),
        connector("Subnet", &["0.0.0.0:25"], &["192.168.1.0-192.168.1.255"]),
        connector("One", &["0.0.0.0:25"], &["192.168.1.75"]),
    ])
    .unwrap();
    assert_eq!(found(&table, "10.0.0.1:25", "192.168.1.75"), Some((3, 0)));
    assert_eq!(found(&table, "10.0.0.1:25", "192.168.1.100"), Some((2, 0)));
    assert_eq!(found(&table, "10.0.0.1:25", "8.8.8.8"), Some((1, 0)));
    assert_eq!(found(&table, "[::ffff:10.0.0.1]:25", "::ffff:192.168.1.75"), Some((3, 0)));
    assert_eq!(found(&table, "[2001:db8::25]:25", "2001:db8::1"), Some((1, 1)));
    assert_eq!(found(&table, "10.0.0.1:26", "8.8.8.8"), None);
}

#[test]
fn an_exact_binding_never_falls_back_to_the_wildcard() {
    let table = compile(&[
        connector("Everywhere", &["0.0.0.0:25"], &["0.0.0.0/0"]),
        connector("Inside", &["10.0.0.5:25"], &["10.0.0.0/8"]),
    ])
    .unwrap();
    let classify =
        |local: &str, remote: &str| table.classify(local.parse().unwrap(), remote.parse().unwrap());
    assert_eq!(found(&table, "10.0.0.5:25", "10.1.1.1"), Some((2, 0)));
    assert_eq!(classify("10.0.0.5:25", "192.0.2.1"), TableMatch::NoConnector);
    assert_eq!(found(&table, "10.0.0.6:25", "10.1.1.1"), Some((1, 0)));
    assert_eq!(classify("10.0.0.6:26", "10.1.1.1"), TableMatch::NoBinding);
    assert_eq!(classify("[::1]:25", "::1"), TableMatch::NoBinding);
}

#[test]
fn an_equal_block_belongs_to_the_smaller_range() {
    let table = compile(&[
        connector("Ten", &["0.0.0.0:25"], &["10.0.0.0-10.0.0.9"]),
        connector("Eight", &["0.0.0.0:25"], &["10.0.0.0/29"]),
    ])
    .unwrap();
    let blocks: Vec<_> =
        table.blocks().map(|(_, block, id, _)| (block.to_string(), id.0)).collect();
    assert_eq!(blocks, [("10.0.0.0/29".to_owned(), 2), ("10.0.0.8/31".to_owned(), 1)]);
}

#[test]
fn conflicts_are_refused_and_named_once() {
    let both = ["10.0.0.1:25", "10.0.0.2:25"];
    let at = |connector, range| RangeAt { connector, range: RangeId(range) };
    let conflicts = compile(&[
        connector("a", &both, &["10.0.0.0/24", "10.0.1.0-10.0.1.9"]),
        connector("b", &both, &["10.0.0.0-10.0.0.255", "10.0.1.5-10.0.1.20"]),
    ])
    .unwrap_err();
    let binding = both[0].parse().unwrap();
    assert_eq!(
        conflicts,
        [
            Conflict::Duplicate { binding, first: at(0, 0), second: at(1, 0) },
            Conflict::PartialOverlap { binding, lower: at(0, 1), upper: at(1, 1) },
        ]
    );
    let inside_one = compile(&[connector("a", &["0.0.0.0:25"], &["10.0.0.1", "10.0.0.1"])]);
    assert!(matches!(inside_one.unwrap_err()[..], [Conflict::Duplicate { .. }]));
}

#[test]
fn a_disabled_connector_takes_no_part() {
    let mut off = connector("Off", &["0.0.0.0:25", "0.0.0.0:26"], &["10.0.0.0/8"]);
    off.enabled = false;
    let table = compile(&[off, connector("On", &["0.0.0.0:25"], &["10.0.0.0/8"])]).unwrap();
    assert_eq!(table.bindings().len(), 1);
    assert_eq!(found(&table, "10.0.0.1:25", "10.0.0.2"), Some((2, 0)));
}

#[test]
fn ranges_without_effect_are_found() {
    let table = compile(&[
        connector("Outer", &["0.0.0.0:25"], &["10.0.0.0/31"]),
        connector("Halves", &["0.0.0.0:25"], &["10.0.0.0", "10.0.0.1"]),
        connector("Twice", &["0.0.0.0:25"], &["10.1.0.0/16", "10.1.2.3"]),
    ])
    .unwrap();
    let binding = "0.0.0.0:25".parse().unwrap();
    let at = |connector, range| RangeAt { connector, range: RangeId(range) };
    assert_eq!(
        table.idle(),
        [
            Idle::Redundant { binding, inner: at(2, 1), outer: at(2, 0) },
            Idle::Shadowed { binding, range: at(0, 0) },
        ]
    );
}

#[test]
fn ranges_of_the_other_family_are_for_clients_that_a_proxy_tells() {
    let connectors = [
        connector("Default", &["10.0.0.5:25"], &["0.0.0.0/0", "::/0"]),
        connector("Servers", &["10.0.0.5:25", "[::]:25"], &["2001:db8::/64", "10.0.0.0/8"]),
    ];
    let told = Table::compile(&connectors, Clients::OfBothFamilies).unwrap();
    assert_eq!(found(&told, "10.0.0.5:25", "2001:db8::1"), Some((2, 0)));
    assert_eq!(found(&told, "10.0.0.5:25", "2001:db9::1"), Some((1, 1)));
    assert_eq!(found(&told, "[::1]:25", "10.0.0.1"), Some((2, 1)));
    assert_eq!(found(&told, "[::1]:25", "192.0.2.1"), None);
    let own = compile(&connectors).unwrap();
    assert_eq!(found(&own, "10.0.0.5:25", "2001:db8::1"), None);
    assert_eq!(found(&own, "[::1]:25", "10.0.0.1"), None);
    let blocks = |table: &Table| table.blocks().collect::<Vec<_>>();
    assert_eq!(blocks(&own), blocks(&told), "the kernel never sees such a client");
}

#[test]
fn conflicts_count_where_a_client_can_come_from_only() {
    let connectors = [
        connector("a", &["10.0.0.5:25"], &["0.0.0.0/0", "::/0"]),
        connector("b", &["10.0.0.5:25"], &["10.0.0.0/8", "::/0"]),
    ];
    assert!(compile(&connectors).is_ok());
    let conflicts = Table::compile(&connectors, Clients::OfBothFamilies).unwrap_err();
    assert!(matches!(conflicts[..], [Conflict::Duplicate { .. }]), "{conflicts:?}");
}

#[test]
fn ranges_that_no_binding_has_clients_of_are_found() {
    let connectors =
        [connector("a", &["10.0.0.5:25"], &["10.0.0.0/8", "2001:db8::/64", "fd00::/8"])];
    let range = RangeAt { connector: 0, range: RangeId(1) };
    let idle = |clients| Table::compile(&connectors, clients).unwrap().idle().to_vec();
    assert_eq!(idle(Clients::OfTheBindingsFamily), [Idle::WithoutBinding { range, more: 1 }]);
    assert_eq!(idle(Clients::OfBothFamilies), []);
}

#[test]
fn a_hundred_thousand_ranges_compile_in_no_time() {
    let ranges = (0..100_000_u32).map(|number| {
        let address = Ipv4Addr::from_bits(0x0a00_0000 + number * 7);
        format!("{address}/32").parse::<Range>().unwrap()
    });
    let mut connector = connector("Many", &["0.0.0.0:25"], &["0.0.0.0/0"]);
    connector.remote_ip_ranges.extend(ranges);
    let begun = Instant::now();
    let table = compile(&[connector]).unwrap();
    let taken = begun.elapsed();
    assert_eq!(table.blocks().count(), 100_001);
    // Far above the time of an unoptimised build, far below the time of a quadratic check.
    assert!(taken < Duration::from_secs(5), "{taken:?}");
}

/// Ranges that nest: each is cut from one before it, or has any position.
fn nested_ranges() -> impl Strategy<Value = Vec<(u32, u32)>> {
    proptest::collection::vec((any::<u32>(), any::<u32>(), any::<proptest::sample::Index>()), 1..40)
        .prop_map(|seeds| {
            let mut ranges: Vec<(u32, u32)> = vec![(0, 255)];
            for (first, second, parent) in seeds {
                let (low, high) = ranges[parent.index(ranges.len())];
                let width = u64::from(high - low) + 1;
                let cut = |seed: u32| low + (u64::from(seed) % width) as u32;
                ranges.push((cut(first).min(cut(second)), cut(first).max(cut(second))));
            }
            ranges
        })
}

fn is_legal(range: (u32, u32), others: &[(u32, u32)]) -> bool {
    others.iter().all(|&other| {
        let disjoint = range.1 < other.0 || other.1 < range.0;
        let inside = other.0 <= range.0 && range.1 <= other.1;
        let around = range.0 <= other.0 && other.1 <= range.1;
        range != other && (disjoint || inside || around)
    })
}

proptest! {
    /// The whole of a small address space, for both families: segments, longest prefix and brute
    /// force agree.
    #[test]
    fn table_and_prefixes_agree_with_the_smallest_containing_range(
        candidates in nested_ranges(),
        owners in proptest::collection::vec(0_usize..5, 41),
        ipv6: bool,
    ) {
        let base: u128 =
            if ipv6 { 0x2001_0db8 << 96 } else { number_of(Ipv4Addr::new(10, 0, 0, 0).into()) };
        let address = |number: u32| -> IpAddr {
            Ipv6Addr::from_bits(base + u128::from(number)).to_canonical()
        };
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for candidate in candidates {
            if is_legal(candidate, &ranges) {
                ranges.push(candidate);
            }
        }
        let binding = if ipv6 { "[::]:25" } else { "0.0.0.0:25" };
        let mut connectors: Vec<_> =
            (0..5).map(|number| connector(&number.to_string(), &[binding], &[])).collect();
        let mut placed = Vec::new();
        for (&(low, high), &owner) in ranges.iter().zip(&owners) {
            let list = &mut connectors[owner].remote_ip_ranges;
            placed.push((high - low, low, high, owner, list.len()));
            list.push(format!("{}-{}", address(low), address(high)).parse().unwrap());
        }
        let table = compile(&connectors).unwrap();
        for number in 0..=256 {
            let smallest = placed
                .iter()
                .filter(|&&(_, low, high, ..)| (low..=high).contains(&number))
                .min()
                .map(|&(.., owner, range)| (ConnectorId(owner as u32 + 1), RangeId(range as u32)));
            let local: SocketAddr = binding.parse().unwrap();
            let daemon = match table.classify(local, address(number).into()) {
                TableMatch::Connector { connector, range } => Some((connector, range)),
                TableMatch::NoBinding | TableMatch::NoConnector => None,
            };
            prop_assert_eq!(daemon, smallest);
            prop_assert_eq!(longest_prefix(&table, 0, address(number)), smallest);
        }
    }

    /// An illegal range is always refused.
    #[test]
    fn a_crossing_range_is_always_a_conflict(
        candidates in nested_ranges(),
        first in 0_u32..256,
        second in 0_u32..256,
    ) {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for candidate in candidates {
            if is_legal(candidate, &ranges) {
                ranges.push(candidate);
            }
        }
        let extra = (first.min(second), first.max(second));
        let legal = is_legal(extra, &ranges);
        ranges.push(extra);
        let texts: Vec<_> =
            ranges.iter().map(|(low, high)| format!("10.0.0.{low}-10.0.0.{high}")).collect();
        let texts: Vec<_> = texts.iter().map(String::as_str).collect();
        let compiled = compile(&[connector("c", &["0.0.0.0:25"], &texts)]);
        prop_assert_eq!(compiled.is_ok(), legal);
    }
}
