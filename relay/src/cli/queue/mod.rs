//! `relay queue`: the messages in the queue, and the commands that change them.
//!
//! [`selection`] selects messages, [`many`] lists and changes them page by page, and [`export`]
//! writes one message to a file.

mod export;
mod many;
mod remove;
pub(super) mod selection;
mod stopped;

use std::io;

use clap::{Args, Subcommand};
use relay::control::ControlRequest;
use relay_mail::domain_pattern::DomainPattern;
use relay_mail::printable::printable;
use relay_mail::queue_id::QueueId;
use relay_queue::admin::{Detail, RecipientStatus, Row};
use relay_queue::bulk::BulkAction as Change;
use relay_queue::filter::Filter;
use relay_tracking::timeline;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use self::selection::Selection;
use super::access::Reached;
use super::{Asked, Common, Console, DaemonAccess, FileAccess, Outcome, Socket};

#[derive(Args, Debug)]
pub(super) struct QueueArguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Write a message, as it would be sent, to a file or to standard output.
    Export(export::ExportArguments),
    /// Retry all mail for a domain now, even if its next hop is in back-off.
    Flush {
        /// The recipients' domain; `*.DOMAIN` includes its subdomains.
        domain: DomainPattern,
        #[command(flatten)]
        access: DaemonAccess,
    },
    /// Hold messages: they are not delivered until they are released.
    Hold(Which),
    /// List the messages in the queue.
    List(many::List),
    /// Show one message with all recipients.
    Show(One),
    /// Release held messages for delivery.
    Release(Which),
    /// Retry messages now. A next hop in back-off is not tried: see `flush`.
    Retry(Which),
    /// Remove messages from the queue permanently. Senders get no report, unless --report is given.
    /// Asks first; without a terminal, --yes is required.
    Remove(remove::RemoveArguments),
}

impl QueueArguments {
    pub(super) fn common(&self) -> &Common {
        match &self.verb {
            Verb::Export(arguments) => arguments.common(),
            Verb::Flush { access, .. } => &access.common,
            Verb::Hold(which) | Verb::Release(which) | Verb::Retry(which) => &which.access.common,
            Verb::List(arguments) => arguments.common(),
            Verb::Show(one) => &one.access.daemon.common,
            Verb::Remove(arguments) => arguments.common(),
        }
    }
}

/// One message.
#[derive(Args, Debug)]
struct One {
    /// The queue id from the 250 reply.
    id: QueueId,
    #[command(flatten)]
    access: FileAccess,
}

/// One message, or many: an id, a filter, or --all.
#[derive(Args, Debug)]
struct Which {
    /// The queue id from the 250 reply.
    #[arg(conflicts_with = "Selection")]
    id: Option<QueueId>,
    /// Every message in the queue.
    #[arg(long, conflicts_with_all = ["Selection", "id"])]
    all: bool,
    #[command(flatten)]
    selection: Selection,
    #[command(flatten)]
    access: DaemonAccess,
}

pub(super) fn run(arguments: QueueArguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let (change, which) = match arguments.verb {
        Verb::Export(export) => return export::run(&export, console),
        Verb::Flush { domain, access } => {
            // Held messages stay held.
            let filter = Filter { domain: Some(domain), held: Some(false), ..Filter::default() };
            return many::change(Change::Flush, filter, &access, console);
        }
        Verb::List(list) => return many::list(&list, console),
        Verb::Show(One { id, access }) => return show(id, &access, console),
        Verb::Remove(arguments) => return remove::run(arguments, console),
        Verb::Hold(which) => (Change::Hold, which),
        Verb::Release(which) => (Change::Release, which),
        Verb::Retry(which) => (Change::Retry, which),
    };
    match which.chosen(console)? {
        Chosen::One(id) => {
            let request = match change {
                Change::Hold => ControlRequest::QueueHold { id },
                Change::Release => ControlRequest::QueueRelease { id },
                Change::Remove => ControlRequest::QueueRemove { id, report: false },
                Change::RemoveWithReport => ControlRequest::QueueRemove { id, report: true },
                Change::Retry | Change::Flush => ControlRequest::QueueRetry { id },
            };
            one(&request, &which.access, console)
        }
        Chosen::Many(filter) => many::change(change, filter, &which.access, console),
        Chosen::Empty => Ok(Outcome::Unusable),
    }
}

/// The selected messages.
enum Chosen {
    One(QueueId),
    Many(Filter),
    /// The selection is empty; an error was printed.
    Empty,
}

impl Which {
    fn chosen(&self, console: &mut Console<'_>) -> io::Result<Chosen> {
        let filter = self.selection.filter();
        Ok(match self.id {
            Some(id) => Chosen::One(id),
            None if self.all || filter != Filter::default() => Chosen::Many(filter),
            None => {
                writeln!(
                    console.err,
                    "which messages? give a queue id, a filter such as --domain, or --all"
                )?;
                Chosen::Empty
            }
        })
    }
}

/// Shows one message: asks the daemon or, if none runs, reads the queue's files.
fn show(id: QueueId, access: &FileAccess, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let json = access.daemon.common.json;
    match access.reach(console)? {
        Reached::Daemon(socket) => {
            let request = ControlRequest::QueueShow { id };
            match socket.ask(&request, console)? {
                Asked::Answer(answer) if json => console.json(&answer)?,
                Asked::Answer(answer) => print_whole(&serde_json::from_value(answer)?, console)?,
                Asked::Printed(outcome) => return Ok(outcome),
            }
            Ok(Outcome::Yes)
        }
        Reached::Stopped(_, Some(queue)) => stopped::show(&queue, id, json, console),
        Reached::Stopped(error, None) => Err(error.into()),
    }
}

fn one(
    request: &ControlRequest,
    access: &DaemonAccess,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let answer = match access.ask(request, console)? {
        Asked::Answer(answer) => answer,
        Asked::Printed(outcome) => return Ok(outcome),
    };
    if access.common.json {
        console.json(&answer)?;
    } else if let ControlRequest::QueueRemove { id, report } = request {
        let report = if *report { "; its sender is sent a report" } else { "" };
        writeln!(console.out, "removed {id}{report}")?;
    } else {
        print_whole(&serde_json::from_value(answer)?, console)?;
    }
    Ok(Outcome::Yes)
}

fn print_line(row: &Row, console: &mut Console<'_>) -> io::Result<()> {
    writeln!(
        console.out,
        "{}  {}  {} octets  <{}> to {}",
        row.id,
        moment(row.arrived),
        row.size,
        row.sender,
        row.pending.join(", ")
    )?;
    let attempts = timeline::attempts(row.attempts);
    let next = match row.held {
        true => "held".to_owned(),
        false => format!("next attempt {}", moment(row.due)),
    };
    writeln!(console.out, "  {attempts}, {next}")?;
    // Do not print the last answer twice if the reason contains it.
    let is_repeated = row.reason.as_ref().zip(row.because.as_ref());
    let is_repeated = is_repeated.is_some_and(|(reason, because)| reason.contains(&**because));
    for text in
        [row.reason.as_ref(), row.because.as_ref().filter(|_| !is_repeated)].into_iter().flatten()
    {
        writeln!(console.out, "  {}", printable(text))?;
    }
    Ok(())
}

fn print_whole(detail: &Detail, console: &mut Console<'_>) -> io::Result<()> {
    print_line(&detail.row, console)?;
    for recipient in &detail.recipients {
        let state = match recipient.state {
            RecipientStatus::Pending => "waiting",
            RecipientStatus::Delivered => "delivered",
            RecipientStatus::Failed => "failed",
        };
        let because = recipient.because.as_deref().unwrap_or("not tried yet");
        let because = printable(because);
        writeln!(console.out, "  {}: {state}: {because}", recipient.address)?;
    }
    Ok(())
}

/// Formats a time by RFC 3339; after the year 9999, as a number of seconds.
pub(super) fn moment(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}
