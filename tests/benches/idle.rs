//! `cargo xtask bench idle`: what an idle session takes of the daemon's memory, and whether clients
//! that drip slow the relay connector down.

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
    // Built now where it is not.
    let daemon = relay_tests::daemon::binary().expect("a daemon to measure");
    println!("{PLAN:?}, {}", daemon.display());
    println!("{}", idle::run(PLAN));
}
