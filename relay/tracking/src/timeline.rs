//! Prints a trace for people: a row for each event, in columns. [`super::line`] has the events;
//! this module has their words.

use std::fmt::Write;

use crate::line::{DecisionLine, OutcomeGroup, ReceiveLine, RefusedLine, TrackingLine, What};
use relay_mail::queue_id::QueueId;
use relay_queue::event::MessageStorage;

/// The largest width of an aligned column, in characters.
const WIDEST: usize = 48;
/// Time up to the milliseconds.
const MOMENT_CHARACTERS: usize = "2026-11-24T18:15:42.123".len();

/// Time, event, subject, reply, reason.
type Row = [String; 5];

/// The timeline of a message, one line for each row.
pub fn text(id: QueueId, lines: &[TrackingLine]) -> String {
    let rows: Vec<_> = lines.iter().flat_map(|line| rows(id, line)).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.filter(|&width| width <= WIDEST).max().unwrap_or(0)
    };
    let widths: Vec<_> = (0..5).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The number of attempts so far.
pub fn attempts(attempts: u32) -> String {
    match attempts {
        0 => "not tried yet".to_owned(),
        1 => "1 attempt".to_owned(),
        more => format!("{more} attempts"),
    }
}

fn rows(id: QueueId, line: &TrackingLine) -> Vec<Row> {
    let event = |name: &str, what: String, reply: &str, reason: String| {
        row([short(&line.time), name.to_owned(), what, reply.to_owned(), reason])
    };
    let alone = |name, what: &str| vec![event(name, what.to_owned(), "", String::new())];
    match &line.what {
        What::Receive(received) => reception(&line.time, received),
        What::Send(tried) => vec![attempt(&line.time, "SEND", tried)],
        What::Deliver(tried) => vec![attempt(&line.time, "DELIVER", tried)],
        What::Defer(tried) => vec![attempt(&line.time, "DEFER", tried)],
        What::Fail(tried) => vec![attempt(&line.time, "FAIL", tried)],
        What::Dsn { report, sender, recipients, recipients_left_out } => {
            let what = match line.id {
                Some(original) if original != id => format!("report about {original}"),
                _ => format!("report {report}"),
            };
            let reason = format!("to <{sender}>, about {}", list(recipients, *recipients_left_out));
            vec![event("DSN", what, "", reason)]
        }
        What::Hold => alone("HOLD", "by an administrator"),
        What::Release => alone("RELEASE", "by an administrator"),
        What::Remove => alone("REMOVE", "by an administrator"),
        What::Retry => alone("RETRY", "by an administrator"),
        What::Damaged { because, set_aside } => {
            let kept = match set_aside {
                Some(path) => format!("remains: {path}"),
                None => "nothing remains".to_owned(),
            };
            vec![event("DAMAGED", "left the queue undelivered".to_owned(), because, kept)]
        }
        What::End => alone("END", "left the queue"),
        What::Refuse(refused) => vec![refusal(&line.time, "REFUSE", refused)],
        What::Abort(refused) => vec![refusal(&line.time, "ABORT", refused)],
        What::Suppressed { count, since } => {
            let what = format!("{count} refusals since {}", short(since));
            vec![event("SUPPRESSED", what, "", "too many for a record of each".to_owned())]
        }
        What::Lost { count, since, because, refusals } => {
            let count = count.map_or_else(|| "any".to_owned(), |count| count.to_string());
            let noun = if *refusals { "refusals" } else { "events" };
            let what = format!("{count} {noun} since {}", short(since));
            vec![event("LOST", what, "", because.clone())]
        }
        What::Opened => alone("OPENED", "the log is written from here on"),
        What::Closed { off: false } => alone("CLOSED", "the daemon has ended"),
        What::Closed { off: true } => alone("CLOSED", "the log was switched off"),
        What::Queued { due, held, attempts, recipients, because, reason } => {
            let next =
                if *held { "held".to_owned() } else { format!("next attempt {}", short(due)) };
            let mut why = format!("{}, {next}", self::attempts(*attempts));
            if let Some(reason) = reason {
                let _ = write!(why, ": {reason}");
            }
            let last = because.clone().unwrap_or_default();
            vec![event("QUEUED", recipients.join(" "), &last, why)]
        }
    }
}

/// The session, its decisions, and the message.
fn reception(time: &str, received: &ReceiveLine) -> Vec<Row> {
    let from = format!("from {}", received.remote);
    let head = row([short(time), "RECEIVE".to_owned(), from, String::new(), session(received)]);
    let below = |what, reply: &str, reason| {
        row([String::new(), String::new(), what, reply.to_owned(), reason])
    };
    let decisions = received
        .decisions
        .iter()
        .map(|decision| below(command(received, decision), &decision.reply, reason(decision)));
    let mut rows: Vec<_> = std::iter::once(head).chain(decisions).collect();
    if received.decisions_left_out > 0 {
        let what = format!("and {} decisions", received.decisions_left_out);
        rows.push(below(what, "", String::new()));
    }
    rows.extend(received.changes.iter().map(|change| below(change.clone(), "", String::new())));
    let kept = match received.kept {
        MessageStorage::Database => "in the database",
        MessageStorage::File => "in a file",
    };
    let answered = if received.answered { "" } else { "the queue did not answer in time" };
    let what = format!("{} octets {kept}", received.size);
    rows.push(below(what, answered, received.checks.clone().unwrap_or_default()));
    rows
}

/// The session in one sentence.
fn session(received: &ReceiveLine) -> String {
    let none = || "none".to_owned();
    let mut text = format!(
        "connector {}, range {}, by the {}",
        received.connector.clone().unwrap_or_else(none),
        received.range.clone().unwrap_or_else(none),
        received.decided_by
    );
    // Writing to a String cannot fail.
    let _ = match &received.why {
        Some(why) => write!(text, " ({why})"),
        None => Ok(()),
    };
    let tls = received.tls.as_deref().unwrap_or("no TLS");
    let _ = write!(text, ", {}, {tls}", received.principal);
    for (name, value) in [
        ("user", &received.user),
        ("certificate", &received.client_certificate),
        ("HELO", &received.hello),
        ("submitter", &received.submitter),
        ("proxy", &received.proxy),
        ("Message-ID", &received.message_id),
        ("From", &received.from),
    ] {
        if let Some(value) = value {
            let _ = write!(text, ", {name} {value}");
        }
    }
    let _ = write!(text, ", to {}", received.local);
    text
}

fn command(received: &ReceiveLine, decision: &DecisionLine) -> String {
    match (&*decision.command, &decision.recipient) {
        ("MAIL", _) => format!("MAIL FROM:<{}>", received.sender),
        ("RCPT", Some(recipient)) if decision.also.is_empty() => format!("RCPT TO:<{recipient}>"),
        ("RCPT", Some(recipient)) => format!("RCPT TO:<{recipient}> {}", decision.also.join(" ")),
        (".", _) => "end of data".to_owned(),
        (command, _) => command.to_owned(),
    }
}

fn reason(decision: &DecisionLine) -> String {
    match (&decision.rule, &decision.found) {
        (Some(rule), Some(found)) => format!("{rule}: {found}"),
        _ => String::new(),
    }
}

/// The outcome of some recipients, with or without a next hop.
fn attempt(time: &str, name: &str, tried: &OutcomeGroup) -> Row {
    let said = tried.reply.as_ref().or(tried.because.as_ref()).cloned().unwrap_or_default();
    let mut reason = String::new();
    if let Some(attempt) = tried.attempt {
        // Writing to a String cannot fail.
        let _ = write!(reason, "attempt {attempt}");
    }
    if let Some(to) = &tried.to {
        let _ = write!(reason, ", {to}");
    }
    if let Some(next_hop) = &tried.next_hop {
        let _ = write!(reason, " at {next_hop}");
    }
    if let Some(address) = &tried.address {
        let server = tried.server.as_deref().filter(|&server| server != address);
        let server = server.map(|server| format!("{server} ")).unwrap_or_default();
        let tls = tried.tls.as_deref().unwrap_or("no TLS");
        let _ = write!(reason, " ({server}[{address}], {tls})");
    }
    let recipients = list(&tried.recipients, tried.recipients_left_out);
    row([short(time), name.to_owned(), recipients, said, reason])
}

/// The refused request, its recipients, and the rule.
fn refusal(time: &str, name: &str, refused: &RefusedLine) -> Row {
    let what = match (refused.command.as_deref(), &refused.sender) {
        (Some("CONNECT"), _) => "connection".to_owned(),
        (Some("."), _) => "at end of data".to_owned(),
        (Some(command), _) => format!("at {command}"),
        (None, _) => "before end of data".to_owned(),
    };
    let mut from = format!("{what}, from {}", refused.remote);
    if let Some(sender) = &refused.sender {
        // Writing to a String cannot fail.
        let _ = write!(from, " <{sender}>");
    }
    if !refused.recipients.is_empty() {
        let _ = write!(from, " to {}", list(&refused.recipients, refused.recipients_left_out));
    }
    let rule = [refused.rule.as_deref(), refused.found.as_deref()];
    let mut reason = rule.into_iter().flatten().collect::<Vec<_>>().join(": ");
    for (name, value) in [
        ("connector", &refused.connector),
        ("user", &refused.user),
        ("HELO", &refused.hello),
        ("Message-ID", &refused.message_id),
        ("From", &refused.from),
        ("proxy", &refused.proxy),
        ("session", &refused.session_id),
    ] {
        if let Some(value) = value {
            let _ = write!(reason, ", {name} {value}");
        }
    }
    if refused.suppressed > 0 {
        let _ = write!(reason, ", after {} that are not recorded", refused.suppressed);
    }
    let reply = refused.reply.clone().unwrap_or_default();
    row([short(time), name.to_owned(), from, reply, reason])
}

/// The addresses, and the number of those left out.
fn list(addresses: &[String], left_out: u64) -> String {
    let more = if left_out > 0 { format!(" and {left_out} more") } else { String::new() };
    format!("{}{more}", addresses.join(" "))
}

/// The texts come from clients and next hops, and must not control the terminal.
fn row(cells: Row) -> Row {
    let printable = |character: char| if character.is_control() { '?' } else { character };
    cells.map(|cell| cell.chars().map(printable).collect())
}

fn short(time: &str) -> String {
    match time.get(..MOMENT_CHARACTERS) {
        Some(milliseconds) => format!("{milliseconds}Z"),
        None => time.to_owned(),
    }
}
