//! `cargo xtask bench`: measurements. Those of the kernel half need root.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;

use crate::build_daemon::{self, KERNEL_OBJECT};
use crate::workspace::Workspace;
use crate::{ebpf, process, setup};

/// What to measure.
#[derive(clap::Args)]
pub struct Arguments {
    #[arg(value_enum)]
    subject: Subject,
    /// For `smtp` only: a run of two minutes, to check that it works; writes nothing in docs/.
    #[arg(long)]
    quick: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Subject {
    /// Sessions of the relay connector while forged SYNs arrive, with and without the guard.
    Flood,
    /// Memory of idle sessions, and sessions of the relay connector while others drip.
    Idle,
    /// Nanoseconds per packet in the guard, and per tag read in the daemon.
    Kernel,
    /// The daemon's time for each session, with limits far above the load and without limits.
    Limits,
    /// Messages per second and more beside Postfix, Exim, OpenSMTPD and Haraka, each as a relay to
    /// the same sink. Writes docs/benchmark.md and docs/benchmark.svg.
    Smtp,
}

/// The verb.
pub fn run(workspace: &Workspace, arguments: Arguments) -> Result<()> {
    ensure!(
        !arguments.quick || matches!(arguments.subject, Subject::Smtp),
        "--quick goes with `bench smtp` only"
    );
    match arguments.subject {
        Subject::Flood => run_target(workspace, "flood"),
        Subject::Idle => process::run(&mut rig(workspace, "idle", "bench")),
        Subject::Kernel => run_target(workspace, "kernel"),
        Subject::Limits => process::run(&mut rig(workspace, "limits", "bench")),
        Subject::Smtp => smtp(workspace, arguments.quick),
    }
}

/// The command that runs one `[[bench]]` target of relay-tests, built in this profile.
pub fn rig(workspace: &Workspace, target: &str, profile: &str) -> Command {
    let mut cargo = process::cargo();
    cargo
        .args(["bench", "--profile", profile, "--package", "relay-tests", "--bench", target])
        .current_dir(workspace.root());
    cargo
}

/// The peers are unpacked, not installed, because their packages exclude each other. The daemon is
/// built without its kernel half, which no connection from loopback needs. The generator is built
/// with the same settings as the daemon, so that both share their dependencies.
fn smtp(workspace: &Workspace, quick: bool) -> Result<()> {
    ensure!(process::is_root(), "the peers run in separate namespaces: run this as root");
    build_daemon::build(workspace, None)?;
    let mut cargo = rig(workspace, "smtp", "release");
    cargo
        .envs(setup::peers::for_benchmark(workspace))
        .env("RELAY_BINARY", workspace.daemon())
        .env_remove(KERNEL_OBJECT);
    if quick {
        cargo.args(["--", "--quick"]);
    } else {
        cargo.env("RELAY_BENCH_REPORT", workspace.root().join("docs"));
    }
    process::run(&mut cargo)
}

/// Runs one `[[bench]]` target of relay-kernel-tests with the kernel half built in.
pub fn run_target(workspace: &Workspace, target: &str) -> Result<()> {
    ensure!(process::is_root(), "this loads programs into the kernel: run it as root");
    let machine = setup::prepare(workspace)?;
    let compiler = machine.kernel_compiler.context("the kernel half cannot be built here")?;
    let object = ebpf::build(workspace, &compiler)?;
    let mut cargo = process::cargo();
    cargo
        .args(["bench", "--package", "relay-kernel-tests", "--bench", target])
        .env(KERNEL_OBJECT, object)
        .current_dir(workspace.root());
    process::run(&mut cargo)
}
