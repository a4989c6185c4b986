//! A SYN flood against the real daemon, and its effect on the relay connector's sessions.
//!
//! Three namespaces: the edge host with the daemon and its next hop, the relay client, and the
//! attacker, each connected to the edge by its own veth pair. [`world`] builds them, [`forger`]
//! sends forged SYNs, [`client`] runs and times sessions. This file runs one row and collects all
//! counters. A row has its own namespaces and its own daemon, so every counter begins at zero.

pub mod client;
mod forger;
mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use relay::daemon::status::{ConnectorStatus, DaemonStatus};

use self::client::Sessions;
pub use self::forger::Flood;
pub use self::world::Cpus;
use self::world::World;

/// A client's longest wait, and so the longest time of a row beyond its window. It includes several
/// lost SYNs: the client sends each of them again after a second.
pub const PATIENCE: Duration = Duration::from_secs(15);
/// Duration of the flood before sessions are measured: by then the edge's queues are full.
const LEAD: Duration = Duration::from_millis(300);
/// The connector of the flood's sources.
pub const FRONTEND: &str = "Default Frontend";
/// The connector of the client.
pub const RELAY: &str = "SMTP Relay";
/// The connector of the flood's sources in rows that refuse them.
pub const REFUSED: &str = "Refused";

/// The size of a row.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Time during which sessions are begun and counted.
    pub window: Duration,
    /// SYNs that the attacker tries to send each second.
    pub syns_per_second: u32,
    /// Clients that run sessions at the same time, one after the other each.
    pub clients: usize,
}

/// The protection of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// None: the guard is on no interface.
    Absent,
    /// The guard, with a budget on the Default Frontend.
    Budget,
    /// The guard, with the flood's sources in a connector with `refuse`.
    Refuse,
}

/// The conditions of a row.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    /// Is there a flood?
    pub flood: bool,
    /// The protection.
    pub guard: Guard,
    /// `net.ipv4.tcp_syncookies`.
    pub syncookies: bool,
}

/// The results of a row.
#[derive(Debug)]
pub struct Outcome {
    /// The results of the attacker.
    pub flood: Flood,
    /// The results of the clients.
    pub sessions: Sessions,
    /// The counters of daemon and guard, after the row.
    pub status: DaemonStatus,
    /// SYNs that the kernel dropped at the listener, for any reason (`ListenDrops`).
    pub listen_drops: u64,
    /// `SyncookiesSent`.
    pub cookies_sent: u64,
    /// Messages that reached the next hop.
    pub arrived: usize,
    /// Busy share of the edge's CPU during the window, if it has its own CPU.
    pub edge_busy: Option<f64>,
}

/// Runs one row. Needs root.
pub fn run(plan: Plan, conditions: Conditions) -> Outcome {
    let world = World::build(conditions);
    let cpus = world.cpus();
    let done = AtomicBool::new(false);
    let (flood, sessions, edge_busy) = scope(|scope| {
        let flood = conditions.flood.then(|| {
            let limit = LEAD + plan.window + PATIENCE;
            let (world, done) = (&world, &done);
            scope.spawn(move || world.attack(plan.syns_per_second, limit, done))
        });
        sleep(LEAD);
        let before = cpus.map(|cpus| cpus.edge_ticks());
        let sessions = world.sessions(plan.window, plan.clients);
        let busy = cpus.zip(before).map(|(cpus, before)| cpus.edge_ticks().busy_since(before));
        done.store(true, Ordering::Relaxed);
        (flood.map(|flood| flood.join().unwrap()).unwrap_or_default(), sessions, busy)
    });
    let arrived = world.wait_for_messages(sessions.messages, PATIENCE);
    let [listen_drops, cookies_sent] = world.kernel_counters(["ListenDrops", "SyncookiesSent"]);
    let status = world.settled_status(Instant::now() + PATIENCE);
    world.end();
    Outcome { flood, sessions, status, listen_drops, cookies_sent, arrived, edge_busy }
}

impl Outcome {
    /// The counters of this connector.
    ///
    /// # Panics
    ///
    /// If the row has no such connector.
    pub fn connector(&self, name: &str) -> &ConnectorStatus {
        self.status.connectors.iter().find(|connector| connector.name == name).unwrap()
    }

    /// SYNs that the guard dropped, of all connectors and for all reasons.
    pub fn dropped(&self) -> u64 {
        let reasons = ["syn_refused", "syn_over_budget", "syn_over_source_budget"];
        let connectors = self.status.connectors.iter();
        connectors.flat_map(|connector| reasons.map(|reason| kernel(connector, reason))).sum()
    }
}

/// The programs' counters of a connector; zero without the kernel half.
pub fn kernel(connector: &ConnectorStatus, counter: &str) -> u64 {
    connector.kernel.get(counter).copied().unwrap_or_default()
}
