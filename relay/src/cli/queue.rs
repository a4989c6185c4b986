//! `relay queue`: the messages that wait, and what may be done with one.

use std::io;

use clap::{Args, Subcommand};
use relay::control::{self, ControlError, Id, Request};
use relay::queue::QueueId;
use relay::queue::admin::{Detail, RecipientStatus, Row};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::{Common, Console, Outcome};

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
    let (request, common) = match arguments.verb {
        Verb::List { common } => (Request::QueueList, common),
        Verb::Hold(One { id, common }) => (Request::QueueHold { id: Id(id) }, common),
        Verb::Release(One { id, common }) => (Request::QueueRelease { id: Id(id) }, common),
        Verb::Remove(One { id, common }) => (Request::QueueRemove { id: Id(id) }, common),
        Verb::Retry(One { id, common }) => (Request::QueueRetry { id: Id(id) }, common),
        Verb::Show(One { id, common }) => (Request::QueueShow { id: Id(id) }, common),
    };
    let Some(config) = common.load(console)? else { return Ok(Outcome::Unusable) };
    let answer = match control::ask(&config.control.socket, &request) {
        Ok(answer) => answer,
        Err(ControlError::Refused(why)) => {
            writeln!(console.err, "{why}")?;
            return Ok(Outcome::No);
        }
        Err(error) => return Err(error.into()),
    };
    if common.json {
        console.json(&answer)?;
    } else {
        print(request, answer, console)?;
    }
    Ok(Outcome::Yes)
}

fn print(request: Request, answer: Value, console: &mut Console<'_>) -> anyhow::Result<()> {
    match request {
        Request::QueueList => {
            let rows: Vec<Row> = serde_json::from_value(answer)?;
            for row in &rows {
                print_line(row, console)?;
            }
            writeln!(console.out, "{} messages", rows.len())?;
        }
        Request::QueueRemove { .. } => {
            let Detail { row, .. } = serde_json::from_value(answer)?;
            writeln!(console.out, "removed {}", row.id)?;
        }
        _ => print_whole(&serde_json::from_value(answer)?, console)?,
    }
    Ok(())
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
