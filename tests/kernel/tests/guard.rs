//! The guard, run in the kernel on frames.

use std::net::{IpAddr, SocketAddr};
use std::thread::sleep;
use std::time::Duration;

use relay_common::tables::{ConnectorCounters, ReasonCounters};

use crate::can_load;
use relay_connector::ConnectorId;
use relay_kernel::KernelHalf;
use relay_kernel_tests::frames::{ACK, SYN, tcp, tcp_behind};
use relay_kernel_tests::setup::{load, publish};

const FRONTEND: ConnectorId = ConnectorId(1);
const RELAY: ConnectorId = ConnectorId(2);
const REFUSED: ConnectorId = ConnectorId(3);

/// All addresses, with budgets that a test can use up; one relay address; one that is refused.
const CONNECTORS: &str = r#"
[[connector]]
name = "Default Frontend"
bindings = ["0.0.0.0:25", "[::]:25"]
remote_ip_ranges = ["0.0.0.0/0", "::/0"]
permission_groups = ["AnonymousUsers"]
syn_budget = { rate = "20/s", burst = 50 }
syn_budget_per_source = { rate = "5/s", burst = 10 }

[[connector]]
name = "Relay"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.96.15"]
permission_groups = ["AnonymousUsers"]

[[connector]]
name = "Refused"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["203.0.113.0/24"]
refuse = true
"#;

fn loaded(test: &str) -> Option<KernelHalf> {
    can_load(test).then(|| {
        let mut kernel = load();
        publish(&mut kernel, CONNECTORS, 2);
        kernel
    })
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::new([198, 51, 100, 1].into(), port)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn passes(kernel: &mut KernelHalf, frame: &[u8]) -> bool {
    kernel.programs.run_guard(frame, 1).unwrap().passed
}

#[test]
fn budgets_apply_to_each_source_and_to_all_together() {
    let Some(mut kernel) = loaded("budgets_apply_to_each_source_and_to_all_together") else {
        return;
    };
    let loud = tcp(ip("192.0.2.1"), local(25), SYN);
    let passed = (0..30).filter(|_| passes(&mut kernel, &loud)).count();
    // A token is restored every 200 ms; on a slow machine one or two are restored during the loop.
    assert!((10..=12).contains(&passed), "{passed}");
    // Forged sources: each within its own budget, all of them together over the connector's.
    let passed = (0..200)
        .filter(|n| passes(&mut kernel, &tcp(ip(&format!("192.0.{n}.9")), local(25), SYN)))
        .count();
    assert!((38..=60).contains(&passed), "{passed}");
    // The relay's address has no budget and always passes.
    let relay = tcp(ip("10.38.96.15"), local(25), SYN);
    assert!((0..200).all(|_| passes(&mut kernel, &relay)));

    let counted = kernel.counters.connector(FRONTEND).unwrap();
    assert_eq!(counted.syn_seen, 230);
    assert!(counted.syn_over_source_budget >= 18 && counted.syn_over_budget >= 140, "{counted:?}");
    let dropped = counted.syn_over_budget + counted.syn_over_source_budget;
    assert_eq!(counted.syn_refused, 0);
    assert!(dropped > 150 && dropped < 230);
    let relayed = ConnectorCounters { syn_seen: 200, ..ConnectorCounters::default() };
    assert_eq!(kernel.counters.connector(RELAY).unwrap(), relayed);

    sleep(Duration::from_millis(250));
    assert!(passes(&mut kernel, &loud), "a token was restored");
}

#[test]
fn a_refused_source_is_dropped_and_counted() {
    let Some(mut kernel) = loaded("a_refused_source_is_dropped_and_counted") else { return };
    let remote = ip("203.0.113.7");
    assert!(!passes(&mut kernel, &tcp(remote, local(25), SYN)));
    // ECN set-up is a SYN too, and so is one behind two VLAN tags.
    assert!(!passes(&mut kernel, &tcp(remote, local(25), SYN | 0xc0)));
    assert!(!passes(&mut kernel, &tcp_behind(&[0x88a8, 0x8100], remote, local(25), SYN)));
    // The guard ignores all other segments of that source.
    assert!(passes(&mut kernel, &tcp(remote, local(25), ACK)));
    assert!(passes(&mut kernel, &tcp(remote, local(25), SYN | ACK)));
    assert!(passes(&mut kernel, &tcp(remote, local(587), SYN)));
    let counted = kernel.counters.connector(REFUSED).unwrap();
    assert_eq!((counted.syn_seen, counted.syn_refused), (3, 3));
}

#[test]
fn frames_without_a_rule_pass_and_are_counted_under_their_reason() {
    let Some(mut kernel) = loaded("frames_without_a_rule_pass_and_are_counted_under_their_reason")
    else {
        return;
    };
    let syn = tcp(ip("192.0.2.1"), local(25), SYN);
    let with = |offset: usize, value: &[u8]| {
        let mut frame = syn.clone();
        frame[offset..offset + value.len()].copy_from_slice(value);
        frame
    };
    type Counter = fn(&ReasonCounters) -> u64;
    let frames: [(&str, Vec<u8>, Counter); 7] = [
        ("ARP", with(12, &[0x08, 0x06]), |c| c.guard_not_ip),
        ("UDP", with(23, &[17]), |c| c.guard_not_tcp),
        ("a fragment", with(20, &[0x20, 0x01]), |c| c.guard_fragment),
        ("no room for TCP", syn[..40].to_vec(), |c| c.guard_truncated),
        ("an ACK", with(47, &[ACK]), |c| c.guard_not_syn),
        ("another port", with(36, &[0, 80]), |c| c.guard_no_binding),
        (
            "IPv6 that no connector matches",
            tcp(ip("2001:db8::7"), "[2001:db8::1]:26".parse().unwrap(), SYN),
            |c| c.guard_no_binding,
        ),
    ];
    for (what, frame, counter) in frames {
        let before = counter(&kernel.counters.reasons().unwrap());
        assert!(passes(&mut kernel, &frame), "{what}");
        assert_eq!(counter(&kernel.counters.reasons().unwrap()), before + 1, "{what}");
    }
}

#[test]
fn every_truncation_passes() {
    let Some(mut kernel) = loaded("every_truncation_passes") else { return };
    for frame in [
        tcp_behind(&[0x8100], ip("203.0.113.7"), local(25), SYN),
        tcp(ip("2001:db8::7"), "[2001:db8::1]:25".parse().unwrap(), SYN),
    ] {
        // The kernel accepts no test frame without an Ethernet header.
        for length in 14..frame.len() {
            assert!(passes(&mut kernel, &frame[..length]), "{length}");
        }
    }
}
