//! The short form of `cargo xtask bench flood`: dropped and served connections, no times.

use std::time::Duration;

use relay_kernel_tests::flood::{self, Conditions, FRONTEND, Guard, Outcome, Plan, REFUSED, RELAY};
use relay_tests::requirements::{Requirement, met};

use crate::can_load;

const PLAN: Plan = Plan { window: Duration::from_secs(2), syns_per_second: 20_000, clients: 4 };

fn flooded(test: &str, guard: Guard) -> Option<Outcome> {
    (can_load(test) && met(test, &[Requirement::NetworkNamespaces]))
        .then(|| flood::run(PLAN, Conditions { flood: true, guard, syncookies: true }))
}

/// Every session was served, by the kernel's tag, and every message arrived.
fn assert_relay_is_served(outcome: &Outcome) {
    let sessions = &outcome.sessions;
    assert_eq!(sessions.failures, Vec::<String>::new());
    assert!(sessions.messages > 0 && sessions.whole.len() > sessions.messages);
    let served = sessions.whole.len() as u64;
    let relay = outcome.connector(RELAY);
    let kernel = |counter| flood::kernel(relay, counter);
    assert_eq!(kernel("tagged"), served);
    assert_eq!((relay.daemon.by_kernel, relay.daemon.by_daemon), (served, 0));
    assert_eq!(relay.daemon.messages_accepted, sessions.messages as u64);
    assert_eq!(outcome.arrived, sessions.messages);
    // A SYN for which the kernel had no room was sent again.
    assert!(kernel("syn_seen") >= served);
    assert_eq!(
        ["syn_refused", "syn_over_budget", "syn_over_source_budget"].map(kernel),
        [0; 3],
        "the flood does not count for the relay connector"
    );
}

#[test]
fn a_budget_protects_the_relay_connector_from_a_flood() {
    let test = "a_budget_protects_the_relay_connector_from_a_flood";
    let Some(outcome) = flooded(test, Guard::Budget) else { return };
    assert_relay_is_served(&outcome);
    let frontend = outcome.connector(FRONTEND);
    let kernel = |counter| flood::kernel(frontend, counter);
    let seen = kernel("syn_seen");
    assert!(seen > 1000, "{:?}", outcome.flood);
    assert_eq!(seen, outcome.flood.delivered, "every SYN on the cable is counted once");
    assert!(kernel("syn_over_budget") > seen / 2, "{frontend:?}");
    assert_eq!(outcome.dropped(), kernel("syn_over_budget") + kernel("syn_over_source_budget"));
    // The allowed SYNs: the burst and then the rate, from the configuration in `flood::world`.
    let passed = seen - outcome.dropped();
    let most = 400.0 + 200.0 * outcome.flood.took.as_secs_f64();
    assert!(passed >= 400 && passed as f64 <= most + 1.0, "{passed} of at most {most}");
    // No handshake was completed, so the daemon did not notice the flood.
    assert_eq!((kernel("tagged"), frontend.daemon.by_kernel), (0, 0));
}

#[test]
fn a_flood_from_refused_sources_never_reaches_the_stack() {
    let test = "a_flood_from_refused_sources_never_reaches_the_stack";
    let Some(outcome) = flooded(test, Guard::Refuse) else { return };
    assert_relay_is_served(&outcome);
    let refused = outcome.connector(REFUSED);
    assert!(outcome.flood.delivered > 1000, "{:?}", outcome.flood);
    assert_eq!(flood::kernel(refused, "syn_seen"), outcome.flood.delivered);
    assert_eq!(flood::kernel(refused, "syn_refused"), outcome.flood.delivered);
    assert_eq!(outcome.dropped(), outcome.flood.delivered);
    assert_eq!(flood::kernel(outcome.connector(FRONTEND), "syn_seen"), 0);
}
