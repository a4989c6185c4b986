//! One workload: the limits, then each system in its turn.

use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use relay_tests::benchmark::{Cell, Standing, Workload, percentile};
use tokio::runtime::Builder;

use crate::generator::{self, Load, Outcome};
use crate::sink::{Patience, Sink};
use crate::systems::{Place, Running, System};
use crate::{Run, cpus, disk};

/// Longest time for a server to deliver the messages that it has accepted. Some need minutes for
/// messages that they accept in seconds, but their rate is known long before.
const DELIVERY: Patience =
    Patience { silence: Duration::from_secs(10), in_all: Duration::from_secs(12) };
/// Messages for each session before the measurement.
const WARM: usize = 2;
/// Syncs of the bare disk before each workload.
const SYNCS: usize = 300;

impl Run {
    /// Measures the workload and adds it to the report.
    pub fn workload(&mut self, workload: Workload) -> Result<()> {
        eprintln!("{workload}");
        let folder = self.folder()?;
        let syncs = disk::append_and_sync(&folder, SYNCS)?;
        self.add(workload, "one raw sync after the other", Standing::Limit, raw(&syncs));
        self.syncs.extend(syncs);
        let outcome = drive(self.load(workload, self.sink.address));
        let direct = cell(workload, &outcome, outcome.accepted, outcome.took);
        self.add(workload, "generator to sink", Standing::Limit, direct);
        for index in 0..self.systems.len() {
            let system = &*self.systems[index];
            let subject = system.subject();
            match self.measure(system, workload) {
                Ok(cell) => self.add(workload, &subject.name, subject.standing, cell),
                Err(error) => {
                    eprintln!("  {}: {error:#}", subject.name);
                    let first = format!("{error:#}").replace('\n', " ");
                    self.report.absent.push(format!("{}, {workload}: {first}", subject.name));
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, workload: Workload, name: &str, standing: Standing, cell: Cell) {
        eprintln!("  {name}: {:.0} messages/s, {} failed", cell.rate, cell.failed);
        self.report.table.add(workload, name, standing, cell);
    }

    fn load(&self, workload: Workload, server: SocketAddr) -> Load {
        let Workload { sessions, size, connect_each, .. } = workload;
        let messages = usize::MAX;
        Load { server, sessions, messages, time: self.plan.time, size, connect_each }
    }

    /// Starts the system for this workload alone, warms it up, and sends the workload.
    fn measure(&self, system: &dyn System, workload: Workload) -> Result<Cell> {
        let folder = self.folder()?;
        let next_hop = workload.deliver.then_some(self.sink.address);
        let running = system.start(Place { folder: &folder, next_hop })?;
        let before = self.sink.taken();
        let load = self.load(workload, running.address);
        let warm = drive(Load { messages: workload.sessions * WARM, ..load });
        if workload.deliver {
            self.sink.wait_for(before + warm.accepted, DELIVERY);
        }
        let before = self.sink.taken();
        let flushes = disk::flushes(&folder);
        let begun = Instant::now();
        let outcome = drive(load);
        let mut cell = if workload.deliver {
            let (missing, last) = self.sink.wait_for(before + outcome.accepted, DELIVERY);
            let delivered = outcome.accepted - missing;
            let cell = cell(workload, &outcome, delivered, last.duration_since(begun));
            Cell { missing, ..cell }
        } else {
            cell(workload, &outcome, outcome.accepted, outcome.took)
        };
        let since = |before| disk::flushes(&folder).map(|after| after.saturating_sub(before));
        let each = |count| count as f64 / outcome.accepted.max(1) as f64;
        cell.flushes = flushes.and_then(since).map(each);
        if let Some(failure) = &outcome.first_failure {
            eprintln!("  {} failed, the first: {failure}", outcome.failed);
        }
        drop(running);
        let _ = fs::remove_dir_all(&folder);
        Ok(cell)
    }
}

/// Sends one message and waits for it at the sink.
pub fn passes_one_on(running: &Running, sink: &Sink) -> Result<()> {
    let before = sink.taken();
    let load = Load {
        server: running.address,
        sessions: 1,
        messages: 1,
        time: DELIVERY.silence,
        size: 4096,
        connect_each: true,
    };
    let outcome = drive(load);
    let failure = outcome.first_failure.unwrap_or_default();
    ensure!(outcome.accepted == 1, "the server does not accept a message: {failure}");
    let (missing, _) = sink.wait_for(before + 1, DELIVERY);
    ensure!(missing == 0, "the server does not relay a message");
    Ok(())
}

/// Sends a load from a thread that is pinned to the CPU of generator and sink.
pub fn drive(load: Load) -> Outcome {
    let thread = std::thread::spawn(move || {
        cpus::of_the_world();
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(generator::run(load))
    });
    thread.join().expect("the generator does not panic")
}

fn cell(workload: Workload, outcome: &Outcome, count: usize, took: Duration) -> Cell {
    let rate = count as f64 / took.as_secs_f64().max(f64::EPSILON);
    Cell {
        rate,
        megabytes: rate * workload.size as f64 / 1e6,
        p50: percentile(&outcome.waits, 50),
        p99: percentile(&outcome.waits, 99),
        flushes: None,
        failed: outcome.failed,
        missing: 0,
    }
}

/// The disk, as if each sync of 4 KiB were a message, for any size of the workload.
fn raw(syncs: &[Duration]) -> Cell {
    let rate = syncs.len() as f64 / syncs.iter().sum::<Duration>().as_secs_f64();
    Cell {
        rate,
        megabytes: rate * 4096.0 / 1e6,
        p50: percentile(syncs, 50),
        p99: percentile(syncs, 99),
        ..Cell::default()
    }
}
