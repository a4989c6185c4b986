//! `cargo xtask soak crash`: kills the daemon hundreds of times and counts the messages that
//! arrive.

#[path = "../crash/mod.rs"]
mod crash;

use std::process::ExitCode;

use clap::Parser;

use crate::crash::Plan;

/// Kill the daemon under load, round after round, and compare the arrived messages with the 250s.
#[derive(Parser)]
struct Arguments {
    /// The number of kills.
    #[arg(long, default_value_t = 300)]
    rounds: u32,
    /// Repeat the choices of an earlier run; times still depend on the machine.
    #[arg(long)]
    seed: Option<u64>,
    /// An argument that cargo adds for every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let plan = Plan { rounds: arguments.rounds, seed };
    // Built now if necessary.
    let daemon = relay_tests::daemon::binary().expect("a daemon to kill");
    println!("{plan:?}, {}", daemon.display());
    let tell = |round: u32| {
        if round.is_multiple_of(25) {
            println!("round {round}");
        }
    };
    let outcome = crash::run(plan, tell);
    println!("{outcome}");
    if outcome.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
