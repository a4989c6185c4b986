//! `relay trace --from … --to …`: the messages and refusals that match, and their results. If none
//! match, the command prints what was searched.

use std::collections::BTreeMap;
use std::time::SystemTime;

use anyhow::bail;
use relay::control::{self, ControlRequest};
use relay::daemon::status::DaemonStatus;
use relay_config::Places;
use relay_host::error_chain::error_chain;
use relay_mail::queue_id::QueueId;
use relay_queue::admin::Row;
use relay_queue::bulk::Page;
use relay_queue::filter::{Filter, Wildcard};
use relay_tracking::line::{TrackingLine, What, moment};
use relay_tracking::query::Criteria;
use relay_tracking::search::{Matches, Newest, find_matches};
use relay_tracking::timeline;
use serde_json::{Value, json};

use super::records::Records;
use super::verdict::Verdicts;
use super::{NONE, TraceArguments, Waiting, off_note, queued};
use crate::cli::{Console, Outcome};

/// Most groups of refusals of unknown senders in the output for people.
const GROUPS_SHOWN: usize = 10;

pub(super) fn run(
    arguments: &TraceArguments,
    places: &Places,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    if let Some((since, until)) = arguments.since.zip(arguments.until).filter(|(a, b)| a > b) {
        let (since, until) = (moment(since), moment(until));
        writeln!(console.err, "--since {since} is later than --until {until}")?;
        return Ok(Outcome::Unusable);
    }
    let now = SystemTime::now();
    if let Some(since) = arguments.since.filter(|since| *since > now) {
        writeln!(
            console.err,
            "--since {} is in the future: the time is {} now; a time without an offset is UTC",
            moment(since),
            moment(now)
        )?;
        return Ok(Outcome::Unusable);
    }
    let criteria = Criteria {
        from: arguments.from.clone(),
        to: arguments.to.clone(),
        message_id: arguments.message_id.clone(),
        remote: arguments.remote.clone(),
        since: arguments.since.map(moment),
        until: arguments.until.map(moment),
    };
    // Ask before the log is read: a message that has left the queue has its end in the log by now.
    let waiting = Waiting::at(places);
    let mut records = Records::of(places, &waiting);
    let mut rows = match waiting_rows(&waiting, arguments) {
        Ok(rows) => rows,
        Err(error) => {
            records.queue = Some(error_chain(error.as_ref()));
            BTreeMap::new()
        }
    };
    let mut found = find_matches(&places.tracking, &criteria).unwrap_or_else(|error| {
        records.unreadable(places, &error);
        Matches::default()
    });
    let begin = found.span.as_ref().map(|(begin, _)| begin.as_str());
    records.add_gap_before(&criteria, begin);
    records.gaps.append(&mut found.gaps);
    records.within(&criteria);
    records.suppressed = found.suppressed;
    let mut messages = Vec::new();
    for (id, mut lines) in std::mem::take(&mut found.messages) {
        let has_ended = lines.iter().any(|line| line.is_end_of(id));
        if !has_ended {
            rows.remove(&id);
            lines.extend(waiting.lines(id));
        }
        messages.push((id, lines));
    }
    // Waiting messages without a reception in the log.
    if criteria.message_id.is_none() && criteria.remote.is_none() {
        rows.retain(|id, _| !messages.iter().any(|(it, _)| it == id));
        messages.extend(rows.into_iter().map(|(id, row)| {
            let lines = waiting.lines(id);
            (id, if lines.is_empty() { queued(id, &row, &[]) } else { lines })
        }));
    }
    let is_found = !messages.is_empty() || !found.refusals.lines.is_empty();
    let to = criteria.to.as_ref();
    if arguments.access.daemon.common.json {
        print_json(&messages, to, &found, &waiting, &records, places, console)?;
    } else {
        print(&messages, to, &found, &waiting, &records, places, console)?;
    }
    Ok(match is_found {
        true => Outcome::Yes,
        // "No" requires complete records and no refusal that may be the message.
        false if records.is_complete() && found.unknown.lines.is_empty() => Outcome::No,
        false => Outcome::Unknown,
    })
}

/// Waiting messages that match, from the daemon or the queue's files. The queue does not know the
/// From field of a message.
fn waiting_rows(
    waiting: &Waiting<'_>,
    arguments: &TraceArguments,
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
            let limit = relay_tracking::limits::TRACE_MESSAGES;
            let request =
                ControlRequest::QueueList { after: None, filter: Box::new(filter), limit };
            let page: Page = serde_json::from_value(control::ask(&places.socket, &request)?)?;
            rows.extend(page.rows.into_iter().filter_map(|row| Some((row.id.parse().ok()?, row))));
        }
        Waiting::Stopped(queue) => {
            let mut damaged = 0_u64;
            queue.each(|entry| match entry {
                Ok(entry) => {
                    if rows.len() < relay_tracking::limits::TRACE_MESSAGES
                        && filter.matches(&entry)
                        && let Some(row) = waiting.row(entry.id)
                    {
                        rows.insert(entry.id, row);
                    }
                }
                Err(_) => damaged += 1,
            })?;
            if rows.is_empty() && damaged > 0 {
                bail!("{damaged} entries of the queue are damaged");
            }
        }
        Waiting::Unknown(_) => {}
    }
    Ok(rows)
}

fn print(
    messages: &[(QueueId, Vec<TrackingLine>)],
    to: Option<&Wildcard>,
    found: &Matches,
    waiting: &Waiting<'_>,
    records: &Records,
    places: &Places,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    for (id, lines) in messages {
        let verdict = Verdicts::of(*id, lines, to);
        writeln!(console.out, "message {id}: {verdict}")?;
        writeln!(console.out, "{}", timeline::text(*id, lines))?;
    }
    if !found.refusals.lines.is_empty() {
        let lines: Vec<_> = found.refusals.lines.iter().cloned().collect();
        writeln!(console.out, "refused: {}", counted(&found.refusals, "refusal"))?;
        writeln!(console.out, "{}", timeline::text(NONE, &lines))?;
    }
    let is_found = !messages.is_empty() || !found.refusals.lines.is_empty();
    let has_unknown = !found.unknown.lines.is_empty();
    if has_unknown {
        let unknown = counted(&found.unknown, "refusal");
        write!(console.out, "perhaps: {unknown} before sender or recipient were known")?;
        if is_found {
            // The refusals probably belong to other messages, because some match exactly.
            writeln!(console.out, "; --json lists them")?;
        } else {
            writeln!(console.out)?;
            print_groups(&found.unknown, console)?;
            writeln!(console.out)?;
        }
    }
    if !is_found {
        let answer = match (records.is_complete(), has_unknown) {
            (true, false) => "not found: no message and no refusal matches",
            (true, true) => {
                "not known: no record matches, but one of the refusals above may be the message"
            }
            (false, _) => {
                "not known: no record matches, and the records are incomplete (see below)"
            }
        };
        writeln!(console.out, "{answer}")?;
    }
    print_searched(found, waiting, records, places, console)
}

fn counted(newest: &Newest, noun: &str) -> String {
    let shown = newest.lines.len() as u64;
    let plural = if shown == 1 { "" } else { "s" };
    match newest.left_out {
        0 => format!("{shown} {noun}{plural}"),
        more => format!("the last {shown} {noun}{plural} of {}", shown + more),
    }
}

/// Prints refusals in groups of the same source and rule, with the last one of each group.
fn print_groups(newest: &Newest, console: &mut Console<'_>) -> anyhow::Result<()> {
    let mut groups: Vec<(String, u64, TrackingLine)> = Vec::new();
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
        let times = if *count == 1 { "once".to_owned() } else { format!("{count} times, last") };
        write!(console.out, "{times} {text}")?;
    }
    let more = groups.len().saturating_sub(GROUPS_SHOWN);
    if more > 0 {
        writeln!(console.out, "and {more} more kinds: give --remote, or see --json")?;
    }
    Ok(())
}

/// Prints what was searched and which information is missing.
fn print_searched(
    found: &Matches,
    waiting: &Waiting<'_>,
    records: &Records,
    places: &Places,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let log = places.tracking.display();
    match &found.span {
        Some((begin, end)) => {
            writeln!(console.out, "searched: {log}, from {begin} to {end}{}", off_note(places))?;
        }
        None => {
            writeln!(console.out, "searched: {log}, which has no messages{}", off_note(places))?
        }
    }
    match &found.refusals_since {
        Some(begin) => writeln!(console.out, "refusals are recorded since {begin}")?,
        None => writeln!(console.out, "no refusal is recorded")?,
    }
    match (waiting, &records.queue) {
        (_, Some(why)) => writeln!(console.out, "the queue could not be asked: {why}")?,
        (Waiting::Stopped(_), None) => writeln!(
            console.out,
            "no daemon runs; its queue in {} was read",
            places.queue.display()
        )?,
        (_, None) => writeln!(console.out, "the running daemon was asked about the queue")?,
    }
    if found.messages_left_out > 0 {
        let more = found.messages_left_out;
        writeln!(console.out, "{more} older messages match too; search a shorter time")?;
    }
    if found.suppressed > 0 {
        let count = found.suppressed;
        writeln!(console.out, "{count} refusals in this time have no record of their own")?;
    }
    records.print_gaps(console)?;
    if let Some(dropped) =
        records.status.as_ref().map(dropped_by_guard).filter(|&dropped| dropped > 0)
    {
        writeln!(
            console.out,
            "the guard dropped {dropped} connections before the daemon saw them; they are in no log \
             (see relay status)"
        )?;
    }
    Ok(())
}

/// SYNs that the guard of the running daemon has dropped.
fn dropped_by_guard(status: &DaemonStatus) -> u64 {
    let names = ["syn_refused", "syn_over_budget", "syn_over_source_budget"];
    let counts = status.connectors.iter().flat_map(|connector| {
        names.map(|name| connector.kernel.get(name).copied().unwrap_or_default())
    });
    counts.sum()
}

fn print_json(
    messages: &[(QueueId, Vec<TrackingLine>)],
    to: Option<&Wildcard>,
    found: &Matches,
    waiting: &Waiting<'_>,
    records: &Records,
    places: &Places,
    console: &mut Console<'_>,
) -> anyhow::Result<()> {
    let messages: Vec<Value> = messages
        .iter()
        .map(|(id, lines)| {
            let Verdicts { asked, message } = Verdicts::of(*id, lines, to);
            json!({
                "id": id.to_string(), "verdict": asked, "message_verdict": message, "events": lines,
            })
        })
        .collect();
    let (begin, end) = found.span.clone().unzip();
    let queue = match (waiting, &records.queue) {
        (_, Some(why)) => why,
        (Waiting::Stopped(_), None) => "stopped",
        (_, None) => "daemon",
    };
    console.json(&json!({
        "messages": messages,
        "messages_left_out": found.messages_left_out,
        "refusals": found.refusals.lines,
        "refusals_left_out": found.refusals.left_out,
        "perhaps": found.unknown.lines,
        "perhaps_left_out": found.unknown.left_out,
        "suppressed": found.suppressed,
        "gaps": records.gaps,
        "whole": records.is_complete(),
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
