//! A server that is stopped with messages in its queue and started again.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use relay_tests::benchmark::Restart;

use crate::Run;
use crate::generator::Load;
use crate::systems::{Place, System};
use crate::workload::drive;

/// Longest time for our own queue, which always has the planned size.
const OURS: Duration = Duration::from_secs(120);

/// Measures every system and adds it to the report.
pub fn measure(run: &mut Run) {
    for index in 0..run.systems.len() {
        let system = &*run.systems[index];
        let name = system.subject().name;
        eprintln!("restart: {name}");
        match of(run, system, &name) {
            Ok(restart) => run.report.restarts.push(restart),
            Err(error) => {
                eprintln!("  {error:#}");
                let first = format!("{error:#}").replace('\n', " ");
                run.report.absent.push(format!("{name}, restart: {first}"));
            }
        }
    }
}

fn of(run: &Run, system: &dyn System, name: &str) -> Result<Restart> {
    let folder = run.folder()?;
    let place = Place { folder: &folder, next_hop: None };
    let running = system.start(place)?;
    let time = if Run::is_ours(system) { OURS } else { run.plan.fill };
    let load = Load {
        server: running.address,
        sessions: 20,
        messages: run.plan.queue,
        time,
        size: 4096,
        connect_each: false,
    };
    let queue = drive(load).accepted;
    running.stop()?;
    let running = system.start(place)?;
    let greeted = Instant::now();
    let one = drive(Load { server: running.address, sessions: 1, messages: 1, ..load });
    ensure!(
        one.accepted == 1,
        "the server accepted no message: {}",
        one.first_failure.unwrap_or_default()
    );
    Ok(Restart {
        name: name.to_owned(),
        queue,
        greeting: running.greeted_after,
        message: running.greeted_after + greeted.elapsed(),
    })
}
