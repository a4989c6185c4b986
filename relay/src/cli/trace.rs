//! `relay trace ID`: what became of one message, by the message tracking log, which is read whether
//! or not the daemon runs; and by the daemon, if the message still waits there.

use std::time::{Duration, SystemTime};

use anyhow::Context;
use clap::Args;
use relay::config::Config;
use relay::control::{self, Id, Request};
use relay::queue::QueueId;
use relay::queue::admin::Detail;
use relay::tracking::line::{Line, What, moment};
use relay::tracking::search::{Found, find};
use relay::tracking::timeline;

use super::{Common, Console, Outcome, printed};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The queue id, as the 250 gave it, or the one of a report.
    id: QueueId,
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let Arguments { id, common } = arguments;
    let config = Config::load_without_users(&common.config);
    let Some(config) = printed(config, console)? else { return Ok(Outcome::Unusable) };
    let log = &config.message_tracking_log;
    // Before the log is read: what the daemon does not have any more has left its end there.
    let waiting = waiting(&config, *id);
    let found = find(&log.path, *id).with_context(|| format!("cannot read {}", log.path.display()));
    let Found { mut lines, span } = found?;
    if !lines.iter().any(|line| line.is_end_of(*id)) {
        lines.extend(waiting);
    }
    if common.json {
        console.json(&serde_json::to_value(&lines)?)?;
    } else {
        write!(console.out, "{}", timeline::text(*id, &lines))?;
    }
    if !lines.is_empty() {
        return Ok(Outcome::Yes);
    }
    let path = log.path.display();
    let span = match span {
        Some((begin, end)) => format!("it goes from {begin} to {end}"),
        None => "it has no files".to_owned(),
    };
    let off = if log.enabled { "" } else { "; it is not written, since enabled is false" };
    writeln!(console.err, "nothing about {id} is in the message tracking log {path}: {span}{off}")?;
    Ok(Outcome::No)
}

/// What the daemon says of the message, if it runs and has it.
fn waiting(config: &Config, id: QueueId) -> Option<Line> {
    let question = Request::QueueShow { id: Id(id) };
    // Where nobody answers, the log says what there is to say.
    let answer = control::ask(&config.control.socket, &question).ok()?;
    let Detail { row, .. } = serde_json::from_value(answer).ok()?;
    let due = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(row.due)).map(moment)?;
    let what = What::Queued {
        due,
        held: row.held,
        attempts: row.attempts,
        recipients: row.pending,
        because: row.because,
    };
    Some(Line { time: moment(SystemTime::now()), id: Some(Id(id)), what })
}
