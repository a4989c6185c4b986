//! `relay queue remove`: removes messages from the queue permanently.
//!
//! The command asks first. Without a terminal it cannot ask, so it removes nothing unless --yes is
//! given. --dry-run is for authors of scripts.

use std::io::{self, BufRead};

use clap::Args;
use relay::control::ControlRequest;
use relay_queue::bulk::{BulkAction as Change, Page};
use relay_queue::filter::Filter;

use super::{Asked, Chosen, Common, Console, Outcome, Socket, Which, many, one, print_line};
use crate::cli::queue::many::messages;

/// Messages that are shown before the question.
const SHOWN: usize = 10;

#[derive(Args, Debug)]
pub(super) struct RemoveArguments {
    #[command(flatten)]
    which: Which,
    /// Remove without a question. Required if there is no terminal.
    #[arg(long, short)]
    yes: bool,
    /// List the messages that would be removed; remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Send each sender a report that the message was not delivered.
    #[arg(long)]
    report: bool,
}

impl RemoveArguments {
    pub(super) fn common(&self) -> &Common {
        &self.which.access.common
    }
}

pub(super) fn run(
    arguments: RemoveArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let RemoveArguments { which, yes, dry_run, report } = arguments;
    let chosen = which.chosen(console)?;
    let access = &which.access;
    let asks = !yes;
    if asks && !dry_run && !matches!(chosen, Chosen::Empty) && !console.can_ask() {
        writeln!(
            console.err,
            "nothing is removed: there is no terminal for the question; give --yes to remove without a \
             question, or --dry-run to list what would be removed"
        )?;
        return Ok(Outcome::Unusable);
    }
    match &chosen {
        Chosen::Empty => return Ok(Outcome::Unusable),
        Chosen::One(id) if dry_run || asks => {
            let socket = access.socket(console)?;
            let request = ControlRequest::QueueShow { id: *id };
            match socket.ask(&request, console)? {
                Asked::Answer(row) => print_line(&serde_json::from_value(row)?, console)?,
                Asked::Printed(outcome) => return Ok(outcome),
            }
            if dry_run {
                return print_count(1, access.common.json, console);
            }
            if !is_agreed(1, report, console)? {
                return Ok(Outcome::No);
            }
        }
        Chosen::Many(filter) if dry_run || asks => {
            let socket = access.socket(console)?;
            let limit = if dry_run { usize::MAX } else { SHOWN };
            let count = match preview(&socket, filter, limit, access.common.json, console)? {
                Ok(count) => count,
                Err(outcome) => return Ok(outcome),
            };
            if dry_run {
                return print_count(count, access.common.json, console);
            }
            if count == 0 || !is_agreed(count, report, console)? {
                return Ok(Outcome::No);
            }
        }
        Chosen::One(_) | Chosen::Many(_) => {}
    }
    let change = if report { Change::RemoveWithReport } else { Change::Remove };
    match chosen {
        Chosen::One(id) => one(&ControlRequest::QueueRemove { id, report }, &which.access, console),
        Chosen::Many(filter) => many::change(change, filter, &which.access, console),
        Chosen::Empty => Ok(Outcome::Unusable),
    }
}

/// Shows the first selected messages, and returns how many are selected.
fn preview(
    socket: &Socket,
    filter: &Filter,
    limit: usize,
    json: bool,
    console: &mut Console<'_>,
) -> anyhow::Result<Result<u64, Outcome>> {
    let count = match many::count(socket, filter, console)? {
        Ok((count, _)) => count,
        Err(outcome) => return Ok(Err(outcome)),
    };
    let mut after = None;
    let mut left = limit;
    while left > 0 && !json {
        let limit = left.min(relay_queue::limits::QUEUE_PAGE_MESSAGES);
        let request = ControlRequest::QueueList { after, filter: Box::new(filter.clone()), limit };
        let page: Page = match many::read(socket, &request, console)? {
            Ok(page) => page,
            Err(outcome) => return Ok(Err(outcome)),
        };
        page.rows.iter().try_for_each(|row| print_line(row, console))?;
        left -= page.rows.len().min(left);
        if !page.place.more {
            break;
        }
        after = many::last(&page.place)?;
    }
    if !json && count > limit as u64 {
        writeln!(console.out, "and {} more", count - limit as u64)?;
    }
    Ok(Ok(count))
}

fn print_count(count: u64, json: bool, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    match json {
        true => console.json(&serde_json::json!({ "would_remove": count }))?,
        false => writeln!(console.out, "{} would be removed", messages(count))?,
    }
    Ok(Outcome::Yes)
}

fn is_agreed(count: u64, report: bool, console: &mut Console<'_>) -> io::Result<bool> {
    let report = if report { "with a report to each sender" } else { "without a report" };
    console.out.flush()?;
    write!(console.err, "remove {}, {report}? [y/N] ", messages(count))?;
    console.err.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes" | "YES"))
}
