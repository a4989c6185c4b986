//! Kernel and daemon give the same connector for every address, and both agree with the plain rule:
//! the smallest range that contains the address.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;
use relay_common::classify::ConnectionClass;
use relay_common::tables::RangeEntry;

use crate::can_load;
use relay_connector::{ConnectorId, RangeId, TableMatch};
use relay_kernel::KernelHalf;
use relay_kernel_tests::frames::{SYN, tcp};
use relay_kernel_tests::nested::{Expected, Nested};
use relay_kernel_tests::setup::{load, publish};
use relay_policy::Rules;

/// Connectors, ranges, and random addresses in addition to all boundaries. The configurations in
/// the middle are tested in turn until enough addresses had a connector.
const SIZES: [(usize, usize, usize); 5] = [
    (1, 2, 2_000),
    (1_000, 10_000, 10_000),
    (200, 2_000, 40_000),
    (30, 200, 40_000),
    (4, 20, 40_000),
];

/// Addresses that had a connector, at least.
const ENOUGH: usize = 100_000;

#[test]
fn kernel_daemon_and_brute_force_agree() {
    if !can_load("kernel_daemon_and_brute_force_agree") {
        return;
    }
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut kernel = load();
    let mut asked = Asked::default();
    let sizes = SIZES.into_iter().chain(SIZES[2..].iter().copied().cycle());
    for (generation, (connectors, ranges, addresses)) in (2..).zip(sizes) {
        if generation > SIZES.len() as u32 + 1 && asked.connector >= ENOUGH {
            break;
        }
        let nested = Nested::random(&mut rng, connectors, ranges);
        let rules = publish(&mut kernel, &nested.text, generation);
        let case = format!("seed {seed}, {connectors} connectors");
        ask(&mut kernel, &rules, &nested, addresses, &mut rng, &mut asked, &case);
    }
    println!("{asked:?}");
    assert!(asked.no_binding > 1_000 && asked.no_connector > 1_000, "{asked:?}");
}

/// Compares kernel, daemon and plain rule for every boundary and for random addresses.
fn ask(
    kernel: &mut KernelHalf,
    rules: &Rules,
    nested: &Nested,
    addresses: usize,
    rng: &mut Rng,
    asked: &mut Asked,
    case: &str,
) {
    let ids: HashMap<&str, ConnectorId> =
        rules.connectors().map(|(id, connector)| (connector.name.as_str(), id)).collect();
    let mut remotes = nested.boundaries();
    remotes.extend((0..addresses).map(|_| nested.random_address(rng)));
    for remote in remotes {
        let locals: Vec<_> =
            nested.locals.iter().filter(|local| local.is_ipv4() == remote.is_ipv4()).collect();
        let local = *locals[rng.usize(..locals.len())];
        let expected = nested.expected(local, remote);
        let case = format!("{case}, {remote} to {local}");
        let (by_daemon, by_tables, id) = match expected {
            Expected::Connector { number, range } => {
                let id = ids[nested.names[number].as_str()];
                let entry = RangeEntry { connector: id.0, range };
                let by_daemon = TableMatch::Connector { connector: id, range: RangeId(range) };
                (by_daemon, ConnectionClass::Connector(entry), Some(id))
            }
            Expected::NoBinding => (TableMatch::NoBinding, ConnectionClass::NoBinding, None),
            Expected::NoConnector => (TableMatch::NoConnector, ConnectionClass::NoConnector, None),
        };
        assert_eq!(rules.table.classify(local, remote.into()), by_daemon, "daemon: {case}");
        assert_eq!(kernel.publisher.classify(local, remote), by_tables, "kernel maps: {case}");
        assert_counted(kernel, local, remote, expected, id, &case);
        asked.count(expected);
    }
}

/// The guard, run in the kernel on a SYN, counts it for the connector that it found.
fn assert_counted(
    kernel: &mut KernelHalf,
    local: SocketAddr,
    remote: IpAddr,
    expected: Expected,
    id: Option<ConnectorId>,
    case: &str,
) {
    let count = |kernel: &KernelHalf| match (expected, id) {
        (Expected::Connector { .. }, Some(id)) => kernel.counters.connector(id).unwrap().syn_seen,
        (Expected::NoBinding, _) => kernel.counters.reasons().unwrap().guard_no_binding,
        _ => kernel.counters.reasons().unwrap().guard_no_connector,
    };
    let before = count(kernel);
    let judged = kernel.programs.run_guard(&tcp(remote, local, SYN), 1).unwrap();
    assert!(judged.passed, "guard: {case}");
    assert_eq!(count(kernel), before + 1, "guard: {case}");
}

#[derive(Debug, Default)]
struct Asked {
    connector: usize,
    no_binding: usize,
    no_connector: usize,
}

impl Asked {
    fn count(&mut self, expected: Expected) {
        match expected {
            Expected::Connector { .. } => self.connector += 1,
            Expected::NoBinding => self.no_binding += 1,
            Expected::NoConnector => self.no_connector += 1,
        }
    }
}
