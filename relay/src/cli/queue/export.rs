//! `relay queue export ID`.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use relay::control::{self, ControlError, Exported};
use relay_mail::queue_id::QueueId;
use serde_json::json;
use tempfile::NamedTempFile;

use super::{Common, Console, DaemonAccess, Outcome};

#[derive(Args, Debug)]
pub(super) struct ExportArguments {
    /// The queue id, as the 250 gave it.
    id: QueueId,
    /// Write to this file, which is there only once it is whole. It takes the place of another.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show the envelope on standard error: MAIL, and RCPT for each recipient that waits.
    #[arg(long)]
    envelope: bool,
    #[command(flatten)]
    access: DaemonAccess,
}

impl ExportArguments {
    pub(super) fn common(&self) -> &Common {
        &self.access.common
    }
}

pub(super) fn run(
    arguments: &ExportArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let ExportArguments { id, output, envelope, access } = arguments;
    let common = &access.common;
    if common.json && output.is_none() {
        writeln!(console.err, "--json needs --output FILE: standard output is for one of the two")?;
        return Ok(Outcome::Unusable);
    }
    let socket = access.socket(console)?;
    let exported = match control::export(&socket.path, *id) {
        Ok(exported) => exported,
        Err(ControlError::Refused(why)) => return Ok(socket.refused(&why, console)?),
        Err(error) => return Err(error.into()),
    };
    let text = exported.envelope.clone();
    if *envelope {
        writeln!(console.err, "{}", text.mail)?;
        text.recipients.iter().try_for_each(|rcpt| writeln!(console.err, "{rcpt}"))?;
    }
    let Some(output) = output else {
        // To a program the message goes as it is, to a terminal as it can be shown.
        let mut stdout = io::stdout();
        let out: &mut dyn Write = match stdout.is_terminal() {
            true => console.out,
            false => &mut stdout,
        };
        return match exported.write_to(out) {
            Ok(_) => Ok(Outcome::Yes),
            // Whoever reads it may have enough.
            Err(ControlError::Output(error)) => Err(error.into()),
            Err(error) => Err(error.into()),
        };
    };
    let octets = save(exported, output)?;
    if common.json {
        console.json(&json!({
            "id": id.to_string(), "octets": octets, "output": output, "envelope": text,
        }))?;
    } else {
        writeln!(console.out, "{octets} octets in {}", output.display())?;
    }
    Ok(Outcome::Yes)
}

/// Writes under another name, and gives the file its own once it is whole and on the disk.
fn save(exported: Exported, output: &Path) -> anyhow::Result<u64> {
    let folder = output.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let cannot = || format!("cannot write {}", output.display());
    let mut file = NamedTempFile::new_in(folder).with_context(cannot)?;
    let octets = exported.write_to(&mut file)?;
    file.as_file().sync_all().with_context(cannot)?;
    file.persist(output).with_context(cannot)?;
    Ok(octets)
}
