//! The real daemon between real peers: each test is a separate scenario.
//!
//! [`edge`] is the host of a scenario: a directory, a port, a next hop, the daemon's configuration
//! and its command line. [`dialogue`] is a client that sends exactly the octets of a test. The
//! other modules are the scenarios, by properties that an administrator relies on.
//!
//! Tests of the kernel half need root; the others run everywhere, with the userspace classifier.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure must end the test")]

mod antispam;
mod authentication;
mod back_pressure;
mod capabilities;
mod chunking;
mod client_certificates;
mod clients;
mod clock;
mod command_line;
mod connectors;
mod content;
#[path = "../crash/mod.rs"]
mod crash;
mod crashes;
mod delivery;
mod dialogue;
mod disk;
mod durability;
mod edge;
mod encrypted;
mod encrypted_clients;
mod exchangers;
mod explained;
mod half_closed;
#[path = "../idle/mod.rs"]
mod idle;
mod inspection;
mod interfaces;
mod limited_hops;
mod load;
mod log_output;
mod many_domains;
mod message_tracking;
mod misbehaving;
mod name_servers;
mod neighbours;
mod next_hops;
mod not_arrived;
mod peers;
mod permissions;
mod power_cut;
mod protocol_log;
mod proxies;
mod queue_commands;
mod recipients;
mod rehearsed;
mod reload;
mod report_form;
mod sasl_clients;
mod secured_hops;
mod servers;
mod shutdown;
mod stalled_hops;
mod starttls;
mod tls;
mod user;
mod without_root;

use std::time::Duration;

use relay_tests::requirements::{Requirement, met};

/// A test's longest wait for an event. Longer than the 5 seconds of back-off of a next hop that
/// cannot be reached.
const PATIENCE: Duration = Duration::from_secs(20);

/// May a test that runs the daemon with its kernel half run here?
fn has_kernel(test: &str) -> bool {
    met(test, &[Requirement::Root, Requirement::KernelHalf])
}
