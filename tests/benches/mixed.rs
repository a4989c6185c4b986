//! `cargo xtask soak mixed`: strangers use all attacks at once, and honest mail must not be
//! affected.

#[path = "../soak/mod.rs"]
mod soak;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::soak::{Kind, Plan};

/// Attack the daemon, and check honest mail and memory.
#[derive(Parser)]
struct Arguments {
    /// Duration of the attack.
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
    /// These attacks only.
    #[arg(long, value_enum)]
    only: Vec<Kind>,
    /// An argument that cargo adds for every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let kinds = match arguments.only.is_empty() {
        true => Kind::value_variants().to_vec(),
        false => arguments.only,
    };
    let plan = Plan { attack: Duration::from_secs(arguments.seconds), kinds };
    // Built now if necessary.
    let daemon = relay_tests::daemon::binary().expect("a daemon to attack");
    println!("{}", daemon.display());
    let outcome = soak::run(&plan, |line| println!("{line}"));
    println!("{outcome}");
    if outcome.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
