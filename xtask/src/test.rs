//! `cargo xtask test`: all checks in one command; `.ci/run` calls exactly this.
//!
//! Every step runs even if an earlier one failed, so that one run shows all faults. The tests run
//! last, so their own last lines are the end of the output, followed only by the table of the steps and
//! the verdict.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::build_daemon::KERNEL_OBJECT;
use crate::setup::{self, KernelCompiler, Machine};
use crate::workspace::Workspace;
use crate::{crates, ebpf, guests, process, tidy};

/// If set, a missing requirement of a kernel test is a failure instead of a skipped test.
const REQUIRE_KERNEL: &str = "RELAY_REQUIRE_KERNEL";
/// Names the directory where tests find Postfix's `smtp-source` and `smtp-sink`.
const POSTFIX: &str = "RELAY_POSTFIX";
/// Names the directory where tests find Exim.
const EXIM: &str = "RELAY_EXIM";
/// The same name as in `tests/relay/content/corpora.rs`.
const PYTHON_TESTS: &str = "RELAY_PYTHON_TESTS";

/// The verb.
pub fn run(workspace: &Workspace) -> Result<()> {
    let mut steps = Steps::default();
    let mut machine = None;
    steps.run("setup", || {
        machine = Some(setup::prepare(workspace)?);
        Ok(())
    });
    let machine = machine.context("setup failed; nothing was tested")?;

    steps.run("format", || format(workspace));
    steps.run("tidy", || tidy::run(workspace));
    steps.run("crates", || crates::check(workspace));
    if let Some(program) = &machine.cargo_deny {
        steps.run("licences", || licences(workspace, program));
    } else {
        println!("test: THE LICENCES OF THE DEPENDENCIES WERE NOT CHECKED: no cargo-deny");
    }
    let mut object = None;
    if let Some(compiler) = &machine.kernel_compiler {
        steps.run("kernel half", || {
            object = Some(ebpf::build(workspace, compiler)?);
            Ok(())
        });
        steps.run("clippy, kernel half", || kernel_clippy(workspace, compiler));
    }
    steps.run("clippy", || clippy(workspace, object.as_deref()));

    steps.run("documentation", || documentation(workspace, object.as_deref()));

    let obstacles = kernel_obstacles(&machine, object.as_deref());
    for obstacle in &obstacles {
        println!("test: NOT ALL KERNEL TESTS CAN RUN: {obstacle}");
    }
    let mut obstacles_of_guests = guests::obstacles();
    obstacles_of_guests
        .extend(object.is_none().then(|| "the kernel half was not built".to_owned()));
    for obstacle in &obstacles_of_guests {
        println!("test: THE GUESTS CANNOT RUN: {obstacle}");
    }
    let mut tests = tests(workspace, &machine, object.clone(), obstacles.is_empty());
    steps.run("tests", || process::run(&mut tests));
    // After the tests, which build the daemon for the guests.
    if let Some(object) = object.filter(|_| obstacles_of_guests.is_empty()) {
        steps.run("guests", || {
            obstacles_of_guests = guests::test(workspace, &object)?;
            Ok(())
        });
        for obstacle in &obstacles_of_guests {
            println!("test: NOT ALL GUESTS CAN RUN: {obstacle}");
        }
    }
    steps.verdict(&obstacles, &obstacles_of_guests)
}

fn format(workspace: &Workspace) -> Result<()> {
    let root = workspace.root();
    process::run(process::cargo().args(["fmt", "--all", "--check"]).current_dir(root))?;
    // Neither is a member of the workspace.
    for manifest in [workspace.kernel_manifest(), root.join("fuzz/Cargo.toml")] {
        process::run(process::cargo().args(["fmt", "--check", "--manifest-path"]).arg(manifest))?;
    }
    Ok(())
}

fn clippy(workspace: &Workspace, object: Option<&Path>) -> Result<()> {
    let mut command = process::cargo();
    command
        .args(["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])
        .current_dir(workspace.root());
    process::run(with_object(&mut command, object))
}

/// Licences, sources and forbidden crates of the three workspaces, by `deny.toml`. Not the advisories:
/// they change from day to day, and their database is outside the package registries. Warnings are
/// not printed: two versions of a crate are no fault of ours.
fn licences(workspace: &Workspace, program: &Path) -> Result<()> {
    let root = workspace.root();
    let manifests =
        [root.join("Cargo.toml"), workspace.kernel_manifest(), root.join("fuzz/Cargo.toml")];
    for manifest in manifests {
        let mut deny = process::outside_cargo(program);
        deny.arg("--manifest-path").arg(manifest).args(["--log-level", "error", "check"]);
        deny.args(["licenses", "bans", "sources"]);
        process::run(&mut deny)?;
    }
    Ok(())
}

/// Comments link only to items that exist. Links to private items are allowed: their documentation is
/// built too.
fn documentation(workspace: &Workspace, object: Option<&Path>) -> Result<()> {
    let mut command = process::cargo();
    command
        .args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"])
        .env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private-intra-doc-links")
        .current_dir(workspace.root());
    process::run(with_object(&mut command, object))
}

fn kernel_clippy(workspace: &Workspace, compiler: &KernelCompiler) -> Result<()> {
    let Some(driver) = &compiler.clippy else {
        println!("test: the kernel half's compiler comes without clippy; its lints are not run");
        return Ok(());
    };
    let mut command = ebpf::cargo(workspace, compiler, "check")?;
    command
        .args(["--quiet", "--release"])
        .env("RUSTC_WORKSPACE_WRAPPER", driver)
        .env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
    process::run(&mut command)
}

fn tests(
    workspace: &Workspace,
    machine: &Machine,
    object: Option<PathBuf>,
    require_kernel: bool,
) -> Command {
    let mut command = process::cargo();
    command.args(["test", "--workspace", "--no-fail-fast"]).current_dir(workspace.root());
    with_object(&mut command, object.as_deref());
    if require_kernel {
        command.env(REQUIRE_KERNEL, "1");
    } else {
        command.env_remove(REQUIRE_KERNEL);
    }
    if let Some(postfix) = &machine.postfix {
        command.env(POSTFIX, postfix);
    }
    if let Some(tests) = &machine.python_tests {
        command.env(PYTHON_TESTS, tests);
    }
    if let Some(exim) = &machine.exim {
        command.env(EXIM, exim);
    }
    command
}

fn with_object<'command>(
    command: &'command mut Command,
    object: Option<&Path>,
) -> &'command mut Command {
    match object {
        Some(object) => command.env(KERNEL_OBJECT, object),
        None => command.env_remove(KERNEL_OBJECT),
    }
}

/// Why kernel tests cannot run here. If empty, they must run, and a test that skips itself fails.
fn kernel_obstacles(machine: &Machine, object: Option<&Path>) -> Vec<String> {
    let mut obstacles = Vec::new();
    if !process::is_root() {
        obstacles.push("this process is not root".to_owned());
    } else {
        if let Err(error) = may_load_programs() {
            obstacles.push(format!("this machine does not allow BPF: {error:#}"));
        }
        if let Err(error) = may_make_namespaces() {
            obstacles.push(format!("this machine does not allow network namespaces: {error:#}"));
        }
    }
    if object.is_none() {
        obstacles.push("the kernel half was not built".to_owned());
    }
    obstacles.extend(machine.missing.iter().cloned());
    obstacles
}

fn may_load_programs() -> Result<()> {
    let bpftool = process::find_program("bpftool").context("bpftool was not found")?;
    process::output(Command::new(bpftool).args(["prog", "show"])).map(drop)
}

fn may_make_namespaces() -> Result<()> {
    let ip = process::find_program("ip").context("ip was not found")?;
    let name = format!("relay-{}-probe", std::process::id());
    process::output(Command::new(&ip).args(["netns", "add", &name]))?;
    process::output(Command::new(&ip).args(["netns", "delete", &name])).map(drop)
}

/// Steps that ran, their duration, and their result.
#[derive(Default)]
struct Steps {
    done: Vec<Step>,
}

struct Step {
    name: &'static str,
    took: Duration,
    failure: Option<String>,
}

impl Steps {
    fn run(&mut self, name: &'static str, work: impl FnOnce() -> Result<()>) {
        println!("\n== {name}");
        let start = Instant::now();
        let failure = work().err().map(|error| format!("{error:#}"));
        if let Some(failure) = &failure {
            eprintln!("test: {name} FAILED: {failure}");
        }
        self.done.push(Step { name, took: start.elapsed(), failure });
    }

    fn print(&self) {
        println!();
        for step in &self.done {
            let verdict = if step.failure.is_some() { "FAILED" } else { "ok" };
            println!("{:<20} {:>7.1} s  {verdict}", step.name, step.took.as_secs_f64());
        }
    }

    fn verdict(&self, obstacles: &[String], of_guests: &[String]) -> Result<()> {
        self.print();
        let failed: Vec<&str> =
            self.done.iter().filter(|step| step.failure.is_some()).map(|step| step.name).collect();
        let took: Duration = self.done.iter().map(|step| step.took).sum();
        let kernel = if obstacles.is_empty() {
            "kernel tests ran".to_owned()
        } else {
            format!("KERNEL TESTS WERE SKIPPED, see SKIPPED above: {}", obstacles.join("; "))
        };
        if !failed.is_empty() {
            bail!("failed: {}", failed.join(", "));
        }
        let guests = if of_guests.is_empty() {
            "guests ran".to_owned()
        } else {
            format!("NOT ALL GUESTS WERE PLAYED: {}", of_guests.join("; "))
        };
        let steps = self.done.len();
        println!("test: all {steps} steps passed in {:.0} s; {kernel}; {guests}", took.as_secs());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_does_not_stop_the_next_but_fails_the_run() {
        let mut steps = Steps::default();
        let mut second_ran = false;
        steps.run("first", || bail!("broken"));
        steps.run("second", || {
            second_ran = true;
            Ok(())
        });
        assert!(second_ran);
        let error = steps.verdict(&[], &[]).expect_err("the first step failed").to_string();
        assert_eq!(error, "failed: first");
    }

    #[test]
    fn a_run_passes_if_all_steps_pass() {
        let mut steps = Steps::default();
        steps.run("only", || Ok(()));
        assert!(steps.verdict(&["not root".to_owned()], &["no qemu".to_owned()]).is_ok());
    }
}
