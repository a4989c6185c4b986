//! The queue of a daemon that does not run: listed and shown, and never changed.

use relay_mail::queue_id::QueueId;
use relay_queue::admin::{Detail, Row};
use relay_queue::filter::Filter;
use relay_queue::{Offline, Unserved};
use serde_json::Value;

use super::{Console, Outcome, print_whole};

/// What `relay queue list` says of a message while no daemon runs.
const STOPPED: &str = "no daemon runs, so nothing is delivered";

/// The messages that the filter means, `limit` at most; says how many were listed, how many are
/// meant, and how many there are.
pub(super) fn list(
    queue: &Offline,
    filter: &Filter,
    limit: usize,
    mut take: impl FnMut(Row, &mut Console<'_>) -> anyhow::Result<()>,
    console: &mut Console<'_>,
) -> anyhow::Result<(u64, u64, u64)> {
    let (mut listed, mut meant, mut all) = (0, 0, 0);
    let mut failure = None;
    let mut damaged = Vec::new();
    queue.each(|entry| {
        all += 1;
        match entry {
            Ok(entry) if filter.matches(&entry) => {
                meant += 1;
                if (listed as usize) < limit && failure.is_none() {
                    listed += 1;
                    failure = take(row(&entry), console).err();
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
                writeln!(console.err, "{id}: damaged; the next start sets it aside")?;
            }
            Unserved::Held(id) => {
                writeln!(console.err, "{id}: its entry cannot be read; the daemon holds it")?;
            }
        }
    }
    warn_if_in_use(queue, console)?;
    Ok((listed, meant, all))
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

/// A row, with the reason that no daemon could give.
fn row(entry: &relay_queue::Entry) -> Row {
    let reason = if entry.held { "held by an administrator" } else { STOPPED };
    Row { reason: Some(reason.to_owned()), ..Row::from(entry) }
}

fn warn_if_in_use(queue: &Offline, console: &mut Console<'_>) -> anyhow::Result<()> {
    if queue.is_in_use() {
        writeln!(console.err, "a daemon has started meanwhile: ask again")?;
    }
    Ok(())
}
