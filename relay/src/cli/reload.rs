//! `relay reload`: has the running daemon load its configuration again.

use clap::Args;
use relay::control::{self, ControlError, Request};
use relay::daemon::reload::Reloaded;

use super::{Common, Console, Outcome};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    // The file tells where the daemon listens; whether it loads is for the daemon to say.
    let Some(config) = arguments.common.load(console)? else { return Ok(Outcome::Unusable) };
    let answer = match control::ask(&config.control.socket, &Request::Reload) {
        Ok(answer) => answer,
        Err(ControlError::Refused(why)) => {
            writeln!(console.err, "{why}")?;
            writeln!(console.err, "nothing has changed; the configuration in force stays")?;
            return Ok(Outcome::No);
        }
        Err(error) => return Err(error.into()),
    };
    if arguments.common.json {
        console.json(&answer)?;
        return Ok(Outcome::Yes);
    }
    let reloaded: Reloaded = serde_json::from_value(answer)?;
    for warning in &reloaded.warnings {
        writeln!(console.err, "{warning}")?;
    }
    writeln!(
        console.out,
        "generation {} is in force: {} connectors, {} ranges; checked in {:.1} ms, published in {:.1} ms",
        reloaded.generation,
        reloaded.connectors,
        reloaded.ranges,
        reloaded.checked_ms,
        reloaded.published_ms
    )?;
    Ok(Outcome::Yes)
}
