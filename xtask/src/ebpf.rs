//! `cargo xtask ebpf`: compiles the kernel half with its own compiler, lock file and target
//! directory. This file sets the compiler's flags; `relay-ebpf` sets its own sources and features.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process;
use crate::setup::{self, KernelCompiler, TARGET, Toolchain};
use crate::workspace::Workspace;

/// Compiler flags of the kernel half. Debug information becomes the BTF of maps and programs, from
/// which bpftool prints field names; `v3` has the atomic operations that counters use.
const RUSTFLAGS: [&str; 4] =
    ["-Cdebuginfo=2", "-Clinker=bpf-linker", "-Clink-arg=--btf", "-Ctarget-cpu=v3"];

/// The verb.
pub fn run(workspace: &Workspace) -> Result<()> {
    let machine = setup::prepare(workspace)?;
    let compiler = machine.kernel_compiler.context("the kernel half cannot be built here")?;
    println!("{}", build(workspace, &compiler)?.display());
    Ok(())
}

/// Builds the object and returns its absolute path.
pub fn build(workspace: &Workspace, compiler: &KernelCompiler) -> Result<PathBuf> {
    compile(workspace, cargo(workspace, compiler, "build")?)
}

/// Builds the object whose programs log each decision and each tag, for debugging them.
pub fn build_with_log(workspace: &Workspace, compiler: &KernelCompiler) -> Result<PathBuf> {
    let mut command = cargo(workspace, compiler, "build")?;
    command.args(["--features", "log"]);
    compile(workspace, command)
}

fn compile(workspace: &Workspace, mut cargo: Command) -> Result<PathBuf> {
    process::run(cargo.arg("--release"))?;
    let object = target(workspace).join(TARGET).join("release/relay-ebpf");
    ensure!(object.is_file(), "the build created no object at {}", object.display());
    Ok(object)
}

/// A cargo command for the kernel half: with its compiler and flags, and none of the workspace's.
pub fn cargo(workspace: &Workspace, compiler: &KernelCompiler, verb: &str) -> Result<Command> {
    let linker_folder = compiler.linker.parent().context("bpf-linker has no parent directory")?;
    // The directory of the compiler that runs, whose LLVM bpf-linker uses: bpf-linker searches
    // `../lib` of each directory of PATH, in order.
    let host = match &compiler.toolchain {
        Toolchain::DebianPrebuilt { .. } => setup::sysroot(Path::new("rustc"))?,
        Toolchain::NightlyBuildStd { rustc } => setup::sysroot(rustc)?,
    };
    let mut command = process::outside_cargo("cargo");
    command
        .arg(verb)
        .args(["--target", TARGET, "--manifest-path"])
        .arg(workspace.kernel_manifest())
        .arg("--target-dir")
        .arg(target(workspace))
        .env("PATH", process::path_with(&[&host.join("bin"), linker_folder])?)
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"))
        .current_dir(workspace.root());
    match &compiler.toolchain {
        Toolchain::DebianPrebuilt { rustc } => {
            // aya-ebpf uses inline assembly for BPF, which no stable compiler allows yet.
            command.env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "1");
        }
        Toolchain::NightlyBuildStd { rustc } => {
            command.env("RUSTC", rustc).arg("-Zbuild-std=core");
        }
    }
    Ok(command)
}

/// Separate from the workspace's target directory: the two compilers would wait for each other's
/// lock.
fn target(workspace: &Workspace) -> PathBuf {
    workspace.target().join("ebpf")
}
