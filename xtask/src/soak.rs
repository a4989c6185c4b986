//! `cargo xtask soak`: the long forms of tests that run briefly with the others.

use anyhow::Result;

use crate::workspace::Workspace;
use crate::{bench, process};

/// What to wear out; without a word, the kernel's tags.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    subject: Option<Subject>,
}

#[derive(clap::Subcommand)]
enum Subject {
    /// Kill the daemon under load and count what arrives.
    Crash {
        /// How often it is killed.
        #[arg(long, default_value_t = 300)]
        rounds: u32,
        /// Repeats the choices of an earlier run, which printed it.
        #[arg(long)]
        seed: Option<u64>,
    },
}

/// The verb.
pub fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    match arguments.subject {
        None => bench::run_target(workspace, "soak"),
        Some(Subject::Crash { rounds, seed }) => crash(workspace, rounds, seed),
    }
}

/// In the profile with the assertions: how fast the daemon is does not matter here.
fn crash(workspace: &Workspace, rounds: u32, seed: Option<u64>) -> Result<()> {
    let mut cargo = bench::rig(workspace, "crash", "dev");
    cargo
        .args(["--", "--rounds", &rounds.to_string()])
        .args(seed.map(|seed| format!("--seed={seed}")));
    process::run(&mut cargo)
}
