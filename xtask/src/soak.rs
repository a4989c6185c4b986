//! `cargo xtask soak`: the long forms of tests that run briefly with the others.

use anyhow::{Result, ensure};

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
    /// Attack the daemon in every way at once, beside the honest load of two relay connectors.
    Mixed {
        /// How long the attack lasts.
        #[arg(long, default_value_t = 3600)]
        seconds: u64,
        /// These attacks only, such as `recipients`; a name that does not exist lists them.
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

/// In the profile with the assertions: how fast the daemon is does not matter here.
fn crash(workspace: &Workspace, rounds: u32, seed: Option<u64>) -> Result<()> {
    let mut cargo = bench::rig(workspace, "crash", "dev");
    cargo
        .args(["--", "--rounds", &rounds.to_string()])
        .args(seed.map(|seed| format!("--seed={seed}")));
    process::run(&mut cargo)
}

/// As it is released, since honest mail has deadlines. In network namespaces, which root may make.
fn mixed(workspace: &Workspace, seconds: u64, only: &[String]) -> Result<()> {
    ensure!(process::is_root(), "this makes network namespaces: be root");
    let mut cargo = bench::rig(workspace, "mixed", "bench");
    cargo.args(["--", "--seconds", &seconds.to_string()]);
    cargo.args(only.iter().map(|kind| format!("--only={kind}")));
    process::run(&mut cargo)
}
