//! `cargo xtask guests`: runs the daemon in environments like those of a deployment: on Debian's
//! own kernels in guests, and under a real systemd in a container, by the shipped unit and by the
//! Debian package.
//!
//! A guest is an emulated machine with only the daemon. So a kernel takes seconds, and the machine
//! needs no virtualisation. It runs [`INIT`](boot) twice: with exactly the capabilities of
//! deploy/relay.service, and with all of root's. Downloads and built files stay in the target
//! directory.

mod boot;
mod container;
mod installation;
mod kernels;
mod restart;
mod unit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use self::boot::Guest;
use self::kernels::{SERIES, Series};
use self::unit::Unit;
use crate::build_daemon::KERNEL_OBJECT;
use crate::workspace::Workspace;
use crate::{ebpf, process, setup};

#[derive(Args)]
pub struct Arguments {
    /// Boot every kernel that Debian's suites offer, in addition to those of `cargo xtask test`.
    #[arg(long)]
    all: bool,
    /// Only these kernels, such as 6.1; may be given several times.
    #[arg(long)]
    kernel: Vec<String>,
    /// Use this daemon, such as target/release/relay, instead of the one for tests.
    #[arg(long, value_name = "PROGRAM")]
    daemon: Option<PathBuf>,
    /// Skip the kernels, and run only the container with systemd.
    #[arg(long, conflicts_with_all = ["all", "kernel", "no_container"])]
    no_kernels: bool,
    /// Skip the container with systemd.
    #[arg(long)]
    no_container: bool,
}

/// A run and its results.
struct Row {
    what: String,
    took: Duration,
    results: BTreeMap<String, String>,
}

/// The columns of the table: names of results, and their headings.
const COLUMNS: [(&str, &str); 5] = [
    ("unit", "the unit's capabilities"),
    ("all", "all of root's"),
    ("no-bpffs", "no bpffs"),
    ("cgroup-v1", "cgroup v1 only"),
    ("hybrid", "cgroup hybrid"),
];

/// The verb.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    // An existing daemon needs no tools to build one.
    let compiler = match arguments.daemon {
        Some(_) => None,
        None => setup::prepare(workspace)?.kernel_compiler,
    };
    let obstacles = obstacles();
    ensure!(obstacles.is_empty(), "guests cannot run here: {}", obstacles.join("; "));
    let wanted = |series: &&Series| match arguments.kernel.as_slice() {
        _ if arguments.no_kernels => false,
        [] => arguments.all || series.always,
        names => names.iter().any(|name| name == series.name),
    };
    let series: Vec<&Series> = SERIES.iter().filter(wanted).collect();
    ensure!(
        arguments.no_kernels || !series.is_empty(),
        "no such kernel; there are {}",
        kernels::names()
    );
    let daemon = match &arguments.daemon {
        Some(daemon) => daemon.clone(),
        None => {
            let compiler = compiler.context("the kernel half cannot be built here")?;
            debug_daemon(workspace, &ebpf::build(workspace, &compiler)?)?
        }
    };
    let not_played = play(workspace, &daemon, &series, !arguments.no_container)?;
    ensure!(not_played.is_empty(), "some guests could not run: {}", not_played.join("; "));
    println!("guests: all results are correct");
    Ok(())
}

/// The guests of `cargo xtask test`: two kernels and the unit under systemd. Returns what this
/// machine could not run, and why; that is not a fault of the daemon.
pub fn test(workspace: &Workspace, object: &Path) -> Result<Vec<String>> {
    let series: Vec<&Series> = SERIES.iter().filter(|series| series.always).collect();
    play(workspace, &debug_daemon(workspace, object)?, &series, true)
}

/// Why guests cannot run here.
pub fn obstacles() -> Vec<String> {
    let mut obstacles = Vec::new();
    if !process::is_root() {
        obstacles.push("we are not root".to_owned());
    }
    if !cfg!(target_arch = "x86_64") {
        obstacles.push("the kernels are for x86-64".to_owned());
    }
    for program in ["apt-get", "dpkg-deb"] {
        if process::find_program(program).is_none() {
            obstacles.push(format!("{program} was not found; the kernels are Debian packages"));
        }
    }
    for (program, package) in setup::GUEST_PROGRAMS {
        if process::find_program(program).is_none() {
            obstacles.push(format!("{program} was not found; install the package {package}"));
        }
    }
    obstacles
}

/// The daemon for tests, with the kernel half. It is built in the whole workspace, as tests are:
/// another choice of packages has other features and would build everything a second time.
fn debug_daemon(workspace: &Workspace, object: &Path) -> Result<PathBuf> {
    let mut cargo = process::cargo();
    cargo
        .args(["build", "--quiet", "--workspace", "--bin", "relay"])
        .current_dir(workspace.root())
        .env(KERNEL_OBJECT, object);
    process::run(&mut cargo)?;
    Ok(workspace.target().join("debug/relay"))
}

fn play(
    workspace: &Workspace,
    daemon: &Path,
    series: &[&Series],
    with_container: bool,
) -> Result<Vec<String>> {
    let folder = tempfile::tempdir()?;
    // Debug information is most of the file, and a guest has it in memory twice.
    let stripped = folder.path().join("relay");
    process::run(Command::new("strip").arg("-o").arg(&stripped).arg(daemon))?;
    let unit = Unit::read(&workspace.root().join("deploy/relay.service"))?;
    println!("guests: the unit has {}", unit.capabilities.join(" "));

    let mut not_played = Vec::new();
    let mut kernels = Vec::new();
    for series in series {
        match kernels::get(&workspace.guests(), series) {
            Ok(kernel) => kernels.push(kernel),
            Err(error) => {
                not_played.push(format!("there is no kernel {}: {error:#}", series.name));
            }
        }
    }
    let guest = Guest::assemble(folder.path(), &stripped, &unit)?;
    let mut rows = Vec::new();
    // Two at a time: emulation uses a whole processor.
    for pair in kernels.chunks(2) {
        let played: Vec<Result<Row>> = thread::scope(|scope| {
            let boots: Vec<_> = pair
                .iter()
                .map(|kernel| {
                    let guest = &guest;
                    scope.spawn(move || {
                        let start = Instant::now();
                        let results = guest.boot(kernel)?;
                        let what = format!("Linux {}", kernel.release);
                        Ok(Row { what, took: start.elapsed(), results })
                    })
                })
                .collect();
            boots
                .into_iter()
                .map(|boot| boot.join().unwrap_or_else(|_| bail!("a guest's thread panicked")))
                .collect()
        });
        for row in played {
            rows.push(row?);
        }
    }
    let mut faults = faults_of_kernels(&rows);
    print_table(&rows);
    if with_container {
        let start = Instant::now();
        match under_systemd(workspace, &stripped) {
            Ok(reports) => {
                println!("\nunder systemd ({:.0} s):", start.elapsed().as_secs_f64());
                for report in reports {
                    for line in &report.lines {
                        println!("  {line}");
                    }
                    faults.extend(report.faults);
                }
            }
            Err(error) => not_played.push(format!("there is no systemd: {error:#}")),
        }
    }
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    ensure!(faults.is_empty(), "{} results are wrong", faults.len());
    Ok(not_played)
}

/// Fails if the container cannot be created or does not boot; faults of the daemon are in the
/// report.
fn under_systemd(workspace: &Workspace, daemon: &Path) -> Result<[restart::Report; 2]> {
    let root = container::root_file_system(&workspace.guests())?;
    Ok([
        restart::under_systemd(workspace, &root, daemon)?,
        installation::play(workspace, &root, daemon)?,
    ])
}

/// A kernel that is too old must be reported as such; on every other kernel all results must be ok.
fn faults_of_kernels(rows: &[Row]) -> Vec<String> {
    let mut faults = Vec::new();
    for row in rows {
        for (name, about) in COLUMNS {
            match row.results.get(name) {
                Some(result) if result.starts_with("ok") => {}
                Some(result) => faults.push(format!("{}, {about}: {result}", row.what)),
                None => faults.push(format!("{}, {about}: the guest printed no result", row.what)),
            }
        }
    }
    faults
}

fn print_table(rows: &[Row]) {
    println!();
    for row in rows {
        println!("{} ({:.0} s)", row.what, row.took.as_secs_f64());
        for (name, about) in COLUMNS {
            let result = row.results.get(name).map_or("no result", String::as_str);
            println!("  {about:<26}{result}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_with_a_missing_or_wrong_result_is_a_fault() {
        let all = || COLUMNS.iter().map(|(name, _)| ((*name).to_owned(), "ok".to_owned()));
        let row = |results: BTreeMap<String, String>| Row {
            what: "Linux 6.1".to_owned(),
            took: Duration::ZERO,
            results,
        };
        assert!(faults_of_kernels(&[row(all().collect())]).is_empty());
        assert_eq!(faults_of_kernels(&[row(all().skip(1).collect())]).len(), 1);
        let mut one_fails: BTreeMap<_, _> = all().collect();
        one_fails.insert("unit".to_owned(), "FAIL no guard".to_owned());
        assert_eq!(
            faults_of_kernels(&[row(one_fails)]),
            ["Linux 6.1, the unit's capabilities: FAIL no guard"]
        );
    }
}
