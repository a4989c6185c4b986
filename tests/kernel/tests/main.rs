//! The kernel half in a real kernel.
//!
//! These tests need root and a daemon library with the kernel half embedded; `cargo xtask test`
//! provides both. Without them each test says that it was skipped, and why.

#![expect(clippy::unwrap_used, reason = "helpers of tests: a failure must end the test")]

mod activation;
mod agreement;
mod flood;
mod guard;
mod lifecycle;

use std::time::Duration;

use relay_kernel_tests::live;
use relay_tests::requirements::{Requirement, met};

/// May a test that loads the programs run here?
fn can_load(test: &str) -> bool {
    met(test, &[Requirement::Root, Requirement::KernelHalf])
}

/// The short form of `cargo xtask soak`.
#[test]
fn every_connection_is_tagged_while_generations_change() {
    let name = "every_connection_is_tagged_while_generations_change";
    if !can_load(name) || !met(name, &[Requirement::NetworkNamespaces]) {
        return;
    }
    let plan = live::Plan {
        connections: 20_000,
        reload_every: Duration::from_millis(125),
        connectors: 20,
        ranges: 300,
    };
    let report = live::run(plan, fastrand::u64(..));
    println!("{report}");
    report.assert_faultless(plan);
}
