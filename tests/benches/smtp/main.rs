//! `cargo xtask bench smtp`: this daemon beside its peers, in one run on one machine.
//!
//! Every system is a relay from loopback to one sink, with its own durable default. The compared
//! figures are ratios within a run. The machine's own limits are beside them: the speed of the
//! disk's syncs, and of generator and sink without a relay between them. Systems alternate in each
//! workload, so that other load on the machine affects all of them.
//!
//! Arguments: `--quick`, and words of the names of the systems to measure; all by default.

mod cpus;
mod disk;
mod generator;
mod lone;
mod machine;
mod memory;
mod plan;
mod restart;
mod sink;
mod systems;
mod workload;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use relay_tests::benchmark::{Report, Standing, percentile, svg};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::plan::Plan;
use crate::sink::Sink;
use crate::systems::System;

/// Names the directory for `benchmark.md` and `benchmark.svg`.
const FOLDER: &str = "RELAY_BENCH_REPORT";

/// The state of a run: the systems that still take part, and the results so far.
struct Run {
    plan: Plan,
    scratch: PathBuf,
    sink: Sink,
    systems: Vec<Box<dyn System>>,
    report: Report,
    syncs: Vec<Duration>,
}

fn main() -> Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    let quick = words.iter().any(|word| word == "--quick");
    let wanted: Vec<&String> = words.iter().filter(|word| !word.starts_with("--")).collect();
    let _ = cpus::shares();
    raise_file_limit()?;
    let plan = if quick { plan::QUICK } else { plan::WHOLE };
    let scratch = scratch()?;
    let sink = Sink::start()?;
    let report = Report {
        machine: machine::describe(&scratch)?,
        method: plan.describe(),
        ..Report::default()
    };
    let mut run = Run { plan, scratch, sink, systems: Vec::new(), report, syncs: Vec::new() };
    run.find(&wanted);
    for &workload in run.plan.workloads {
        run.workload(workload)?;
    }
    lone::measure(&mut run);
    memory::measure(&mut run);
    restart::measure(&mut run);
    run.report.raw_sync = percentile(&run.syncs, 50);
    let document = run.report.markdown();
    println!("{document}");
    if let Some(folder) = env::var_os(FOLDER).map(PathBuf::from) {
        fs::write(folder.join("benchmark.md"), document)?;
        fs::write(folder.join("benchmark.svg"), svg(&run.report.table))?;
        println!("written: benchmark.md and benchmark.svg in {}", folder.display());
    }
    fs::remove_dir_all(&run.scratch)?;
    Ok(())
}

impl Run {
    /// The systems that take part: those that are selected and start.
    fn find(&mut self, wanted: &[&String]) {
        for found in systems::all() {
            let system = match found {
                Ok(system) => system,
                Err(why) => {
                    eprintln!("left out: {why}");
                    self.report.absent.push(why);
                    continue;
                }
            };
            let subject = system.subject();
            let is_wanted =
                |word: &&String| subject.name.to_lowercase().contains(&word.to_lowercase());
            if !wanted.is_empty() && !wanted.iter().any(is_wanted) {
                continue;
            }
            match self.tries(&*system) {
                Ok(()) => {
                    self.report.subjects.push(subject);
                    self.systems.push(system);
                }
                Err(error) => {
                    let name = subject.name;
                    eprintln!("left out: {name}: {error:#}");
                    let first = format!("{error:#}").replace('\n', " ");
                    self.report.absent.push(format!("{name} does not work here: {first}"));
                }
            }
        }
    }

    /// Does it start and relay one message?
    fn tries(&self, system: &dyn System) -> Result<()> {
        let folder = self.folder()?;
        let running =
            system.start(systems::Place { folder: &folder, next_hop: Some(self.sink.address) })?;
        workload::passes_one_on(&running, &self.sink)
    }

    /// An empty directory for a system, and a disk without pending writes.
    fn folder(&self) -> Result<PathBuf> {
        let folder = self.scratch.join("system");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        rustix::fs::sync();
        Ok(folder)
    }

    fn is_ours(system: &dyn System) -> bool {
        system.subject().standing == Standing::Ours
    }
}

/// A directory on the disk of the checkout: a queue in memory would prove nothing.
fn scratch() -> Result<PathBuf> {
    let folder =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("smtp-{}", std::process::id()));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// Thousands of sessions need as many open files, here and in the servers.
fn raise_file_limit() -> Result<()> {
    const FILES: u64 = 20_000;
    let limit = getrlimit(Resource::Nofile);
    let maximum = limit.maximum.map_or(FILES, |maximum| maximum.max(FILES));
    let wanted = Rlimit { current: Some(FILES), maximum: Some(maximum) };
    setrlimit(Resource::Nofile, wanted).context("cannot open as many files as sessions need")
}
