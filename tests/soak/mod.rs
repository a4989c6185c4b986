//! Simultaneous attacks by strangers, beside the honest load of two relay connectors.
//!
//! A daemon in its own network namespace has the three connectors of the article: one for
//! strangers, one anonymous relay, one for an externally secured server. Clients of the last two
//! send numbered messages through a healthy smart host during the whole run. [`strangers`] has the
//! attacks. The run fails if an honest message was refused, lost or late, if a client without a
//! connection got no greeting, or if the daemon's memory did not shrink again.
//!
//! [`world`] builds all of it, [`names`] is its name server, [`honest`] the honest load, [`table`]
//! the printed table. `cargo xtask soak mixed` runs it for an hour.

#![expect(clippy::unwrap_used, reason = "a rig: every failure must end the run")]

mod honest;
mod names;
mod strangers;
mod table;
mod world;

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};

use self::honest::Honest;
use self::strangers::Counts;
pub use self::strangers::Kind;
pub use self::table::Outcome;
use self::world::World;

/// Longest time of an honest message from its first octet to the smart host.
const LATE: Duration = Duration::from_secs(10);
/// Duration of the honest load alone, before the attack and after it.
const ALONE: Duration = Duration::from_secs(5);
/// Time for the daemon to return memory after the attack.
const REST: Duration = Duration::from_secs(90);
/// Octets of private memory that the daemon may have in addition to those before the attack.
const TOLERANCE: u64 = 32 * 1024 * 1024;
/// Interval between two measurements of the daemon's memory.
const LOOK: Duration = Duration::from_millis(500);

/// The duration of the run, and its attacks.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Duration of the attack.
    pub attack: Duration,
    /// The attacks.
    pub kinds: Vec<Kind>,
}

/// Octets of the daemon's private memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    before: u64,
    peak: u64,
    after: u64,
}

/// Runs it. Calls `tell` with the state twice a minute.
pub fn run(plan: &Plan, tell: impl Fn(&str)) -> Outcome {
    world::raise_descriptor_limit();
    let world = World::build();
    let counts = Counts::default();
    let runtime = world.outside.enter(in_this_namespace).unwrap();
    let honest = Honest::begin(&world);
    let mut memory = Memory::default();
    sleep(ALONE);
    memory.before = world.memory();

    let attack = strangers::begin(&plan.kinds, &runtime, &counts);
    let end = Instant::now() + plan.attack;
    let mut next = Instant::now();
    let mut told = 0;
    while Instant::now() < end {
        memory.peak = memory.peak.max(world.memory());
        if Instant::now() >= next {
            next += Duration::from_secs(30);
            let left = end.saturating_duration_since(Instant::now()).as_secs();
            let mib = world.memory() / (1024 * 1024);
            tell(&format!("{left} s left, {mib} MiB, {}", honest.line()));
            let pressures = world.pressures();
            pressures.iter().skip(told).for_each(|line| tell(line));
            told = pressures.len();
        }
        sleep(LOOK);
    }
    // When dropped, its tasks and all their connections end.
    drop(attack);
    runtime.shutdown_timeout(Duration::from_secs(5));

    let deadline = Instant::now() + REST;
    loop {
        memory.after = world.memory();
        if memory.after <= memory.before + TOLERANCE || Instant::now() >= deadline {
            break;
        }
        sleep(LOOK);
    }
    sleep(ALONE);
    let honest = honest.end();
    let refused_afterwards = world.greetings_refused(50);
    let to_victim = Arc::clone(&world.to_victim);
    Outcome { plan: plan.clone(), honest, memory, refused_afterwards, counts, to_victim }
}

/// A runtime whose threads are in the namespace of this thread.
fn in_this_namespace() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}
