//! The report of `cargo xtask bench smtp`: input are figures, output are a document and a chart.
//! This module decides their form, which peer is the reference, and which targets are met. It
//! measures nothing.

mod document;
mod plot;
mod table;
mod targets;

use std::fmt;
use std::time::Duration;

pub use self::plot::svg;
pub use self::table::{Cell, Row, Table};
pub use self::targets::{Target, targets};

const KIB: usize = 1024;

/// The messages and sessions of a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Sessions at a time.
    pub sessions: usize,
    /// Octets of one message, about.
    pub size: usize,
    /// A new connection for each message; otherwise a session sends one message after the other.
    pub connect_each: bool,
    /// The time runs until the sink has all messages; otherwise until the last 250, and nothing is
    /// delivered meanwhile.
    pub deliver: bool,
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.deliver { "Accept and deliver" } else { "Accept" };
        let sessions = if self.sessions == 1 { "session" } else { "sessions" };
        let connections =
            if self.connect_each { "a connection per message" } else { "reused connections" };
        let size = match self.size {
            size if size % (KIB * KIB) == 0 => format!("{} MiB", size / KIB / KIB),
            size if size % 1_000_000 == 0 => format!("{} MB", size / 1_000_000),
            size => format!("{} KiB", size / KIB),
        };
        write!(f, "{what}: {} {sessions}, {size}, {connections}", self.sessions)
    }
}

/// The kind of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This daemon.
    Ours,
    /// A server whose 250 means that the message was synced.
    Durable,
    /// A server whose 250 guarantees less. It is shown, but no target uses it.
    NotDurable,
    /// No server: the machine's own speed.
    Limit,
}

/// A server and its settings.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name and version.
    pub name: String,
    /// The kind of its rows.
    pub standing: Standing,
    /// The meaning of its 250.
    pub acceptance: String,
    /// Its settings that are not the default.
    pub settings: String,
}

/// Memory of all processes of a server: its proportional share (PSS), in octets.
#[derive(Clone, Debug)]
pub struct Memory {
    /// The server's name.
    pub name: String,
    /// Without sessions.
    pub idle: u64,
    /// With this many sessions that have sent EHLO; or why there is no figure.
    pub sessions: Vec<(usize, Result<u64, String>)>,
}

/// The medians of a single session and of the bare disk, which alternated.
#[derive(Clone, Debug)]
pub struct Lone {
    /// The server's name.
    pub name: String,
    /// The kind of its rows.
    pub standing: Standing,
    /// 4 KiB appended and synced.
    pub sync: Duration,
    /// Time from the end of a message of 4 KiB to its reply.
    pub wait: Duration,
}

impl Lone {
    /// The time of a message in units of one sync.
    pub fn ratio(&self) -> f64 {
        self.wait.as_secs_f64() / self.sync.as_secs_f64().max(f64::EPSILON)
    }
}

/// A restart with a queue.
#[derive(Clone, Debug)]
pub struct Restart {
    /// The server's name.
    pub name: String,
    /// Messages of 4 KiB that were in the queue.
    pub queue: usize,
    /// Time from its start to its greeting.
    pub greeting: Duration,
    /// Time from its start to the 250 of a new message.
    pub message: Duration,
}

/// A whole run.
#[derive(Debug, Default)]
pub struct Report {
    /// The machine, a line each.
    pub machine: Vec<String>,
    /// How it was measured, a line each.
    pub method: Vec<String>,
    /// The measured servers.
    pub subjects: Vec<Subject>,
    /// Servers that could not be measured, and why.
    pub absent: Vec<String>,
    /// The workloads.
    pub table: Table,
    /// The median of 4 KiB appended and synced, over the whole run.
    pub raw_sync: Duration,
    /// Single sessions, in the order of the subjects.
    pub lone: Vec<Lone>,
    /// Memory, in the order of the subjects.
    pub memory: Vec<Memory>,
    /// Restarts, in the order of the subjects.
    pub restarts: Vec<Restart>,
}

/// The percentile of times; zero if there are none.
pub fn percentile(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let place = (times.len() * percent).div_ceil(100).saturating_sub(1);
    times.get(place).copied().unwrap_or_default()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_one_of_the_measured_times() {
        let times: Vec<_> = (1..=200).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times, 100), Duration::from_millis(200));
        assert_eq!(percentile(&times[..1], 50), Duration::from_millis(200));
        assert_eq!(percentile(&[], 99), Duration::ZERO);
    }

    #[test]
    fn a_workload_has_a_title() {
        let workload =
            Workload { sessions: 20, size: 4 * KIB, connect_each: false, deliver: false };
        assert_eq!(workload.to_string(), "Accept: 20 sessions, 4 KiB, reused connections");
        let large = Workload { sessions: 1, size: 20_000_000, connect_each: true, deliver: true };
        assert_eq!(
            large.to_string(),
            "Accept and deliver: 1 session, 20 MB, a connection per message"
        );
        assert!(Workload { size: KIB * KIB, ..workload }.to_string().contains(" 1 MiB,"));
    }
}
