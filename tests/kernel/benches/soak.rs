//! `cargo xtask soak`: the long form of the live test. 200,000 connections while generations
//! change eight times a second; exits with an error unless every one carried the right tag.

use std::time::Duration;

use relay_kernel_tests::live;

fn main() {
    let plan = live::Plan {
        connections: 200_000,
        reload_every: Duration::from_millis(125),
        connectors: 100,
        ranges: 1_400,
    };
    let seed = fastrand::u64(..);
    println!("{plan:?}, seed {seed}");
    let report = live::run(plan, seed);
    print!("{report}");
    report.assert_faultless(plan);
    println!("every connection carried the tag of its generation");
}
