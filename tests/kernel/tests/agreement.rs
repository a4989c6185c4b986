//! Kernel and daemon give the same connector for every address, and both give what the plain rule
//! gives: the smallest range that contains it.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;
use relay::connector::{ConnectorId, Match, RangeId};
use relay::kernel::{KernelHalf, TestProgram};
use relay_common::classify::Class;
use relay_common::tables::RangeEntry;

use crate::can_load;
use relay_kernel_tests::frames::{SYN, tcp};
use relay_kernel_tests::nested::{Expected, Nested};
use relay_kernel_tests::setup::{load, publish};

/// Connectors, ranges, and addresses asked at random beside all boundaries.
const SIZES: [(usize, usize, usize); 5] = [
    (1, 2, 2_000),
    (4, 20, 50_000),
    (30, 200, 60_000),
    (200, 2_000, 60_000),
    (1_000, 10_000, 10_000),
];

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
    for (generation, (connectors, ranges, addresses)) in (2..).zip(SIZES) {
        let nested = Nested::random(&mut rng, connectors, ranges);
        let rules = publish(&mut kernel, &nested.text, generation);
        let ids: HashMap<&str, ConnectorId> =
            rules.connectors().map(|(id, connector)| (connector.name.as_str(), id)).collect();
        let mut remotes = nested.boundaries();
        remotes.extend((0..addresses).map(|_| nested.random_address(&mut rng)));
        for remote in remotes {
            let locals: Vec<_> =
                nested.locals.iter().filter(|l| l.is_ipv4() == remote.is_ipv4()).collect();
            let local = *locals[rng.usize(..locals.len())];
            let expected = nested.expected(local, remote);
            let id = match expected {
                Expected::Connector { number, .. } => Some(ids[nested.names[number].as_str()]),
                Expected::NoBinding | Expected::NoConnector => None,
            };
            let case = format!("seed {seed}, {connectors} connectors, {remote} to {local}");
            let (by_daemon, by_tables) = match expected {
                Expected::Connector { range, .. } => {
                    let id = id.unwrap();
                    let entry = RangeEntry { connector: id.0, range };
                    (
                        Match::Connector { connector: id, range: RangeId(range) },
                        Class::Connector(entry),
                    )
                }
                Expected::NoBinding => (Match::NoBinding, Class::NoBinding),
                Expected::NoConnector => (Match::NoConnector, Class::NoConnector),
            };
            assert_eq!(rules.table.classify(local, remote), by_daemon, "daemon: {case}");
            assert_eq!(kernel.publisher.classify(local, remote), by_tables, "kernel maps: {case}");
            assert_counted(&mut kernel, local, remote, expected, id, &case);
            asked.count(expected);
        }
    }
    println!("{asked:?}");
    assert!(asked.connector >= 100_000, "{asked:?}");
    assert!(asked.no_binding > 1_000 && asked.no_connector > 1_000, "{asked:?}");
}

/// The guard, run in the kernel on a SYN, counts for the connector that it found.
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
    let judged = kernel.programs.test_run(TestProgram::Guard, &tcp(remote, local, SYN), 1).unwrap();
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
