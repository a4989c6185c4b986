//! `relay queue`: the messages that wait, and what may be done with one.

use std::io;

use clap::{Args, Subcommand};
use relay::control::{self, ControlError, Id, Request};
use relay::daemon::queue::Row;
use relay::queue::QueueId;
use serde_json::Value;

use super::{Common, Console, Outcome};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the messages in the queue.
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Show one message with every recipient.
    Show {
        /// The queue id, as the 250 gave it.
        id: QueueId,
        #[command(flatten)]
        common: Common,
    },
    /// Try a message now.
    Retry {
        /// The queue id, as the 250 gave it.
        id: QueueId,
        #[command(flatten)]
        common: Common,
    },
    /// Take a message out of the queue. Nobody gets a report.
    Remove {
        /// The queue id, as the 250 gave it.
        id: QueueId,
        #[command(flatten)]
        common: Common,
    },
}

pub(super) fn run(arguments: Arguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let (request, common) = match arguments.verb {
        Verb::List { common } => (Request::QueueList, common),
        Verb::Show { id, common } => (Request::QueueShow { id: Id(id) }, common),
        Verb::Retry { id, common } => (Request::QueueRetry { id: Id(id) }, common),
        Verb::Remove { id, common } => (Request::QueueRemove { id: Id(id) }, common),
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
            let row: Row = serde_json::from_value(answer)?;
            writeln!(console.out, "removed {}", row.id)?;
        }
        _ => print_whole(&serde_json::from_value(answer)?, console)?,
    }
    Ok(())
}

fn print_line(row: &Row, console: &mut Console<'_>) -> io::Result<()> {
    let held = if row.held { " held" } else { "" };
    let addresses: Vec<_> =
        row.recipients.iter().map(|recipient| recipient.address.as_str()).collect();
    writeln!(
        console.out,
        "{}  {}  <{}> to {}  {} attempts, next {}{held}",
        row.id,
        row.arrived,
        row.sender,
        addresses.join(", "),
        row.attempts,
        row.due
    )
}

fn print_whole(row: &Row, console: &mut Console<'_>) -> io::Result<()> {
    print_line(row, console)?;
    for recipient in &row.recipients {
        let answer = recipient.answer.as_deref().unwrap_or("not tried yet");
        writeln!(console.out, "  {} {}: {answer}", recipient.address, recipient.state)?;
    }
    Ok(())
}
