//! `relay queue`: the messages that wait, and what may be done with them.
//!
//! [`selection`] says which are meant, [`many`] lists them and changes them page by page, and
//! [`export`] takes one out as a file.

mod export;
mod many;
mod selection;

use std::io;

use clap::{Args, Subcommand};
use relay::control::{Id, Request};
use relay::queue::QueueId;
use relay::queue::admin::{Detail, RecipientStatus, Row};
use relay::queue::bulk::Verb as Change;
use relay::queue::filter::Filter;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::selection::Selection;
use super::{Asked, Common, Console, Outcome};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a message as it would leave to a file or to standard output.
    Export(export::Arguments),
    /// Try everything for a domain now, at next hops that are left alone for now too.
    Flush {
        /// The recipients' domain; `*.DOMAIN` for all below it too.
        #[arg(value_parser = selection::domain)]
        domain: String,
        #[command(flatten)]
        common: Common,
    },
    /// Stop the delivery of messages until they are released.
    Hold(Which),
    /// List the messages in the queue.
    List(many::List),
    /// Show one message with every recipient.
    Show(One),
    /// Let the delivery of held messages go on.
    Release(Which),
    /// Try messages now. A next hop that is left alone for now stays so: see `flush`.
    Retry(Which),
    /// Take messages out of the queue. Nobody gets a report.
    Remove(Which),
}

/// One message.
#[derive(Args, Debug)]
struct One {
    /// The queue id, as the 250 gave it.
    id: QueueId,
    #[command(flatten)]
    common: Common,
}

/// One message, or many: an id, a filter, or --all.
#[derive(Args, Debug)]
struct Which {
    /// The queue id, as the 250 gave it.
    #[arg(conflicts_with = "Selection")]
    id: Option<QueueId>,
    /// Every message in the queue.
    #[arg(long, conflicts_with_all = ["Selection", "id"])]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: Arguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let (change, which) = match arguments.verb {
        Verb::Export(export) => return export::run(&export, console),
        Verb::Flush { domain, common } => {
            // What an administrator holds stays held.
            let filter = Filter { domain: Some(domain), held: Some(false), ..Filter::default() };
            return many::change(Change::Flush, filter, &common, console);
        }
        Verb::List(list) => return many::list(&list, console),
        Verb::Show(One { id, common }) => {
            return one(&Request::QueueShow { id: Id(id) }, &common, console);
        }
        Verb::Hold(which) => (Change::Hold, which),
        Verb::Release(which) => (Change::Release, which),
        Verb::Remove(which) => (Change::Remove, which),
        Verb::Retry(which) => (Change::Retry, which),
    };
    let filter = which.selection.filter();
    match which.id.map(Id) {
        Some(id) => {
            let request = match change {
                Change::Hold => Request::QueueHold { id },
                Change::Release => Request::QueueRelease { id },
                Change::Remove => Request::QueueRemove { id },
                Change::Retry | Change::Flush => Request::QueueRetry { id },
            };
            one(&request, &which.common, console)
        }
        None if which.all || filter != Filter::default() => {
            many::change(change, filter, &which.common, console)
        }
        None => {
            writeln!(
                console.err,
                "which messages? give a queue id, a filter such as --domain, or --all"
            )?;
            Ok(Outcome::Unusable)
        }
    }
}

fn one(request: &Request, common: &Common, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let answer = match common.ask(request, console)? {
        Asked::Answer(answer) => answer,
        Asked::Printed(outcome) => return Ok(outcome),
    };
    if common.json {
        console.json(&answer)?;
    } else if let Request::QueueRemove { id } = request {
        writeln!(console.out, "removed {id}")?;
    } else {
        print_whole(&serde_json::from_value(answer)?, console)?;
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
