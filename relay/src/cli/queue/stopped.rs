//! The queue of a stopped daemon: listed and shown, never changed.

use relay_mail::queue_id::QueueId;
use relay_queue::admin::{Detail, Row};
use relay_queue::filter::Filter;
use relay_queue::{Offline, Unserved};
use serde_json::Value;

use super::{Console, Outcome, print_whole};

/// The reason that `relay queue list` shows for each message while no daemon runs.
const STOPPED: &str = "no daemon runs, so nothing is delivered";

/// Lists the messages that match the filter, at most `limit`. Returns the numbers of listed,
/// selected and all messages.
pub(super) fn list(
    queue: &Offline,
    filter: &Filter,
    limit: usize,
    mut print: impl FnMut(Row, &mut Console<'_>) -> anyhow::Result<()>,
    console: &mut Console<'_>,
) -> anyhow::Result<(u64, u64, u64)> {
    let (mut listed, mut selected, mut all) = (0, 0, 0);
    let mut failure = None;
    let mut damaged = Vec::new();
    queue.each(|entry| {
        all += 1;
        match entry {
            Ok(entry) if filter.matches(&entry) => {
                selected += 1;
                if (listed as usize) < limit && failure.is_none() {
                    listed += 1;
                    failure = print(row(&entry), console).err();
                }
            }
            Ok(_) => {}
            Err(unserved) => damaged.push(unserved),
        }
    })?;
    if let Some(failure) = failure {
        return Err(failure);
    }
    for unserved in damaged {
        match unserved {
            Unserved::SetAside(id) => {
                writeln!(console.err, "{id}: damaged; the next start moves it to damaged/")?;
            }
            Unserved::Held(id) => {
                writeln!(
                    console.err,
                    "{id}: its entry cannot be read; the daemon will put it on hold"
                )?;
            }
        }
    }
    warn_if_in_use(queue, console)?;
    Ok((listed, selected, all))
}

/// One message.
pub(super) fn show(
    queue: &Offline,
    id: QueueId,
    json: bool,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let entry = match queue.find(id) {
        Ok(entry) => entry,
        Err(error) => {
            writeln!(console.err, "{error}")?;
            return Ok(Outcome::No);
        }
    };
    let mut detail = Detail::from(&entry);
    detail.row = row(&entry);
    match json {
        true => console.json(&serde_json::to_value::<&Detail>(&detail).unwrap_or(Value::Null))?,
        false => print_whole(&detail, console)?,
    }
    warn_if_in_use(queue, console)?;
    Ok(Outcome::Yes)
}

/// A row with a reason, which a running daemon would add.
fn row(entry: &relay_queue::Entry) -> Row {
    let reason = if entry.held { "held by an administrator" } else { STOPPED };
    Row { reason: Some(reason.to_owned()), ..Row::from(entry) }
}

fn warn_if_in_use(queue: &Offline, console: &mut Console<'_>) -> anyhow::Result<()> {
    if queue.is_in_use() {
        writeln!(console.err, "a daemon has started meanwhile; repeat the command")?;
    }
    Ok(())
}
