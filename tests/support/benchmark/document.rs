//! The run as Markdown.

use std::fmt::Write as _;

use super::{Report, Row, Standing, Workload, milliseconds, targets};

impl Report {
    /// The whole document.
    pub fn markdown(&self) -> String {
        let mut text = "# Comparison with other mail servers\n\nWritten by `cargo xtask bench \
                        smtp`, from one run. \
             Compare rows of one run; measure on your own machine.\n\n"
            .to_owned();
        for line in &self.machine {
            let _ = writeln!(text, "- {line}");
        }
        text.push_str("\n![messages a second](benchmark.svg)\n");
        self.write_targets(&mut text);
        text.push_str(
            "\n## Measured servers\n| server | meaning of its 250 | settings that are not the \
             default |\n|---|---|---|\n",
        );
        for subject in &self.subjects {
            let super::Subject { name, acceptance, settings, .. } = subject;
            let _ = writeln!(text, "| {name} | {acceptance} | {settings} |");
        }
        text.push('\n');
        for line in &self.absent {
            let _ = writeln!(text, "- Not measured: {line}");
        }
        text.push_str("\n## Method\n");
        for line in &self.method {
            let _ = writeln!(text, "- {line}");
        }
        text.push_str("\n## Workloads\n");
        for workload in self.table.workloads() {
            self.write_workload(workload, &mut text);
        }
        self.write_lone(&mut text);
        self.write_memory(&mut text);
        self.write_restarts(&mut text);
        text
    }

    fn write_targets(&self, text: &mut String) {
        text.push_str(
            "\n## Targets\n\"The peer\" is the fastest server of a workload whose 250 is \
             durable.\n\n\
             | quantity | target | measured | met |\n|---|---|---|---|\n",
        );
        for target in targets(self) {
            let met = match target.met {
                Some(true) => "yes",
                Some(false) => "**no**",
                None => "?",
            };
            let super::Target { what, wanted, measured, .. } = target;
            let _ = writeln!(text, "| {what} | {wanted} | {measured} | {met} |");
        }
    }

    fn write_workload(&self, workload: Workload, text: &mut String) {
        let _ = writeln!(
            text,
            "\n### {workload}\n| | messages/s | MB/s | p50 ms | p99 ms | flushes for each message \
             | \
             of the best durable peer | of one raw sync after the other \
             |\n|---|--:|--:|--:|--:|--:|--:|--:|"
        );
        let peer = self.table.best_durable_peer(workload).map(|row| row.cell.rate);
        for row in self.table.rows(workload) {
            self.write_row(row, peer, text);
        }
    }

    fn write_row(&self, row: Row<'_>, peer: Option<f64>, text: &mut String) {
        let Row { name, standing, cell } = row;
        let server = standing != Standing::Limit;
        let beside = |other: Option<f64>| match other {
            Some(other) if server => format!("{:.2}", cell.rate / other),
            _ => String::new(),
        };
        let sync = (!self.raw_sync.is_zero()).then(|| 1.0 / self.raw_sync.as_secs_f64());
        let flushes =
            cell.flushes.filter(|_| server).map_or_else(String::new, |count| format!("{count:.2}"));
        let mut told = String::new();
        if cell.failed > 0 {
            let _ = write!(told, ", {} failed", cell.failed);
        }
        if cell.missing > 0 {
            let _ = write!(told, ", {} not delivered in time", cell.missing);
        }
        let _ = writeln!(
            text,
            "| {name}{told} | {} | {:.1} | {:.2} | {:.2} | {flushes} | {} | {} |",
            figure(cell.rate),
            cell.megabytes,
            milliseconds(cell.p50),
            milliseconds(cell.p99),
            beside(peer),
            beside(sync),
        );
    }

    fn write_lone(&self, text: &mut String) {
        if self.lone.is_empty() {
            return;
        }
        text.push_str(
            "\n## A single session, alternating with the disk\nMedians of short alternating \
             turns: 4 KiB appended and synced, and the time from the end of a message of 4 KiB to \
             its 250.\n\n\
             | | a sync, µs | a 250, µs | syncs per 250 |\n|---|--:|--:|--:|\n",
        );
        for lone in &self.lone {
            let _ = writeln!(
                text,
                "| {} | {:.0} | {:.0} | {:.2} |",
                lone.name,
                milliseconds(lone.sync) * 1e3,
                milliseconds(lone.wait) * 1e3,
                lone.ratio()
            );
        }
    }

    fn write_memory(&self, text: &mut String) {
        let Some(first) = self.memory.first() else { return };
        text.push_str(
            "\n## Memory\nThe proportional share (PSS) of all processes of a server, in MiB, and \
             the increase for each idle session, in KiB; without the kernel's memory.\n\n| | \
             without sessions |",
        );
        for (count, _) in &first.sessions {
            let _ = write!(text, " {count} | each |");
        }
        let columns = "--:|".repeat(1 + 2 * first.sessions.len());
        let _ = writeln!(text, "\n|---|{columns}");
        for memory in &self.memory {
            let mebibytes = |octets: u64| octets as f64 / 1024.0 / 1024.0;
            let _ = write!(text, "| {} | {:.1} |", memory.name, mebibytes(memory.idle));
            for (count, octets) in &memory.sessions {
                let _ = match octets {
                    Ok(octets) => {
                        let more = octets.saturating_sub(memory.idle) as f64;
                        let each = more / *count as f64 / 1024.0;
                        write!(text, " {:.1} | {each:.1} |", mebibytes(*octets))
                    }
                    Err(why) => write!(text, " {why} | |"),
                };
            }
            text.push('\n');
        }
    }

    fn write_restarts(&self, text: &mut String) {
        if self.restarts.is_empty() {
            return;
        }
        text.push_str(
            "\n## Restart with a queue\nStopped in order and started again: time from the start \
             to the greeting, and to the 250 of a new message.\n\n\
             | | messages of 4 KiB in the queue | greeting, ms | 250, ms |\n|---|--:|--:|--:|\n",
        );
        for restart in &self.restarts {
            let _ = writeln!(
                text,
                "| {} | {} | {:.0} | {:.0} |",
                restart.name,
                restart.queue,
                milliseconds(restart.greeting),
                milliseconds(restart.message)
            );
        }
    }
}

/// With one digit after the point if the number is below 20.
pub fn figure(value: f64) -> String {
    if value < 20.0 { format!("{value:.1}") } else { format!("{value:.0}") }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::table::tests::{WORKLOAD, table};
    use super::super::{Lone, Memory, Restart};
    use super::*;

    #[test]
    fn a_row_shows_both_ratios_and_a_limit_shows_none() {
        let report = Report {
            table: table(WORKLOAD),
            raw_sync: Duration::from_millis(2),
            ..Report::default()
        };
        let text = report.markdown();
        assert!(
            text.contains("| relay 0.1.0 | 3000 | 12.3 | 1.25 | 8.00 |  | 3.00 | 6.00 |"),
            "{text}"
        );
        assert!(
            text.contains("| generator to sink | 9000 | 36.9 | 1.25 | 8.00 |  |  |  |"),
            "{text}"
        );
    }

    #[test]
    fn a_row_shows_failed_and_missing_messages() {
        let mut report = Report::default();
        let cell = super::super::Cell { rate: 2.0, failed: 3, missing: 4, ..Default::default() };
        report.table.add(WORKLOAD, "Peer", Standing::Durable, cell);
        assert!(report.markdown().contains("| Peer, 3 failed, 4 not delivered in time | 2.0 |"));
    }

    #[test]
    fn single_sessions_memory_and_restarts_have_rows_and_reasons() {
        let report = Report {
            lone: vec![Lone {
                name: "Peer".to_owned(),
                standing: Standing::Durable,
                sync: Duration::from_micros(200),
                wait: Duration::from_micros(500),
            }],
            memory: vec![Memory {
                name: "Peer".to_owned(),
                idle: 10 << 20,
                sessions: vec![(500, Ok(20 << 20)), (5000, Err("a process each".to_owned()))],
            }],
            restarts: vec![Restart {
                name: "Peer".to_owned(),
                queue: 1000,
                greeting: Duration::from_millis(300),
                message: Duration::from_millis(450),
            }],
            ..Report::default()
        };
        let text = report.markdown();
        assert!(text.contains("| Peer | 200 | 500 | 2.50 |"), "{text}");
        assert!(text.contains("| Peer | 10.0 | 20.0 | 20.5 | a process each | |"), "{text}");
        assert!(text.contains("| Peer | 1000 | 300 | 450 |"), "{text}");
    }
}
