//! `cargo xtask bench idle`: the daemon's memory for an idle session, and whether clients that send
//! single octets slow the relay connector down.

#[path = "../idle/mod.rs"]
mod idle;

use std::time::Duration;

use crate::idle::Plan;

const PLAN: Plan = Plan {
    plain: 5_000,
    encrypted: 2_000,
    half_open: 3_000,
    drips: 500,
    clients: 4,
    window: Duration::from_secs(15),
};

fn main() {
    // Built now if necessary.
    let daemon = relay_tests::daemon::binary().expect("a daemon to measure");
    println!("{PLAN:?}, {}", daemon.display());
    println!("{}", idle::run(PLAN));
}
