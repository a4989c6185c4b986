//! Many messages: listed and changed page by page, so that no queue is too long.

use std::io;

use clap::Args;
use relay::control::{Id, Request};
use relay::limits::QUEUE_PAGE_MESSAGES;
use relay::queue::bulk::{Changed, Count, Failure, Page, Place, Verb};
use relay::queue::filter::Filter;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::selection::Selection;
use super::{Common, Console, Outcome, print_line};
use crate::cli::{Asked, Socket};

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    selection: Selection,
    /// The oldest so many.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    #[command(flatten)]
    common: Common,
}

/// Prints page after page as they come.
pub(super) fn list(arguments: &List, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let json = arguments.common.json;
    let Some(socket) = arguments.common.socket(console)? else { return Ok(Outcome::Unusable) };
    let filter = Box::new(arguments.selection.filter());
    let mut left = arguments.limit.unwrap_or(usize::MAX);
    let mut listed: u64 = 0;
    let mut after = None;
    while left > 0 {
        let limit = left.min(QUEUE_PAGE_MESSAGES);
        let request = Request::QueueList { after, filter: filter.clone(), limit };
        let page: Page = match read(&socket, &request, console)? {
            Ok(page) => page,
            Err(outcome) => return Ok(outcome),
        };
        for row in &page.rows {
            if json {
                let before = if listed == 0 { "[\n" } else { ",\n" };
                write!(console.out, "{before}{:#}", serde_json::to_value(row)?)?;
            } else {
                print_line(row, console)?;
            }
            listed += 1;
        }
        left -= page.rows.len().min(left);
        if !page.place.more {
            break;
        }
        after = last(&page.place)?;
    }
    match (json, listed) {
        (true, 0) => writeln!(console.out, "[]")?,
        (true, _) => writeln!(console.out, "\n]")?,
        (false, _) => writeln!(console.out, "{}", messages(listed))?,
    }
    Ok(Outcome::Yes)
}

/// Counts the messages that are meant, says how many they are, and changes those: what arrives
/// meanwhile is not among them.
pub(super) fn change(
    verb: Verb,
    filter: Filter,
    common: &Common,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let Some(socket) = common.socket(console)? else { return Ok(Outcome::Unusable) };
    let (meant, until) = match count(&socket, &filter, console)? {
        Ok(counted) => counted,
        Err(outcome) => return Ok(outcome),
    };
    writeln!(console.err, "{}: {}", name(verb), messages(meant))?;
    let mut done = Done::default();
    let refused = match meant {
        0 => None,
        _ => change_each(verb, meant, until, &filter, &socket, &mut done, console)?,
    };
    if common.json {
        console.json(&json!({
            "verb": verb, "messages": meant, "changed": done.changed, "failed": done.failed,
        }))?;
    } else {
        let what = match verb {
            Verb::Hold => "held",
            Verb::Release => "released",
            Verb::Remove => "removed",
            Verb::Retry | Verb::Flush => "to be tried now",
        };
        writeln!(console.out, "{} {what}", messages(done.changed))?;
    }
    let outcome = if done.failed.is_empty() { Outcome::Yes } else { Outcome::No };
    Ok(refused.unwrap_or(outcome))
}

/// What has become of the messages so far.
#[derive(Default)]
struct Done {
    changed: u64,
    failed: Vec<Failure>,
}

/// How many messages there are, and the last that was looked at; or what the command comes to.
fn count(
    socket: &Socket,
    filter: &Filter,
    console: &mut Console<'_>,
) -> anyhow::Result<Result<(u64, Option<Id>), Outcome>> {
    let (mut meant, mut after) = (0, None);
    loop {
        let request = Request::QueueCount { after, filter: Box::new(filter.clone()) };
        let count: Count = match read(socket, &request, console)? {
            Ok(count) => count,
            Err(outcome) => return Ok(Err(outcome)),
        };
        meant += count.messages;
        after = last(&count.place)?;
        if !count.place.more {
            console.progress("")?;
            return Ok(Ok((meant, after)));
        }
        console.progress(&format!("{} found", messages(meant)))?;
    }
}

/// Changes what arrived up to `until`. Says what the command comes to where the daemon refuses.
fn change_each(
    verb: Verb,
    meant: u64,
    until: Option<Id>,
    filter: &Filter,
    socket: &Socket,
    done: &mut Done,
    console: &mut Console<'_>,
) -> anyhow::Result<Option<Outcome>> {
    let mut after = None;
    loop {
        let filter = Box::new(filter.clone());
        let request = Request::QueueChange { change: verb, after, until, filter };
        let part: Changed = match read(socket, &request, console)? {
            Ok(part) => part,
            Err(outcome) => return Ok(Some(outcome)),
        };
        console.progress("")?;
        for failure in &part.failed {
            writeln!(console.err, "{}: {}", failure.id, failure.because)?;
        }
        done.changed += part.changed;
        done.failed.extend(part.failed);
        if !part.place.more {
            return Ok(None);
        }
        let so_far = done.changed + done.failed.len() as u64;
        console.progress(&format!("{}: {so_far} of {meant}", name(verb)))?;
        after = last(&part.place)?;
    }
}

/// An answer of the daemon, or what the command comes to without it.
fn read<T: DeserializeOwned>(
    socket: &Socket,
    request: &Request,
    console: &mut Console<'_>,
) -> anyhow::Result<Result<T, Outcome>> {
    Ok(match socket.ask(request, console)? {
        Asked::Answer(answer) => Ok(serde_json::from_value(answer)?),
        Asked::Printed(outcome) => Err(outcome),
    })
}

fn last(place: &Place) -> anyhow::Result<Option<Id>> {
    Ok(place.last.as_deref().map(str::parse).transpose()?.map(Id))
}

fn messages(number: u64) -> String {
    format!("{number} message{}", if number == 1 { "" } else { "s" })
}

fn name(verb: Verb) -> &'static str {
    match verb {
        Verb::Hold => "hold",
        Verb::Release => "release",
        Verb::Retry => "retry",
        Verb::Remove => "remove",
        Verb::Flush => "flush",
    }
}

impl Console<'_> {
    /// Puts this in the place of what it said before, where somebody looks on. Nothing removes it.
    fn progress(&mut self, text: &str) -> io::Result<()> {
        if self.err_is_terminal {
            // To the beginning of the line, and what stood there is erased.
            write!(self.err, "\r\x1b[K{text}")?;
            self.err.flush()?;
        }
        Ok(())
    }
}
