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
    /// The queue id from the 250 reply.
    id: QueueId,
    /// Write to this file. It appears when it is complete, and replaces an existing file.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the envelope on standard error: MAIL, and RCPT for each waiting recipient.
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
        writeln!(
            console.err,
            "--json needs --output FILE, because both would use standard output"
        )?;
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
        // A program gets the exact octets; a terminal gets printable text.
        let mut stdout = io::stdout();
        let out: &mut dyn Write = match stdout.is_terminal() {
            true => console.out,
            false => &mut stdout,
        };
        return match exported.write_to(out) {
            Ok(_) => Ok(Outcome::Yes),
            // The reader may close the pipe early.
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

/// Writes to a temporary file and renames it after the sync, so that the output is never
/// incomplete.
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
