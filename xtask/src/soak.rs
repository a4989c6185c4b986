//! `cargo xtask soak`: the long forms of tests that run briefly with the others.

use anyhow::{Result, ensure};

use crate::workspace::Workspace;
use crate::{bench, process};

/// What to test; by default the kernel's tags.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    subject: Option<Subject>,
}

#[derive(clap::Subcommand)]
enum Subject {
    /// Kill the daemon under load and count the messages that arrive.
    Crash {
        /// The number of kills.
        #[arg(long, default_value_t = 300)]
        rounds: u32,
        /// Repeat the random choices of an earlier run, which printed this number.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Attack the daemon with all attacks at once, beside the honest load of two relay connectors.
    Mixed {
        /// Seconds that the attack lasts.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
        /// Only these attacks, such as `recipients`; an unknown name lists all names.
        #[arg(long)]
        only: Vec<String>,
    },
}

/// The verb.
pub fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    match arguments.subject {
        None => bench::run_target(workspace, "soak"),
        Some(Subject::Crash { rounds, seed }) => crash(workspace, rounds, seed),
        Some(Subject::Mixed { seconds, only }) => mixed(workspace, seconds, &only),
    }
}

/// Built in the profile with assertions: the daemon's speed does not matter here.
fn crash(workspace: &Workspace, rounds: u32, seed: Option<u64>) -> Result<()> {
    let mut cargo = bench::rig(workspace, "crash", "dev");
    cargo
        .args(["--", "--rounds", &rounds.to_string()])
        .args(seed.map(|seed| format!("--seed={seed}")));
    process::run(&mut cargo)
}

/// Built as released, since honest mail has deadlines. Runs in network namespaces, which root may
/// create.
fn mixed(workspace: &Workspace, seconds: u64, only: &[String]) -> Result<()> {
    ensure!(process::is_root(), "this creates network namespaces: run it as root");
    let mut cargo = bench::rig(workspace, "mixed", "bench");
    cargo.args(["--", "--seconds", &seconds.to_string()]);
    cargo.args(only.iter().map(|kind| format!("--only={kind}")));
    process::run(&mut cargo)
}
