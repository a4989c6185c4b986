//! `relay queue`: the messages that wait, and what may be done with one.

use std::io;

use clap::{Args, Subcommand};
use relay::control::{Id, Request};
use relay::queue::QueueId;
use relay::queue::admin::{Detail, RecipientStatus, Row};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Asked, Common, Console, Outcome};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Stop the delivery of a message until it is released.
    Hold(One),
    /// List the messages in the queue.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Show one message with every recipient.
    Show(One),
    /// Let the delivery of a held message go on.
    Release(One),
    /// Try a message now.
    Retry(One),
    /// Take a message out of the queue. Nobody gets a report.
    Remove(One),
}

/// One message.
#[derive(Args, Debug)]
struct One {
    /// The queue id, as the 250 gave it.
    id: QueueId,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: Arguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let (request, One { id, common }) = match arguments.verb {
        Verb::List { common } => return list(&common, console),
        Verb::Hold(one) => (Request::QueueHold { id: Id(one.id) }, one),
        Verb::Release(one) => (Request::QueueRelease { id: Id(one.id) }, one),
        Verb::Remove(one) => (Request::QueueRemove { id: Id(one.id) }, one),
        Verb::Retry(one) => (Request::QueueRetry { id: Id(one.id) }, one),
        Verb::Show(one) => (Request::QueueShow { id: Id(one.id) }, one),
    };
    let answer = match common.ask(&request, console)? {
        Asked::Answer(answer) => answer,
        Asked::Printed(outcome) => return Ok(outcome),
    };
    if common.json {
        console.json(&answer)?;
    } else if let Request::QueueRemove { .. } = request {
        writeln!(console.out, "removed {id}")?;
    } else {
        print_whole(&serde_json::from_value(answer)?, console)?;
    }
    Ok(Outcome::Yes)
}

/// Asks for one part after the other, so that a long queue is listed whole.
fn list(common: &Common, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let mut rows: Vec<Row> = Vec::new();
    loop {
        let after = rows.last().map(|row| row.id.parse()).transpose()?.map(Id);
        let part: Vec<Row> = match common.ask(&Request::QueueList { after }, console)? {
            Asked::Answer(answer) => serde_json::from_value(answer)?,
            Asked::Printed(outcome) => return Ok(outcome),
        };
        if part.is_empty() {
            break;
        }
        if !common.json {
            part.iter().try_for_each(|row| print_line(row, console))?;
        }
        rows.extend(part);
    }
    if common.json {
        console.json(&serde_json::to_value(&rows)?)?;
    } else {
        writeln!(console.out, "{} messages", rows.len())?;
    }
    Ok(Outcome::Yes)
}

fn print_line(row: &Row, console: &mut Console<'_>) -> io::Result<()> {
    let held = if row.held { ", held" } else { "" };
    writeln!(
        console.out,
        "{}  {}  {} octets  <{}> to {}",
        row.id,
        moment(row.arrived),
        row.size,
        row.sender,
        row.pending.join(", ")
    )?;
    writeln!(console.out, "  {} attempts, next {}{held}", row.attempts, moment(row.due))?;
    match &row.because {
        Some(because) => writeln!(console.out, "  {because}"),
        None => Ok(()),
    }
}

fn print_whole(detail: &Detail, console: &mut Console<'_>) -> io::Result<()> {
    print_line(&detail.row, console)?;
    for recipient in &detail.recipients {
        let state = match recipient.state {
            RecipientStatus::Pending => "pending",
            RecipientStatus::Delivered => "delivered",
            RecipientStatus::Failed => "failed",
        };
        let because = recipient.because.as_deref().unwrap_or("not tried yet");
        writeln!(console.out, "  {}: {state}: {because}", recipient.address)?;
    }
    Ok(())
}

/// RFC 3339. A time without that form lies beyond the year 9999.
fn moment(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}
