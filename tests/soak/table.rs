//! The printed table, with a verdict for each line that has one.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::honest::Ledger;
use super::strangers::{Counts, ENDLESS, Kind};
use super::{LATE, Memory, Plan, TOLERANCE};

/// The results of a run.
#[derive(Debug)]
pub struct Outcome {
    pub plan: Plan,
    pub honest: Ledger,
    pub memory: Memory,
    /// Of clients that connected after the attack, the number without a greeting.
    pub refused_afterwards: u64,
    pub counts: Counts,
    /// Octets that reached the victim of the reports.
    pub to_victim: Arc<AtomicU64>,
}

/// A line: name, value, and whether the value is as required.
struct Row {
    what: &'static str,
    value: String,
    holds: Option<bool>,
}

impl Outcome {
    /// Are all verdicts good?
    pub fn holds(&self) -> bool {
        self.rows().iter().all(|row| row.holds != Some(false))
    }

    fn rows(&self) -> Vec<Row> {
        let Ledger { accepted, refused, lost, late, slowest, median, newcomers, .. } = &self.honest;
        let none =
            |what, count: u64| Row { what, value: count.to_string(), holds: Some(count == 0) };
        let tell = |what, value: String| Row { what, value, holds: None };
        let mib = |octets: u64| format!("{:.1} MiB", octets as f64 / (1024.0 * 1024.0));
        let Memory { before, peak, after } = self.memory;
        let mut rows = vec![
            Row {
                what: "honest messages accepted",
                value: accepted.to_string(),
                holds: Some(*accepted > 0),
            },
            none("  refused", *refused),
            none("  lost", *lost),
            none("  more than 10 s under way", *late),
            tell("  median and slowest", format!("{median:.2?}, {slowest:.2?} (most {LATE:?})")),
            tell("newcomers at the strangers' connector", newcomers.tried.to_string()),
            none("  not greeted", newcomers.refused),
            none("  of 50 after the attack, not greeted", self.refused_afterwards),
            tell("private memory before the attack", mib(before)),
            tell("  at most", mib(peak)),
            Row {
                what: "  after it",
                value: format!("{} (at most {} more)", mib(after), mib(TOLERANCE)),
                holds: Some(after <= before + TOLERANCE),
            },
        ];
        for kind in &self.plan.kinds {
            rows.extend(self.attack(*kind));
        }
        rows
    }

    fn attack(&self, kind: Kind) -> Vec<Row> {
        let counts = &self.counts;
        let tell = |what, value: String| Row { what, value, holds: None };
        let of = |count: &AtomicU64| count.load(Relaxed);
        let number = |what, count: &AtomicU64| tell(what, of(count).to_string());
        // An attack that did not run proves nothing.
        let attacks = |what, count: &AtomicU64| Row {
            what,
            value: of(count).to_string(),
            holds: Some(of(count) > 0),
        };
        match kind {
            Kind::SilentHops => vec![
                attacks("messages whose bounces go to silent hops", &counts.silent_sent),
                number("  refused", &counts.silent_refused),
            ],
            Kind::Recipients => vec![
                attacks("sessions with 200 recipients", &counts.recipients_sessions),
                number("  recipients accepted", &counts.recipients_accepted),
                number("  refused", &counts.recipients_refused),
            ],
            Kind::Reports => vec![
                attacks("messages that ask for a report to a victim", &counts.reports_sent),
                number("  octets that reached the victim", &self.to_victim),
            ],
            Kind::Prefixes => vec![
                attacks("connections from 428 /64s of a /48", &counts.prefix_greeted),
                number("  refused", &counts.prefix_refused),
            ],
            Kind::Browser => vec![
                attacks("HTTP requests with a transaction", &counts.browser_requests),
                Row {
                    what: "  whose message was accepted",
                    value: of(&counts.browser_accepted).to_string(),
                    holds: Some(of(&counts.browser_accepted) == 0),
                },
            ],
            Kind::Endless => vec![
                attacks("lines, chunks and messages without an end", &counts.endless_ended),
                Row {
                    what: "  octets until cut off, at most",
                    value: of(&counts.endless_most).to_string(),
                    holds: Some(of(&counts.endless_most) < ENDLESS),
                },
            ],
            Kind::Large => vec![attacks("messages of 30 MB", &counts.large_sent)],
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.plan.kinds.iter().map(|kind| format!("{kind:?}")).collect();
        writeln!(f, "{:?} of {}", self.plan.attack, names.join(", "))?;
        for Row { what, value, holds } in self.rows() {
            let verdict = match holds {
                None => "",
                Some(true) => "holds",
                Some(false) => "FAILS",
            };
            writeln!(f, "{what:<44} {value:<36} {verdict}")?;
        }
        let firsts = [&self.honest.first_refusal, &self.honest.newcomers.first];
        for first in firsts.into_iter().flatten() {
            writeln!(f, "first refusal: {first}")?;
        }
        write!(f, "{}", if self.holds() { "passed" } else { "failed" })
    }
}
