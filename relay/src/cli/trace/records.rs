//! Are the records complete? A search without a result means "no" only if the log and the queue
//! would contain every event. Otherwise the answer is "not known", with the reason.

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

/// The gaps in the records of the searched time.
#[derive(Default)]
pub(super) struct Records {
    /// Gaps of the log.
    pub(super) gaps: Vec<TrackingLine>,
    /// Why the waiting messages are not known.
    pub(super) queue: Option<String>,
    /// The number of refusals without a record of their own.
    pub(super) suppressed: u64,
    /// The status of the running daemon.
    pub(super) status: Option<DaemonStatus>,
}

impl Records {
    /// The gaps of all sources of the search.
    pub(super) fn of(places: &Places, waiting: &Waiting<'_>) -> Self {
        let mut records = Self::default();
        match waiting {
            Waiting::Daemon(_) => {
                // An older daemon does not know this request; its log is at most some milliseconds
                // late.
                let written = control::ask(&places.socket, &ControlRequest::TrackingLogWritten);
                if written.is_ok_and(|written| written == false) {
                    let because = "the daemon has not written the latest events yet";
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
            // The search reads the same files and reports the error.
            Err(_) => return records,
        };
        if let Some((since, because)) = records.missing_at_the_end(places, waiting, ending) {
            records.add(since, because);
        }
        records
    }

    /// The time since which the log has a gap up to now, and the reason.
    fn missing_at_the_end(
        &self,
        places: &Places,
        waiting: &Waiting<'_>,
        ending: Option<MessageEnding>,
    ) -> Option<(String, String)> {
        let Some(ending) = ending else {
            let because = if places.tracking_enabled { "the log has no files" } else { OFF };
            return Some((moment(SystemTime::UNIX_EPOCH), because.to_owned()));
        };
        let MessageEnding { time, kind } = ending;
        if kind == EndingKind::Off || !places.tracking_enabled {
            return Some((time, OFF.to_owned()));
        }
        if let Some(status) = &self.status {
            let Some(log) = &status.message_tracking_log else {
                return Some((time, "the daemon has no thread for the log".to_owned()));
            };
            return match (&log.gap, &log.problem) {
                _ if !log.enabled => Some((time, OFF.to_owned())),
                _ if log.path != places.tracking => {
                    let path = log.path.display();
                    Some((time, format!("the running daemon writes the log to {path}")))
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

    /// Notes that the log cannot be read.
    pub(super) fn unreadable(&mut self, places: &Places, error: &io::Error) {
        let because = format!("cannot read {}: {error}", places.tracking.display());
        self.add(moment(SystemTime::UNIX_EPOCH), because);
    }

    /// Notes a gap if the searched time begins before the log.
    pub(super) fn add_gap_before(&mut self, criteria: &Criteria, begin: Option<&str>) {
        let since = criteria.since.as_deref().or(criteria.until.as_deref());
        if let Some((since, begin)) = since.zip(begin).filter(|(since, begin)| since < begin) {
            self.gaps.push(gap(since.to_owned(), begin.to_owned(), BEGINS.to_owned()));
        }
    }

    fn add(&mut self, since: String, because: String) {
        self.gaps.push(gap(since, moment(SystemTime::now()), because));
    }

    /// Removes gaps outside the searched time.
    pub(super) fn within(&mut self, criteria: &Criteria) {
        self.gaps.retain(|gap| criteria.selects_gap(gap));
    }

    /// Would every event be found?
    pub(super) fn is_complete(&self) -> bool {
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
const BEGINS: &str = "the log begins at that time";

fn gap(since: String, until: String, because: String) -> TrackingLine {
    let what = What::Lost { count: None, since, because, refusals: false };
    TrackingLine { time: until, id: None, what }
}
