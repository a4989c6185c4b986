//! `relay trace`: the events of one message, found by its queue id; or of all messages that match a
//! sender, recipient, Message-ID, client and time ([`search`]). The command reads the message
//! tracking log with or without a running daemon. It asks the daemon for waiting messages, or reads
//! them from the queue.

mod records;
mod search;
mod time;
mod verdict;

use std::time::{Duration, SystemTime};

use clap::Args;
use relay::control::{self, ControlError, ControlRequest};
use relay_config::Places;
use relay_connector::Range;
use relay_mail::queue_id::QueueId;
use relay_queue::Offline;
use relay_queue::admin::{Detail, RecipientRow, RecipientStatus, Row};
use relay_queue::filter::Wildcard;
use relay_tracking::line::{TrackingLine, What, moment};
use relay_tracking::query::Criteria;
use relay_tracking::search::{SearchResult, find};
use relay_tracking::timeline;

use self::records::Records;
use super::access::unanswered;
use super::queue::selection::wildcard;
use super::{Console, FileAccess, Outcome};

#[derive(Args, Debug)]
pub(super) struct TraceArguments {
    /// The queue id from the 250 reply, or the queue id of a report.
    #[arg(conflicts_with_all = ["from", "to", "message_id", "remote", "since", "until"])]
    id: Option<QueueId>,
    /// Messages from this sender, or with this address in From. `*` stands for any text; `<>` is
    /// the null sender.
    #[arg(long, value_name = "ADDRESS", value_parser = wildcard)]
    from: Option<Wildcard>,
    /// Messages to this recipient. `*` stands for any text.
    #[arg(long, value_name = "ADDRESS", value_parser = wildcard)]
    to: Option<Wildcard>,
    /// Messages with this Message-ID. `*` stands for any text.
    #[arg(long, value_name = "ID", value_parser = text)]
    message_id: Option<Wildcard>,
    /// Messages from this client: an address or a range.
    #[arg(long, value_name = "ADDRESS", value_parser = range)]
    remote: Option<Range>,
    /// Begin of the search: a time ago (2h, 30m) or a UTC time (2026-11-24T18:15).
    #[arg(long, value_name = "TIME", value_parser = time::read)]
    since: Option<SystemTime>,
    /// End of the search.
    #[arg(long, value_name = "TIME", value_parser = time::read)]
    until: Option<SystemTime>,
    #[command(flatten)]
    pub(super) access: FileAccess,
}

pub(super) fn run(arguments: TraceArguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
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
    // Ask before the log is read: a message that has left the queue has its end in the log by now.
    let queue = Waiting::at(places);
    let waiting = queue.lines(id);
    let mut records = Records::of(places, &queue);
    let SearchResult { mut lines, gaps, span } =
        find(&places.tracking, id).unwrap_or_else(|error| {
            records.unreadable(places, &error);
            SearchResult::default()
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
    let arrived = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(id.milliseconds()));
    let criteria = Criteria { since: arrived.map(moment), ..Criteria::default() };
    records.add_gap_before(&criteria, begin);
    let span = match &span {
        Some((begin, end)) => format!("the log covers {begin} to {end}"),
        None => "the log has no files".to_owned(),
    };
    let (off, log) = (off_note(places), places.tracking.display());
    writeln!(console.err, "the message tracking log {log} has no line about {id}: {span}{off}")?;
    for TrackingLine { what, .. } in &records.gaps {
        if let What::Lost { since, because, .. } = what {
            writeln!(console.err, "the log has a gap since {since}: {because}")?;
        }
    }
    if let Some(why) = &records.queue {
        writeln!(console.err, "the queue could not be asked: {why}")?;
    }
    Ok(if records.is_complete() { Outcome::No } else { Outcome::Unknown })
}

/// The queue id of lines that belong to no message.
const NONE: QueueId = QueueId::from_u64(0);

/// A note about a log that is not written.
fn off_note(places: &Places) -> &'static str {
    if places.tracking_enabled { "" } else { "; the log is off (enabled = false)" }
}

/// The source of information about waiting messages.
enum Waiting<'p> {
    Daemon(&'p Places),
    Stopped(Offline),
    /// Unknown for this reason: no daemon answers, and its queue cannot be read.
    Unknown(String),
}

impl<'p> Waiting<'p> {
    fn at(places: &'p Places) -> Self {
        let error = match control::ask(&places.socket, &ControlRequest::TrackingLogWritten) {
            // The daemon's disk does not answer. Do not wait for the daemon a second time.
            Err(error @ ControlError::Silent { .. }) => return Self::Unknown(error.to_string()),
            Err(error @ (ControlError::Connect { .. } | ControlError::Denied { .. })) => error,
            Ok(_) | Err(_) => return Self::Daemon(places),
        };
        match Offline::open(&places.queue) {
            Ok(Some(queue)) => Self::Stopped(queue),
            Ok(None) => {
                Self::Unknown(format!("{error}; no queue is in {}", places.queue.display()))
            }
            Err(reason) => Self::Unknown(format!("{error}; {}", unanswered(&reason))),
        }
    }

    /// The row of a message, if it waits.
    fn row(&self, id: QueueId) -> Option<Row> {
        self.detail(id).map(|detail| detail.row)
    }

    fn detail(&self, id: QueueId) -> Option<Detail> {
        match self {
            Self::Daemon(places) => {
                let question = ControlRequest::QueueShow { id };
                // If the daemon does not know the message, it has left the queue.
                let answer = control::ask(&places.socket, &question).ok()?;
                serde_json::from_value(answer).ok()
            }
            Self::Stopped(queue) => {
                let mut detail = Detail::from(&queue.find(id).ok()?);
                detail.row.reason = Some("no daemon runs, so nothing is delivered".to_owned());
                Some(detail)
            }
            Self::Unknown(_) => None,
        }
    }

    /// The lines about a message, if it waits.
    fn lines(&self, id: QueueId) -> Vec<TrackingLine> {
        let detail = self.detail(id);
        detail.map(|detail| queued(id, &detail.row, &detail.recipients)).unwrap_or_default()
    }
}

/// The lines about a waiting message: one for all recipients that wait for the same reason. `all`
/// may be empty if only the row is known.
fn queued(id: QueueId, row: &Row, all: &[RecipientRow]) -> Vec<TrackingLine> {
    let due = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(row.due)).map(moment);
    let mut groups: Vec<(Option<String>, Option<String>, Vec<String>)> = Vec::new();
    for recipient in all.iter().filter(|it| it.state == RecipientStatus::Pending) {
        let because = recipient.because.clone();
        let reason = recipient.reason.clone().or_else(|| row.reason.clone());
        match groups.iter_mut().find(|group| (&group.0, &group.1) == (&because, &reason)) {
            Some(group) => group.2.push(recipient.address.clone()),
            None => groups.push((because, reason, vec![recipient.address.clone()])),
        }
    }
    if groups.is_empty() {
        groups.push((row.because.clone(), row.reason.clone(), row.pending.clone()));
    }
    let line = |(because, reason, recipients)| What::Queued {
        due: due.clone().unwrap_or_default(),
        held: row.held,
        attempts: row.attempts,
        recipients,
        because,
        reason,
    };
    let time = moment(SystemTime::now());
    let line = |group| TrackingLine { time: time.clone(), id: Some(id), what: line(group) };
    groups.into_iter().map(line).collect()
}

fn text(text: &str) -> Result<Wildcard, String> {
    match text {
        "" => Err("write an ID, or `*` for any ID".to_owned()),
        text => Ok(Wildcard::new(text)),
    }
}

fn range(text: &str) -> Result<Range, String> {
    text.parse().map_err(|_| format!("`{text}` is not an address, a CIDR range or FIRST-LAST"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_to_wait_has_its_own_line() {
        let row = Row {
            id: String::new(),
            sender: String::new(),
            pending: ["a", "b", "c"].map(str::to_owned).to_vec(),
            size: 1,
            arrived: 1,
            due: 1,
            attempts: 1,
            held: false,
            because: Some("450 busy".to_owned()),
            reason: Some("deferred".to_owned()),
        };
        let recipient = |address: &str, state, because: &str, reason: Option<&str>| RecipientRow {
            address: address.to_owned(),
            state,
            hop: None,
            code: None,
            because: Some(because.to_owned()),
            reason: reason.map(str::to_owned),
        };
        let all = [
            recipient("a", RecipientStatus::Pending, "450 busy", None),
            recipient("b", RecipientStatus::Pending, "no route", Some("back-off")),
            recipient("c", RecipientStatus::Pending, "450 busy", None),
            recipient("d", RecipientStatus::Delivered, "250 ok", None),
        ];
        let of = |all: &[RecipientRow]| {
            let lines = queued(QueueId::from_u64(7), &row, all).into_iter();
            let texts = lines.map(|line| match line.what {
                What::Queued { recipients, because, reason, .. } => {
                    format!("{} {} {}", recipients.concat(), because.unwrap(), reason.unwrap())
                }
                what => panic!("{what:?}"),
            });
            texts.collect::<Vec<_>>()
        };
        assert_eq!(of(&all), ["ac 450 busy deferred", "b no route back-off"]);
        assert_eq!(of(&[]), ["abc 450 busy deferred"]);
    }
}
