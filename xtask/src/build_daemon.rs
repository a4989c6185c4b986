//! `cargo xtask build`: the only file that is deployed, kernel half embedded.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;

use crate::setup::KernelCompiler;
use crate::workspace::Workspace;
use crate::{ebpf, process, setup};

/// Names the object that relay's build script embeds. Without the object the daemon has no kernel
/// half.
pub const KERNEL_OBJECT: &str = "RELAY_KERNEL_OBJECT";

#[derive(Args)]
pub struct Arguments {
    /// Build kernel programs that log each decision and each tag, for debugging them. A flood makes
    /// that log useless: not for production.
    #[arg(long)]
    kernel_log: bool,
}

/// The verb.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let build_object = if arguments.kernel_log { ebpf::build_with_log } else { ebpf::build };
    println!("build: {}", with_object_of(workspace, build_object)?.display());
    Ok(())
}

/// Builds the release daemon with its kernel half, and returns its path.
pub fn with_kernel_half(workspace: &Workspace) -> Result<PathBuf> {
    with_object_of(workspace, ebpf::build)
}

fn with_object_of(
    workspace: &Workspace,
    build_object: fn(&Workspace, &KernelCompiler) -> Result<PathBuf>,
) -> Result<PathBuf> {
    let machine = setup::prepare(workspace)?;
    let Some(compiler) = machine.kernel_compiler else {
        anyhow::bail!(
            "the kernel half cannot be built here; `cargo build --release -p relay` builds a \
             daemon without it, which classifies in user space"
        );
    };
    build(workspace, Some(&build_object(workspace, &compiler)?))?;
    Ok(workspace.daemon())
}

/// Builds the release daemon, with the kernel half if there is an object of it.
pub fn build(workspace: &Workspace, object: Option<&Path>) -> Result<()> {
    let mut cargo = process::cargo();
    cargo.args(["build", "--release", "--package", "relay"]).current_dir(workspace.root());
    match object {
        Some(object) => cargo.env(KERNEL_OBJECT, object),
        None => cargo.env_remove(KERNEL_OBJECT),
    };
    process::run(&mut cargo)?;
    ensure!(workspace.daemon().is_file(), "cargo did not create {}", workspace.daemon().display());
    Ok(())
}
