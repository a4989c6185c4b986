//! `relay trace`: what became of one message, by its queue id; or of those that a sender, a
//! recipient, a Message-ID, a client and a time mean ([`search`]). The message tracking log is read
//! whether or not the daemon runs; what still waits is asked of the daemon, or read from its queue.

mod records;
mod search;
mod time;

use std::time::{Duration, SystemTime};

use clap::Args;
use relay::config::Places;
use relay::connector::Range;
use relay::control::{self, Id, Request};
use relay::queue::admin::{Detail, Row};
use relay::queue::filter::Wildcard;
use relay::queue::{Offline, QueueId};
use relay::tracking::line::{Line, What, moment};
use relay::tracking::search::{Found, find};
use relay::tracking::timeline;

use self::records::Records;
use super::queue::selection::wildcard;
use super::{Console, FileAccess, Outcome};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The queue id, as the 250 gave it, or the one of a report.
    #[arg(conflicts_with_all = ["from", "to", "message_id", "remote", "since", "until"])]
    id: Option<QueueId>,
    /// From this sender, or with this From. `*` stands for anything, and `<>` is the null sender.
    #[arg(long, value_name = "ADDRESS", value_parser = wildcard)]
    from: Option<Wildcard>,
    /// To this recipient. `*` stands for anything.
    #[arg(long, value_name = "ADDRESS", value_parser = wildcard)]
    to: Option<Wildcard>,
    /// With this Message-ID. `*` stands for anything.
    #[arg(long, value_name = "ID", value_parser = wildcard)]
    message_id: Option<Wildcard>,
    /// From this client: an address or a range.
    #[arg(long, value_name = "ADDRESS", value_parser = range)]
    remote: Option<Range>,
    /// Not before: a time ago, as in 2h or 30m, or a UTC time, as in 2026-11-24T18:15.
    #[arg(long, value_name = "TIME", value_parser = time::read)]
    since: Option<SystemTime>,
    /// Not after.
    #[arg(long, value_name = "TIME", value_parser = time::read)]
    until: Option<SystemTime>,
    #[command(flatten)]
    pub(super) access: FileAccess,
}

pub(super) fn run(arguments: Arguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let places = arguments.access.places(console)?;
    match arguments.id {
        Some(id) => one(id, &places, arguments.access.daemon.common.json, console),
        None => search::run(&arguments, &places, console),
    }
}

fn one(
    id: QueueId,
    places: &Places,
    json: bool,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    // Before the log is read: what the daemon does not have any more has left its end there.
    let queue = Waiting::at(places);
    let waiting = queue.row(id).and_then(|row| queued(id, &row));
    let mut records = Records::of(places, &queue);
    let Found { mut lines, gaps, span } = find(&places.tracking, id).unwrap_or_else(|error| {
        records.unreadable(places, &error);
        Found::default()
    });
    if !lines.iter().any(|line| line.is_end_of(id)) {
        lines.extend(waiting);
    }
    if json {
        console.json(&serde_json::to_value(&lines)?)?;
    } else {
        write!(console.out, "{}", timeline::text(id, &lines))?;
    }
    if !lines.is_empty() {
        return Ok(Outcome::Yes);
    }
    records.gaps.extend(gaps);
    let begin = span.as_ref().map(|(begin, _)| begin.as_str());
    let came = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(id.milliseconds()));
    records.begin_later(came.map(moment).as_deref(), begin);
    let span = match &span {
        Some((begin, end)) => format!("it goes from {begin} to {end}"),
        None => "it has no files".to_owned(),
    };
    let (off, log) = (off(places), places.tracking.display());
    writeln!(console.err, "nothing about {id} is in the message tracking log {log}: {span}{off}")?;
    for Line { what, .. } in &records.gaps {
        if let What::Lost { since, because, .. } = what {
            writeln!(console.err, "it has a gap since {since}: {because}")?;
        }
    }
    if let Some(why) = &records.queue {
        writeln!(console.err, "the queue could not be asked: {why}")?;
    }
    Ok(if records.is_whole() { Outcome::No } else { Outcome::Unknown })
}

/// No queue id: what is shown belongs to no message.
const NONE: QueueId = QueueId::from_u64(0);

/// What is to be said of a log that nobody writes.
fn off(places: &Places) -> &'static str {
    if places.tracking_enabled { "" } else { "; it is not written, since enabled is false" }
}

/// Who knows what still waits.
enum Waiting<'p> {
    Daemon(&'p Places),
    Stopped(Offline),
    /// No daemon answers, and its queue cannot be read, for this reason.
    Unknown(String),
}

impl<'p> Waiting<'p> {
    fn at(places: &'p Places) -> Self {
        let Err(error) = control::probe(&places.socket) else { return Self::Daemon(places) };
        match Offline::open(&places.queue) {
            Ok(Some(queue)) => Self::Stopped(queue),
            Ok(None) => {
                Self::Unknown(format!("{error}; no queue is in {}", places.queue.display()))
            }
            Err(reason) => Self::Unknown(format!("{error}; {reason}")),
        }
    }

    /// A message, if it waits.
    fn row(&self, id: QueueId) -> Option<Row> {
        match self {
            Self::Daemon(places) => {
                let question = Request::QueueShow { id: Id(id) };
                // A message that it does not know has left the queue.
                let answer = control::ask(&places.socket, &question).ok()?;
                serde_json::from_value(answer).ok().map(|detail: Detail| detail.row)
            }
            Self::Stopped(queue) => {
                let row = Row::from(&queue.find(id).ok()?);
                let reason = Some("no daemon runs, so nothing is delivered".to_owned());
                Some(Row { reason, ..row })
            }
            Self::Unknown(_) => None,
        }
    }
}

/// A line about a message that waits.
fn queued(id: QueueId, row: &Row) -> Option<Line> {
    let due = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(row.due)).map(moment)?;
    let what = What::Queued {
        due,
        held: row.held,
        attempts: row.attempts,
        recipients: row.pending.clone(),
        because: row.because.clone(),
        reason: row.reason.clone(),
    };
    Some(Line { time: moment(SystemTime::now()), id: Some(Id(id)), what })
}

fn range(text: &str) -> Result<Range, String> {
    text.parse().map_err(|_| format!("`{text}` is no address, CIDR range or FIRST-LAST"))
}
