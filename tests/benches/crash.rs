//! `cargo xtask soak crash`: kills the daemon hundreds of times and counts what arrives.

#[path = "../crash/mod.rs"]
mod crash;

use std::process::ExitCode;

use clap::Parser;

use crate::crash::Plan;

/// Kill the daemon under load, round after round, and hold what arrives against what was promised.
#[derive(Parser)]
struct Arguments {
    /// How often the daemon is killed.
    #[arg(long, default_value_t = 300)]
    rounds: u32,
    /// Repeats the choices of an earlier run; moments depend on the machine all the same.
    #[arg(long)]
    seed: Option<u64>,
    /// What cargo adds to the arguments of every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let plan = Plan { rounds: arguments.rounds, seed };
    // Built now where it is not.
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
