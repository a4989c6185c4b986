//! `relay reload`: reloads the configuration of the running daemon.

use clap::Args;
use relay::control::ControlRequest;
use relay::daemon::reload::Reloaded;

use super::{Asked, Console, DaemonAccess, Outcome};

#[derive(Args, Debug)]
pub(super) struct ReloadArguments {
    #[command(flatten)]
    pub(super) access: DaemonAccess,
}

pub(super) fn run(
    arguments: &ReloadArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let file = arguments.access.named_file();
    let answer = match arguments.access.ask(&ControlRequest::Reload { file }, console)? {
        Asked::Answer(answer) => answer,
        // The file or the command line has an error.
        Asked::Printed(_) => {
            writeln!(console.err, "nothing was changed; the old configuration stays in force")?;
            return Ok(Outcome::Unusable);
        }
    };
    if arguments.access.common.json {
        console.json(&answer)?;
        return Ok(Outcome::Yes);
    }
    let reloaded: Reloaded = serde_json::from_value(answer)?;
    for warning in &reloaded.warnings {
        let (file, line) = (reloaded.file.display(), warning.line);
        writeln!(console.err, "{file}:{line}: warning: {warning}")?;
    }
    writeln!(
        console.out,
        "{}: generation {} is in force: {} connectors, {} ranges; checked in {:.1} ms, published in {:.1} ms",
        reloaded.file.display(),
        reloaded.generation,
        reloaded.connectors,
        reloaded.ranges,
        reloaded.checked_ms,
        reloaded.published_ms
    )?;
    Ok(Outcome::Yes)
}
