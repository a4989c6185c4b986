//! Many messages: listed and changed page by page, so that the queue may have any length.

use std::io;

use clap::Args;
use relay::control::ControlRequest;
use relay_mail::printable::printable;
use relay_mail::queue_id::QueueId;
use relay_queue::admin::Row;
use relay_queue::bulk::{BulkAction, ChangeFailure, Changed, Count, Page, PageCursor};
use relay_queue::filter::Filter;
use relay_queue::limits::QUEUE_PAGE_MESSAGES;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::selection::Selection;
use super::{
    Asked, Common, Console, DaemonAccess, FileAccess, Outcome, Reached, Socket, print_line, stopped,
};

#[derive(Args, Debug)]
pub(super) struct List {
    #[command(flatten)]
    selection: Selection,
    /// List only this many messages, the oldest first.
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
    #[command(flatten)]
    access: FileAccess,
}

impl List {
    pub(super) fn common(&self) -> &Common {
        &self.access.daemon.common
    }
}

/// Prints each page as soon as it arrives.
pub(super) fn list(arguments: &List, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let json = arguments.access.daemon.common.json;
    let filter = arguments.selection.filter();
    let limit = arguments.limit.unwrap_or(usize::MAX);
    let mut printed: u64 = 0;
    let mut print = |row: Row, console: &mut Console<'_>| -> anyhow::Result<()> {
        if json {
            let before = if printed == 0 { "[\n" } else { ",\n" };
            write!(console.out, "{before}{:#}", serde_json::to_value(row)?)?;
        } else {
            print_line(&row, console)?;
        }
        printed += 1;
        Ok(())
    };
    let (listed, selected, all) = match arguments.access.reach(console)? {
        Reached::Daemon(socket) => {
            match list_running(&socket, &filter, limit, &mut print, console)? {
                Ok(counts) => counts,
                Err(outcome) => return Ok(outcome),
            }
        }
        Reached::Stopped(_, Some(queue)) => {
            stopped::list(&queue, &filter, limit, &mut print, console)?
        }
        Reached::Stopped(error, None) => return Err(error.into()),
    };
    match (json, listed) {
        (true, 0) => writeln!(console.out, "[]")?,
        (true, _) => writeln!(console.out, "\n]")?,
        (false, _) => writeln!(console.out, "{}", counted(listed, selected, all))?,
    }
    Ok(Outcome::Yes)
}

/// As in `3 of 210 messages`; with a filter, `3 of 57 selected, of 210 messages`.
fn counted(listed: u64, selected: u64, all: u64) -> String {
    match (listed == selected, selected == all) {
        (true, true) => messages(all),
        (true, false) | (false, true) => format!("{listed} of {}", messages(all)),
        (false, false) => format!("{listed} of {selected} selected, of {}", messages(all)),
    }
}

/// The numbers of listed, selected and all messages; or the result of a refused command.
fn list_running(
    socket: &Socket,
    filter: &Filter,
    limit: usize,
    print: &mut impl FnMut(Row, &mut Console<'_>) -> anyhow::Result<()>,
    console: &mut Console<'_>,
) -> anyhow::Result<Result<(u64, u64, u64), Outcome>> {
    let mut left = limit;
    let (mut listed, mut all) = (0, 0);
    let mut after = None;
    let mut is_cut = left == 0;
    while left > 0 {
        let limit = left.min(QUEUE_PAGE_MESSAGES);
        let request = ControlRequest::QueueList { after, filter: Box::new(filter.clone()), limit };
        let page: Page = match read(socket, &request, console)? {
            Ok(page) => page,
            Err(outcome) => return Ok(Err(outcome)),
        };
        left -= page.rows.len().min(left);
        all = page.total;
        listed += page.rows.len() as u64;
        page.rows.into_iter().try_for_each(|row| print(row, console))?;
        if !page.place.more {
            break;
        }
        after = last(&page.place)?;
        is_cut = left == 0;
    }
    if !is_cut {
        // Messages that left the queue in the selectedime were listed too.
        return Ok(Ok((listed, listed, all.max(listed))));
    }
    let selected = match count(socket, filter, console)? {
        Ok((selected, _)) => selected.max(listed),
        Err(outcome) => return Ok(Err(outcome)),
    };
    Ok(Ok((listed, selected, all.max(selected))))
}

/// Counts the selected messages, prints their number, and changes them. Messages that arrive later
/// are not changed.
pub(super) fn change(
    verb: BulkAction,
    filter: Filter,
    access: &DaemonAccess,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let socket = access.socket(console)?;
    let (selected, until) = match count(&socket, &filter, console)? {
        Ok(counted) => counted,
        Err(outcome) => return Ok(outcome),
    };
    writeln!(console.err, "{}: {}", name(verb), messages(selected))?;
    let mut done = Done::default();
    let refused = match selected {
        0 => None,
        _ => change_each(verb, selected, until, &filter, &socket, &mut done, console)?,
    };
    if access.common.json {
        console.json(&json!({
            "verb": verb, "messages": selected, "changed": done.changed,
            "unchanged": done.unchanged, "left_alone": done.left_alone, "failed": done.failed,
        }))?;
    } else {
        let what = match verb {
            BulkAction::Hold => "held",
            BulkAction::Release => "released",
            BulkAction::Remove => "removed",
            BulkAction::RemoveWithReport => "removed, with a report to each sender",
            BulkAction::Retry | BulkAction::Flush => "scheduled for retry now",
        };
        let unchanged = match (verb, done.unchanged) {
            (_, 0) => String::new(),
            (BulkAction::Hold, number) => format!("; {number} already held"),
            (BulkAction::Release, number) => format!("; {number} not held"),
            (_, number) => format!("; {number} on hold: not retried before they are released"),
        };
        let left_alone = match done.left_alone {
            0 => String::new(),
            number => format!(
                "; {number} wait for next hops in back-off; `relay queue flush` retries them now"
            ),
        };
        let changed = messages(done.changed - done.left_alone);
        writeln!(console.out, "{changed} {what}{unchanged}{left_alone}")?;
    }
    let outcome = if done.failed.is_empty() { Outcome::Yes } else { Outcome::No };
    Ok(refused.unwrap_or(outcome))
}

/// The results so far.
#[derive(Default)]
struct Done {
    changed: u64,
    unchanged: u64,
    left_alone: u64,
    failed: Vec<ChangeFailure>,
}

/// The number of messages and the last queue id; or the result of a refused command.
pub(super) fn count(
    socket: &Socket,
    filter: &Filter,
    console: &mut Console<'_>,
) -> anyhow::Result<Result<(u64, Option<QueueId>), Outcome>> {
    let (mut selected, mut after) = (0, None);
    loop {
        let request = ControlRequest::QueueCount { after, filter: Box::new(filter.clone()) };
        let count: Count = match read(socket, &request, console)? {
            Ok(count) => count,
            Err(outcome) => return Ok(Err(outcome)),
        };
        selected += count.messages;
        after = last(&count.place)?;
        if !count.place.more {
            console.progress("")?;
            return Ok(Ok((selected, after)));
        }
        console.progress(&format!("{} found", messages(selected)))?;
    }
}

/// Changes messages that arrived up to `until`. Returns the result of the command if the daemon
/// refuses.
fn change_each(
    verb: BulkAction,
    selected: u64,
    until: Option<QueueId>,
    filter: &Filter,
    socket: &Socket,
    done: &mut Done,
    console: &mut Console<'_>,
) -> anyhow::Result<Option<Outcome>> {
    let mut after = None;
    loop {
        let filter = Box::new(filter.clone());
        let request = ControlRequest::QueueChange { change: verb, after, until, filter };
        let part: Changed = match read(socket, &request, console)? {
            Ok(part) => part,
            Err(outcome) => return Ok(Some(outcome)),
        };
        console.progress("")?;
        for failure in &part.failed {
            writeln!(console.err, "{}: {}", failure.id, failure.because)?;
        }
        done.changed += part.changed;
        done.unchanged += part.unchanged;
        done.left_alone += part.left_alone.min(part.changed);
        done.failed.extend(part.failed);
        if !part.place.more {
            return Ok(None);
        }
        let so_far = done.changed + done.unchanged + done.failed.len() as u64;
        console.progress(&format!("{}: {so_far} of {selected}", name(verb)))?;
        after = last(&part.place)?;
    }
}

/// An answer of the daemon, or the result of the refused command.
pub(super) fn read<T: DeserializeOwned>(
    socket: &Socket,
    request: &ControlRequest,
    console: &mut Console<'_>,
) -> anyhow::Result<Result<T, Outcome>> {
    Ok(match socket.ask(request, console)? {
        Asked::Answer(answer) => Ok(serde_json::from_value(answer)?),
        Asked::Printed(outcome) => Err(outcome),
    })
}

pub(super) fn last(place: &PageCursor) -> anyhow::Result<Option<QueueId>> {
    Ok(place.last.as_deref().map(str::parse).transpose()?)
}

pub(super) fn messages(number: u64) -> String {
    format!("{number} message{}", if number == 1 { "" } else { "s" })
}

fn name(verb: BulkAction) -> &'static str {
    match verb {
        BulkAction::Hold => "hold",
        BulkAction::Release => "release",
        BulkAction::Retry => "retry",
        BulkAction::Remove | BulkAction::RemoveWithReport => "remove",
        BulkAction::Flush => "flush",
    }
}

impl Console<'_> {
    /// Overwrites the previous progress text on the terminal, if there is one. An empty text erases
    /// it.
    fn progress(&mut self, text: &str) -> io::Result<()> {
        let Some(terminal) = &mut self.terminal else { return Ok(()) };
        // Move to the beginning of the line and erase it.
        write!(terminal, "\r\x1b[K{}", printable(text))?;
        terminal.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_program_s_own_control_sequences_reach_the_terminal() {
        let (mut out, mut err, mut terminal) = (Vec::new(), Vec::new(), Vec::new());
        let (out, err) = (&mut out as &mut dyn io::Write, &mut err as &mut dyn io::Write);
        let mut console =
            Console { out, err, terminal: Some(&mut terminal), in_is_terminal: false };
        console.progress("hold: 1 of 2\u{1b}[2J").unwrap();
        console.terminal = None;
        console.progress("hold: 2 of 2").unwrap();
        assert_eq!(terminal, b"\r\x1b[Khold: 1 of 2\\u001b[2J");
    }
}
