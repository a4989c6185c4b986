//! Are the records whole? "Nothing is known of it" is a no only where whatever came would be in the
//! log or in the queue. Else the answer is that it cannot be said, and why.

use std::io;
use std::time::SystemTime;

use relay_config::Places;
use relay_tracking::ending::{self, EndingKind, MessageEnding};
use relay_tracking::line::{TrackingLine, What, moment};
use relay_tracking::query::Criteria;
use relay_tracking::timeline;

use relay::control::{self, ControlRequest};
use relay::daemon::status::DaemonStatus;

use super::{NONE, Waiting};
use crate::cli::Console;

/// What is missing in the records of the time that is searched.
#[derive(Default)]
pub(super) struct Records {
    /// Gaps of the log.
    pub(super) gaps: Vec<TrackingLine>,
    /// Why what waits is not known.
    pub(super) queue: Option<String>,
    /// Refusals that are not in the log one by one.
    pub(super) suppressed: u64,
    /// What the running daemon says of itself.
    pub(super) status: Option<DaemonStatus>,
}

impl Records {
    /// What the places that were searched could not have.
    pub(super) fn of(places: &Places, waiting: &Waiting<'_>) -> Self {
        let mut records = Self::default();
        match waiting {
            Waiting::Daemon(_) => {
                // A daemon of before does not know the question; its log is some milliseconds behind.
                let written = control::ask(&places.socket, &ControlRequest::TrackingLogWritten);
                if written.is_ok_and(|written| written == false) {
                    let because = "the daemon has not written what has happened just now";
                    records.add(moment(SystemTime::now()), because.to_owned());
                }
                let answer = control::ask(&places.socket, &ControlRequest::Status);
                match answer.map(serde_json::from_value::<DaemonStatus>) {
                    Ok(Ok(status)) => records.status = Some(status),
                    Ok(Err(error)) => records.queue = Some(error.to_string()),
                    Err(error) => records.queue = Some(error.to_string()),
                }
            }
            Waiting::Stopped(_) => {}
            Waiting::Unknown(why) => records.queue = Some(why.clone()),
        }
        let ending = match ending::of(&places.tracking) {
            Ok(ending) => ending,
            // Told of once, by whoever reads the lines.
            Err(_) => return records,
        };
        if let Some((since, because)) = records.missing_at_the_end(places, waiting, ending) {
            records.add(since, because);
        }
        records
    }

    /// Since when the log lacks what has happened up to now, and why.
    fn missing_at_the_end(
        &self,
        places: &Places,
        waiting: &Waiting<'_>,
        ending: Option<MessageEnding>,
    ) -> Option<(String, String)> {
        let Some(ending) = ending else {
            let because = if places.tracking_enabled { "it has no files" } else { OFF };
            return Some((moment(SystemTime::UNIX_EPOCH), because.to_owned()));
        };
        let MessageEnding { time, kind } = ending;
        if kind == EndingKind::Off || !places.tracking_enabled {
            return Some((time, OFF.to_owned()));
        }
        if let Some(status) = &self.status {
            let Some(log) = &status.message_tracking_log else {
                return Some((time, "the daemon has no thread to write it".to_owned()));
            };
            return match (&log.gap, &log.problem) {
                _ if !log.enabled => Some((time, OFF.to_owned())),
                _ if log.path != places.tracking => {
                    let path = log.path.display();
                    Some((time, format!("the running daemon writes it to {path}")))
                }
                (Some(gap), problem) => {
                    let because = problem.as_ref().unwrap_or(&gap.because);
                    Some((gap.since.clone(), because.clone()))
                }
                (None, Some(problem)) => Some((time, problem.clone())),
                (None, None) => None,
            };
        }
        let is_stopped = matches!(waiting, Waiting::Stopped(_));
        (is_stopped && kind == EndingKind::Open).then(|| (time, KILLED.to_owned()))
    }

    /// The log cannot be read.
    pub(super) fn unreadable(&mut self, places: &Places, error: &io::Error) {
        let because = format!("cannot read {}: {error}", places.tracking.display());
        self.add(moment(SystemTime::UNIX_EPOCH), because);
    }

    /// What is searched begins, or lies as a whole, before the log does.
    pub(super) fn begin_later(&mut self, criteria: &Criteria, begin: Option<&str>) {
        let since = criteria.since.as_deref().or(criteria.until.as_deref());
        if let Some((since, begin)) = since.zip(begin).filter(|(since, begin)| since < begin) {
            self.gaps.push(gap(since.to_owned(), begin.to_owned(), BEGINS.to_owned()));
        }
    }

    fn add(&mut self, since: String, because: String) {
        self.gaps.push(gap(since, moment(SystemTime::now()), because));
    }

    /// Leaves out what is not about the time that is meant.
    pub(super) fn within(&mut self, criteria: &Criteria) {
        self.gaps.retain(|gap| criteria.means_gap(gap));
    }

    /// Would all that has come be found?
    pub(super) fn is_whole(&self) -> bool {
        self.gaps.is_empty() && self.queue.is_none() && self.suppressed == 0
    }

    pub(super) fn print_gaps(&self, console: &mut Console<'_>) -> io::Result<()> {
        self.gaps.iter().try_for_each(|gap| {
            write!(console.out, "a gap: {}", timeline::text(NONE, std::slice::from_ref(gap)))
        })
    }
}

const OFF: &str = "the log is switched off: enabled is false";
const KILLED: &str = "the daemon was killed or the host lost power: its last lines may be missing";
const BEGINS: &str = "the log begins only then";

fn gap(since: String, until: String, because: String) -> TrackingLine {
    let what = What::Lost { count: None, since, because, refusals: false };
    TrackingLine { time: until, id: None, what }
}
