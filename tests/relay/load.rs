//! Idle sessions by the hundred and clients that drip harm nobody else.

use std::time::Duration;

use crate::idle::{self, Plan};

/// Small enough for every run of the tests.
const PLAN: Plan = Plan {
    plain: 1_000,
    encrypted: 50,
    half_open: 50,
    drips: 60,
    clients: 2,
    window: Duration::from_secs(5),
};

/// More than an idle session may take in a build without optimisation, by half.
const OCTETS: u64 = 24 * 1024;

#[test]
fn idle_sessions_and_drips_leave_the_relay_connector_served() {
    let outcome = idle::run(PLAN);
    println!("{outcome}");
    assert_eq!(outcome.sessions, 1_100, "{outcome}");
    assert_eq!(outcome.alive, 1_050, "nobody else lost a session: {outcome}");
    for served in [outcome.quiet, outcome.attacked] {
        assert!(served.sessions > 0 && served.failed == 0, "{outcome}");
    }
    // Of thirty clients of one address twenty get in, and to drip buys them no time.
    let drips = outcome.drips;
    assert!(drips.refused > 0 && drips.inactive > 0 && drips.timed_out > 0, "{outcome}");
    for octets in [outcome.plain_octets, outcome.encrypted_octets, outcome.half_open_octets] {
        assert!(octets <= OCTETS, "{outcome}");
    }
}
