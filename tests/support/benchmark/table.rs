//! Figures by workload and server.

use std::time::Duration;

use super::{Standing, Workload};

/// The results of one server in one workload.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    /// Messages a second.
    pub rate: f64,
    /// Octets of messages, in millions a second.
    pub megabytes: f64,
    /// Median time from the end of data to its reply.
    pub p50: Duration,
    /// The same, exceeded by one in a hundred only.
    pub p99: Duration,
    /// Flushes of the disk's cache for each message, if the kernel counts them.
    pub flushes: Option<f64>,
    /// Messages that were not accepted.
    pub failed: usize,
    /// Accepted messages that did not reach the sink in time.
    pub missing: usize,
}

/// One server in one workload.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// The server's name.
    pub name: &'a str,
    /// The kind of its rows.
    pub standing: Standing,
    /// Its figures.
    pub cell: &'a Cell,
}

/// A server, the kind of its rows, and its figures.
type Entry = (String, Standing, Cell);

/// Servers in the order in which they were added, workloads likewise.
#[derive(Debug, Default)]
pub struct Table {
    entries: Vec<(Workload, Vec<Entry>)>,
}

impl Table {
    /// Adds a server's figures to a workload.
    pub fn add(&mut self, workload: Workload, name: &str, standing: Standing, cell: Cell) {
        let entry = (name.to_owned(), standing, cell);
        match self.entries.iter_mut().find(|(known, _)| *known == workload) {
            Some((_, entries)) => entries.push(entry),
            None => self.entries.push((workload, vec![entry])),
        }
    }

    /// All workloads.
    pub fn workloads(&self) -> impl Iterator<Item = Workload> {
        self.entries.iter().map(|(workload, _)| *workload)
    }

    /// The servers of one workload.
    pub fn rows(&self, workload: Workload) -> impl Iterator<Item = Row<'_>> {
        self.entries
            .iter()
            .filter(move |(known, _)| *known == workload)
            .flat_map(|(_, entries)| entries)
            .map(|(name, standing, cell)| Row { name, standing: *standing, cell })
    }

    /// This daemon in a workload.
    pub fn ours(&self, workload: Workload) -> Option<Row<'_>> {
        self.rows(workload).find(|row| row.standing == Standing::Ours)
    }

    /// The fastest of the peers whose 250 is durable. If a peer left messages undelivered or
    /// refused some, only its successful messages count.
    pub fn best_durable_peer(&self, workload: Workload) -> Option<Row<'_>> {
        self.rows(workload)
            .filter(|row| row.standing == Standing::Durable && row.cell.rate > 0.0)
            .max_by(|one, other| one.cell.rate.total_cmp(&other.cell.rate))
    }

    /// Our rate divided by that of the best durable peer.
    pub fn ratio(&self, workload: Workload) -> Option<f64> {
        Some(self.ours(workload)?.cell.rate / self.best_durable_peer(workload)?.cell.rate)
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    pub const WORKLOAD: Workload =
        Workload { sessions: 20, size: 4096, connect_each: false, deliver: false };

    /// Ours at 3000/s, a durable peer at 1000/s, a faster one that is not durable, and the limit.
    pub fn table(workload: Workload) -> Table {
        let mut table = Table::default();
        let cell = |rate| Cell {
            rate,
            megabytes: rate * 4.096e-3,
            p50: Duration::from_micros(1250),
            p99: Duration::from_millis(8),
            ..Cell::default()
        };
        table.add(workload, "generator to sink", Standing::Limit, cell(9000.0));
        table.add(workload, "relay 0.1.0", Standing::Ours, cell(3000.0));
        table.add(workload, "Slow", Standing::Durable, cell(200.0));
        table.add(workload, "Peer", Standing::Durable, cell(1000.0));
        table.add(workload, "Hasty", Standing::NotDurable, cell(5000.0));
        table
    }

    #[test]
    fn the_reference_is_the_fastest_durable_peer() {
        let table = table(WORKLOAD);
        assert_eq!(table.best_durable_peer(WORKLOAD).map(|row| row.name), Some("Peer"));
        assert_eq!(table.ratio(WORKLOAD), Some(3.0));
        let other = Workload { sessions: 1, ..WORKLOAD };
        assert_eq!(table.ratio(other), None);
    }

    #[test]
    fn a_peer_without_accepted_messages_is_no_reference() {
        let mut table = Table::default();
        table.add(WORKLOAD, "relay", Standing::Ours, Cell { rate: 1.0, ..Cell::default() });
        table.add(WORKLOAD, "Broken", Standing::Durable, Cell::default());
        assert_eq!(table.ratio(WORKLOAD), None);
    }
}
