//! Targets of this daemon in comparison with its peers, as ratios within one run.

use super::{Lone, Report, Standing, Workload};

const KIB: usize = 1024;

/// One target, and its measured value.
#[derive(Clone, Debug)]
pub struct Target {
    /// The compared quantity.
    pub what: &'static str,
    /// The target, in words.
    pub wanted: &'static str,
    /// The measured value, in words.
    pub measured: String,
    /// `None` if it was not measured.
    pub met: Option<bool>,
}

/// Checks the targets against a run.
pub fn targets(report: &Report) -> Vec<Target> {
    let reused = Workload { sessions: 20, size: 4 * KIB, connect_each: false, deliver: false };
    let each = Workload { connect_each: true, ..reused };
    let factor = |what, wanted, workload, least: f64| {
        let ratio = report.table.ratio(workload);
        Target {
            what,
            wanted,
            measured: ratio.map_or_else(not_measured, |ratio| format!("{ratio:.2} times")),
            met: ratio.map(|ratio| ratio >= least),
        }
    };
    vec![
        factor("Accept, 20 sessions, a connection per message", "5 times the peer", each, 5.0),
        factor("Accept, 20 sessions, reused connections", "10 times the peer", reused, 10.0),
        factor(
            "Accept and deliver, 20 sessions, a connection per message",
            "5 times the peer",
            Workload { deliver: true, ..each },
            5.0,
        ),
        factor(
            "Accept and deliver, 20 sessions, reused connections",
            "5 times the peer",
            Workload { deliver: true, ..reused },
            5.0,
        ),
        lone_session(report),
        memory(report),
        factor("1 MiB", "the peer's MB/s", Workload { size: KIB * KIB, ..reused }, 1.0),
        factor(
            "20 MB",
            "the peer's MB/s",
            Workload { size: 20_000_000, sessions: 4, ..reused },
            1.0,
        ),
    ]
}

fn not_measured() -> String {
    "not measured".to_owned()
}

fn lone_session(report: &Report) -> Target {
    let ours = report.lone.iter().find(|lone| lone.standing == Standing::Ours);
    let ratio = ours.map(Lone::ratio);
    Target {
        what: "p50 of a single session",
        wanted: "1.5 times one sync of 4 KiB",
        measured: ratio.map_or_else(not_measured, |ratio| format!("{ratio:.2} times")),
        met: ratio.map(|ratio| ratio <= 1.5),
    }
}

fn memory(report: &Report) -> Target {
    let ours = report.subjects.iter().find(|subject| subject.standing == Standing::Ours);
    let each = ours
        .and_then(|ours| report.memory.iter().find(|memory| memory.name == ours.name))
        .and_then(|memory| {
            let (count, octets) = memory.sessions.last()?;
            let octets = *octets.as_ref().ok()?;
            Some(octets.saturating_sub(memory.idle) as f64 / *count as f64 / 1024.0)
        });
    Target {
        what: "Memory of an idle session",
        wanted: "16 KiB",
        measured: each.map_or_else(not_measured, |each| format!("{each:.1} KiB")),
        met: each.map(|each| each <= 16.0),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::table::tests::{WORKLOAD, table};
    use super::super::{Memory, Subject};
    use super::*;

    fn report(workload: Workload) -> Report {
        Report { table: table(workload), raw_sync: Duration::from_millis(1), ..Report::default() }
    }

    fn find(report: &Report, what: &str) -> Target {
        targets(report).into_iter().find(|target| target.what == what).expect("a target")
    }

    #[test]
    fn a_ratio_below_its_target_misses_it_and_an_absent_one_is_shown() {
        let report = report(WORKLOAD);
        let target = find(&report, "Accept, 20 sessions, reused connections");
        assert_eq!((target.met, target.measured.as_str()), (Some(false), "3.00 times"));
        assert_eq!(find(&report, "20 MB").met, None);
    }

    #[test]
    fn a_single_session_is_compared_with_alternating_turns_of_the_disk() {
        let lone = |name: &str, standing, wait| Lone {
            name: name.to_owned(),
            standing,
            sync: Duration::from_micros(200),
            wait: Duration::from_micros(wait),
        };
        let mut report = report(WORKLOAD);
        assert_eq!(find(&report, "p50 of a single session").met, None);
        report.lone =
            vec![lone("Peer", Standing::Durable, 100), lone("relay 0.1.0", Standing::Ours, 290)];
        let target = find(&report, "p50 of a single session");
        assert_eq!((target.met, target.measured.as_str()), (Some(true), "1.45 times"));
        report.lone[1].wait = Duration::from_micros(310);
        assert_eq!(find(&report, "p50 of a single session").met, Some(false));
    }

    #[test]
    fn the_memory_of_an_idle_session_is_the_increase_per_session() {
        let mut report = report(WORKLOAD);
        report.subjects.push(Subject {
            name: "relay 0.1.0".to_owned(),
            standing: Standing::Ours,
            acceptance: String::new(),
            settings: String::new(),
        });
        report.memory.push(Memory {
            name: "relay 0.1.0".to_owned(),
            idle: 1 << 20,
            sessions: vec![(500, Ok(1 << 22)), (5000, Ok((1 << 20) + 5000 * 17 * 1024))],
        });
        let target = find(&report, "Memory of an idle session");
        assert_eq!((target.met, target.measured.as_str()), (Some(false), "17.0 KiB"));
    }
}
