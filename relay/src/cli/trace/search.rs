//! `relay trace --from … --to …`: which messages and which refusals are meant, and what became of
//! each. "Nothing came" is an answer too: it says what was searched.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use relay::config::{Places, read_duration};
use relay::control::{self, Request};
use relay::daemon::status::Status;
use relay::queue::QueueId;
use relay::queue::admin::Row;
use relay::queue::bulk::Page;
use relay::queue::filter::Filter;
use relay::tracking::line::{Line, What, moment};
use relay::tracking::query::Criteria;
use relay::tracking::search::{Matches, Newest, find_matches};
use relay::tracking::timeline;
use serde_json::{Value, json};
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, PrimitiveDateTime};

use super::{Arguments, Waiting, off, queued};
use crate::cli::{Console, Outcome};

/// Groups of refusals of unknown senders that are shown to people.
const GROUPS_SHOWN: usize = 10;

/// What became of a message, in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Delivered,
    PartlyDelivered,
    Failed,
    Waiting,
    Removed,
    /// The log has no end of it, and it cannot be said whether it waits.
    Unknown,
}

pub(super) fn run(
    arguments: &Arguments,
    places: &Places,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let criteria = Criteria {
        from: arguments.from.clone(),
        to: arguments.to.clone(),
        message_id: arguments.message_id.clone(),
        remote: arguments.remote.clone(),
        since: arguments.since.map(moment),
        until: arguments.until.map(moment),
    };
    // Before the log is read: what is in the queue no more has left its end there.
    let waiting = Waiting::at(places);
    let mut rows = waiting_rows(&waiting, arguments)?;
    let log = &places.tracking;
    let mut found =
        find_matches(log, &criteria).with_context(|| format!("cannot read {}", log.display()))?;
    let mut messages = Vec::new();
    for (id, mut lines) in std::mem::take(&mut found.messages) {
        let has_ended = lines.iter().any(|line| line.is_end_of(id));
        if !has_ended {
            let row = rows.remove(&id).or_else(|| waiting.row(id));
            lines.extend(row.and_then(|row| queued(id, &row)));
        }
        messages.push((id, lines));
    }
    // Those whose reception the log does not have.
    if criteria.message_id.is_none() && criteria.remote.is_none() {
        let others = rows.into_iter().filter(|(id, _)| !messages.iter().any(|(it, _)| it == id));
        let others: Vec<_> =
            others.filter_map(|(id, row)| Some((id, vec![queued(id, &row)?]))).collect();
        messages.extend(others);
    }
    let came = !messages.is_empty() || !found.refusals.lines.is_empty();
    if arguments.access.daemon.common.json {
        print_json(&messages, &found, &waiting, places, console)?;
    } else {
        print(&messages, &found, &waiting, came, places, console)?;
    }
    Ok(if came { Outcome::Yes } else { Outcome::No })
}

/// What waits of what is meant, as the daemon or the queue's files say. From of a message is not
/// known there.
fn waiting_rows(
    waiting: &Waiting<'_>,
    arguments: &Arguments,
) -> anyhow::Result<BTreeMap<QueueId, Row>> {
    let seconds = |time: SystemTime| {
        time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
    };
    let filter = Filter {
        sender: arguments.from.clone(),
        recipient: arguments.to.clone(),
        arrived_since: arguments.since.map(seconds),
        arrived_before: arguments.until.map(|until| seconds(until).saturating_add(1)),
        ..Filter::default()
    };
    let mut rows = BTreeMap::new();
    match waiting {
        Waiting::Daemon(places) => {
            let limit = relay::limits::TRACE_MESSAGES;
            let request = Request::QueueList { after: None, filter: Box::new(filter), limit };
            let Ok(answer) = control::ask(&places.socket, &request) else { return Ok(rows) };
            let page: Page = serde_json::from_value(answer)?;
            rows.extend(page.rows.into_iter().filter_map(|row| Some((row.id.parse().ok()?, row))));
        }
        Waiting::Stopped(queue) => queue.each(|entry| {
            if let Ok(entry) = entry
                && rows.len() < relay::limits::TRACE_MESSAGES
                && filter.matches(&entry)
                && let Some(row) = waiting.row(entry.id)
            {
                rows.insert(entry.id, row);
            }
        })?,
        Waiting::Unknown(_) => {}
    }
    Ok(rows)
}

impl Verdict {
    fn of(id: QueueId, lines: &[Line]) -> Self {
        let has = |is: fn(&What) -> bool| lines.iter().any(|line| is(&line.what));
        let delivered = has(|what| matches!(what, What::Send(_) | What::Deliver(_)));
        let failed = has(|what| matches!(what, What::Fail(_)));
        if has(|what| matches!(what, What::Queued { .. })) {
            Self::Waiting
        } else if has(|what| matches!(what, What::Remove)) {
            Self::Removed
        } else if !lines.iter().any(|line| line.is_end_of(id)) {
            Self::Unknown
        } else {
            match (delivered, failed) {
                (true, true) => Self::PartlyDelivered,
                (false, true) => Self::Failed,
                (_, false) => Self::Delivered,
            }
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Delivered => "delivered: a next hop has taken it",
            Self::PartlyDelivered => "delivered to some recipients, failed for others",
            Self::Failed => "failed",
            Self::Waiting => "waiting",
            Self::Removed => "removed by an administrator",
            Self::Unknown => "its end is not in the log, and it is not known to wait",
        }
    }
}

fn print(
    messages: &[(QueueId, Vec<Line>)],
    found: &Matches,
    waiting: &Waiting<'_>,
    came: bool,
    places: &Places,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    for (id, lines) in messages {
        let verdict = Verdict::of(*id, lines).text();
        writeln!(console.out, "message {id}: {verdict}")?;
        writeln!(console.out, "{}", timeline::text(*id, lines))?;
    }
    if !found.refusals.lines.is_empty() {
        let lines: Vec<_> = found.refusals.lines.iter().cloned().collect();
        writeln!(console.out, "refused: {}", counted(&found.refusals, "refusal"))?;
        writeln!(console.out, "{}", timeline::text(NONE, &lines))?;
    }
    if !found.unknown.lines.is_empty() {
        let unknown = counted(&found.unknown, "refusal");
        writeln!(console.out, "perhaps: {unknown} before it was known which message it was")?;
        print_groups(&found.unknown, console)?;
        writeln!(console.out)?;
    }
    if !came {
        writeln!(console.out, "no message and no refusal of this kind is known")?;
    }
    print_searched(found, waiting, places, console)
}

/// No queue id: what is shown belongs to no message.
const NONE: QueueId = QueueId::from_u64(0);

fn counted(newest: &Newest, noun: &str) -> String {
    let shown = newest.lines.len() as u64;
    let plural = if shown == 1 { "" } else { "s" };
    match newest.left_out {
        0 => format!("{shown} {noun}{plural}"),
        more => format!("the last {shown} {noun}{plural} of {}", shown + more),
    }
}

/// Refusals of the same source by the same rule, the last one of each.
fn print_groups(newest: &Newest, console: &mut Console<'_>) -> anyhow::Result<()> {
    let mut groups: Vec<(String, u64, Line)> = Vec::new();
    for line in newest.lines.iter().rev() {
        let (What::Refuse(refused) | What::Abort(refused)) = &line.what else { continue };
        let address = refused.remote.rsplit_once(':').map_or("", |(address, _)| address);
        let key = format!("{address} {:?} {:?} {:?}", refused.command, refused.rule, refused.reply);
        let count = 1 + refused.suppressed;
        match groups.iter_mut().find(|(other, ..)| *other == key) {
            Some((_, so_far, _)) => *so_far += count,
            None => groups.push((key, count, line.clone())),
        }
    }
    for (_, count, line) in groups.iter().take(GROUPS_SHOWN) {
        let text = timeline::text(NONE, std::slice::from_ref(line));
        write!(console.out, "{count} times, last {text}")?;
    }
    let more = groups.len().saturating_sub(GROUPS_SHOWN);
    if more > 0 {
        writeln!(console.out, "and {more} more kinds: give --remote, or see --json")?;
    }
    Ok(())
}

/// What was searched, and what it cannot know.
fn print_searched(
    found: &Matches,
    waiting: &Waiting<'_>,
    places: &Places,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let log = places.tracking.display();
    match &found.span {
        Some((begin, end)) => {
            writeln!(console.out, "searched: {log}, from {begin} to {end}{}", off(places))?;
        }
        None => writeln!(console.out, "searched: {log}, which has no messages{}", off(places))?,
    }
    match &found.refusals_since {
        Some(begin) => writeln!(console.out, "refusals are recorded since {begin}")?,
        None => writeln!(console.out, "no refusal is recorded")?,
    }
    match waiting {
        Waiting::Daemon(_) => writeln!(console.out, "the queue was asked of the running daemon")?,
        Waiting::Stopped(_) => writeln!(
            console.out,
            "no daemon runs; its queue in {} was read",
            places.queue.display()
        )?,
        Waiting::Unknown(why) => writeln!(console.out, "the queue could not be asked: {why}")?,
    }
    if found.messages_left_out > 0 {
        let more = found.messages_left_out;
        writeln!(console.out, "{more} older messages match too: give a shorter time")?;
    }
    if found.suppressed > 0 {
        let count = found.suppressed;
        writeln!(console.out, "{count} refusals in this time are not recorded one by one")?;
    }
    for gap in &found.gaps {
        write!(console.out, "a gap: {}", timeline::text(NONE, std::slice::from_ref(gap)))?;
    }
    if let Some(dropped) = dropped_by_guard(waiting).filter(|&dropped| dropped > 0) {
        writeln!(
            console.out,
            "connections that the guard dropped before they were made are in no log: {dropped} \
             since its start, see relay status"
        )?;
    }
    Ok(())
}

/// SYNs that the guard of the running daemon has dropped.
fn dropped_by_guard(waiting: &Waiting<'_>) -> Option<u64> {
    let Waiting::Daemon(places) = waiting else { return None };
    let answer = control::ask(&places.socket, &Request::Status).ok()?;
    let status: Status = serde_json::from_value(answer).ok()?;
    let names = ["syn_refused", "syn_over_budget", "syn_over_source_budget"];
    let counts = status.connectors.iter().flat_map(|connector| {
        names.map(|name| connector.kernel.get(name).copied().unwrap_or_default())
    });
    Some(counts.sum())
}

fn print_json(
    messages: &[(QueueId, Vec<Line>)],
    found: &Matches,
    waiting: &Waiting<'_>,
    places: &Places,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let messages: Vec<Value> = messages
        .iter()
        .map(|(id, lines)| {
            json!({ "id": id.to_string(), "verdict": Verdict::of(*id, lines), "events": lines })
        })
        .collect();
    let (begin, end) = found.span.clone().unzip();
    let queue = match waiting {
        Waiting::Daemon(_) => "daemon".to_owned(),
        Waiting::Stopped(_) => "stopped".to_owned(),
        Waiting::Unknown(why) => why.clone(),
    };
    console.json(&json!({
        "messages": messages,
        "messages_left_out": found.messages_left_out,
        "refusals": found.refusals.lines,
        "refusals_left_out": found.refusals.left_out,
        "perhaps": found.unknown.lines,
        "perhaps_left_out": found.unknown.left_out,
        "suppressed": found.suppressed,
        "gaps": found.gaps,
        "searched": {
            "path": places.tracking,
            "enabled": places.tracking_enabled,
            "begin": begin,
            "end": end,
            "refusals_begin": found.refusals_since,
            "queue": queue,
        },
    }))?;
    Ok(())
}

/// A time: so long ago, as in `2h`, or in UTC where no offset stands.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    if let Some(ago) = read_duration(text) {
        // What is printed as a date has one: nothing is older than the epoch.
        let then = SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH);
        return Ok(then.max(SystemTime::UNIX_EPOCH));
    }
    let with_offset = text.replacen(' ', "T", 1);
    if let Ok(time) = OffsetDateTime::parse(&with_offset, &Rfc3339) {
        return system_time(time);
    }
    let text = with_offset.strip_suffix('Z').unwrap_or(&with_offset);
    let forms = [
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]"),
        format_description!("[year]-[month]-[day]T[hour]:[minute]"),
    ];
    let read = |form| PrimitiveDateTime::parse(text, form).ok();
    if let Some(time) = forms.into_iter().find_map(read) {
        return system_time(time.assume_utc());
    }
    match Date::parse(text, format_description!("[year]-[month]-[day]")) {
        Ok(date) => system_time(date.midnight().assume_utc()),
        Err(_) => Err("write how long ago, as in 2h, 30m or 3d, or a UTC time, as in \
             2026-11-24T18:15"
            .to_owned()),
    }
}

fn system_time(time: OffsetDateTime) -> Result<SystemTime, String> {
    let since = time.unix_timestamp_nanos();
    let since = u64::try_from(since / 1_000_000).map_err(|_| "it is before 1970".to_owned())?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_millis(since))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_the_forms_that_people_write() {
        let seconds = |text: &str| {
            time(text).unwrap().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
        };
        for text in [
            "2027-01-15T08:00:00Z",
            "2027-01-15T08:00:00",
            "2027-01-15T08:00",
            "2027-01-15 08:00",
            "2027-01-15T08:00Z",
            "2027-01-15T09:00:00+01:00",
            "2027-01-15 08:00:00.250Z",
        ] {
            assert_eq!(seconds(text), 1_800_000_000, "{text}");
        }
        assert_eq!(seconds("2027-01-15"), 1_800_000_000 - 8 * 3600);
        for (text, ago) in [("2h", 7200), ("30m", 1800), ("3d", 259_200), ("01:30:00", 5400)] {
            let then = time(text).unwrap();
            let age = SystemTime::now().duration_since(then).unwrap().as_secs();
            assert!((ago..ago + 5).contains(&age), "{text}");
        }
        assert_eq!(seconds("99999999d"), 0);
        for wrong in ["", "2", "yesterday", "2027-13-01", "1900-01-01", "-2h"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
