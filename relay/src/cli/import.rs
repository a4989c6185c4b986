//! `relay import`: the configuration of another mail server as a `relay.toml`, with a report about
//! each property.
//!
//! Exit 0: imported, and the verification found no difference; 1: it found differences; 2: nothing
//! was written, because of an error.

#[cfg(test)]
mod tests;

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use relay_config::Config;
use relay_config::limits::CONFIGURATION_OCTETS;
use relay_import::report::{Danger, Fate, ImportReport, ObjectReport};
use relay_import::source::{AccessKind, AccessOrigin, ExportedObjects};
use relay_import::{ImportOptions, Imported, Verification, import, read, replace, verify};
use relay_mail::path::Domain;
use serde_json::json;

use super::{Console, Outcome, print_refusals};

#[derive(Args, Debug)]
pub(super) struct ImportArguments {
    #[command(subcommand)]
    from: From,
}

#[derive(Debug, Subcommand)]
enum From {
    /// Import receive connectors, their rights, accepted domains, send connectors and the transport
    /// configuration of Exchange.
    Exchange(ExchangeArguments),
}

#[derive(Args, Debug)]
struct ExchangeArguments {
    /// ExportedObjects objects; see docs/from-exchange.md for the commands that export them.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The configuration to write. Connectors are added to an existing file, and never replace one.
    #[arg(short, long, value_name = "FILE", default_value = "relay.toml")]
    output: PathBuf,
    /// Print the report and the configuration; write nothing.
    #[arg(long)]
    dry_run: bool,
    /// Compare the result with Exchange's rules, for thousands of client addresses.
    #[arg(long)]
    verify: bool,
    /// Import only the connectors of this server.
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// The name of this host for a new file; by default the name of the system.
    #[arg(long, value_name = "NAME")]
    hostname: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(
    arguments: &ImportArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let From::Exchange(arguments) = &arguments.from;
    let exported = read_files(&arguments.files)?;
    let existing = existing(&arguments.output)?;
    let options = ImportOptions {
        hostname: arguments.hostname.clone().or_else(system_name),
        server: arguments.server.clone(),
    };
    let file = arguments.output.display().to_string();
    let imported = import(&exported, existing.as_deref(), &file, &options)
        .with_context(|| format!("nothing was written to {file}"))?;
    let verification = match (&imported.refusals, arguments.verify) {
        (None, true) => Some(verified(&exported, &imported, &file, arguments)?),
        _ => None,
    };
    let mut written = Written::No;
    if imported.refusals.is_none() && !arguments.dry_run {
        written = Written::Yes(replace(&arguments.output, &imported.text)?);
    }
    if arguments.json {
        print_json(arguments, &imported, verification.as_ref(), &written, console)?;
    } else {
        print(arguments, &imported, verification.as_ref(), &written, console)?;
    }
    Ok(match (&imported.refusals, &verification) {
        (Some(_), _) => Outcome::Unusable,
        (None, Some(verification)) if verification.different > 0 => Outcome::No,
        (None, _) => Outcome::Yes,
    })
}

impl ImportArguments {
    pub(super) const fn prints_json(&self) -> bool {
        let From::Exchange(arguments) = &self.from;
        arguments.json
    }
}

/// Was the file written, and where is the backup of the earlier one?
enum Written {
    No,
    Yes(Option<PathBuf>),
}

fn read_files(files: &[PathBuf]) -> anyhow::Result<ExportedObjects> {
    let mut exported = ExportedObjects::default();
    for path in files {
        let octets = read::file(path)?;
        let of_file = read::exchange(&octets).with_context(|| path.display().to_string())?;
        exported.objects.extend(of_file.objects);
        exported.access.extend(of_file.access);
    }
    Ok(exported)
}

/// The text of an existing output file.
fn existing(path: &Path) -> anyhow::Result<Option<String>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut text = String::new();
    let read = file.take(CONFIGURATION_OCTETS + 1).read_to_string(&mut text);
    read.with_context(|| path.display().to_string())?;
    if text.len() as u64 > CONFIGURATION_OCTETS {
        bail!("{}: larger than {CONFIGURATION_OCTETS} octets", path.display());
    }
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// The system's own name, if it is a complete one.
fn system_name() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let domain = Domain::parse(name.trim()).ok()?;
    (domain.is_host_name() && domain.ascii().contains('.')).then(|| domain.ascii().to_owned())
}

fn verified(
    exported: &ExportedObjects,
    imported: &Imported,
    file: &str,
    arguments: &ExchangeArguments,
) -> anyhow::Result<Verification> {
    let config = Config::parse(&imported.text, file)?;
    Ok(verify(exported, &config, &imported.names, arguments.server.as_deref())?)
}

fn print_json(
    arguments: &ExchangeArguments,
    imported: &Imported,
    verification: Option<&Verification>,
    written: &Written,
    console: &mut Console<'_>,
) -> io::Result<()> {
    let backup = match written {
        Written::Yes(Some(backup)) => Some(backup.display().to_string()),
        Written::Yes(None) | Written::No => None,
    };
    console.json(&json!({
        "file": arguments.output.display().to_string(),
        "written": matches!(written, Written::Yes(_)),
        "backup": backup,
        "errors": imported.refusals.as_ref().map(|refusals| &refusals.list),
        "objects": imported.report.objects,
        "dangers": imported.report.dangers,
        "verification": verification,
        "text": imported.text,
    }))
}

fn print(
    arguments: &ExchangeArguments,
    imported: &Imported,
    verification: Option<&Verification>,
    written: &Written,
    console: &mut Console<'_>,
) -> io::Result<()> {
    print_report(&imported.report, console)?;
    if arguments.dry_run {
        writeln!(console.out, "\n{}", imported.text.trim_end())?;
    }
    let file = arguments.output.display();
    if let Some(refusals) = &imported.refusals {
        print_refusals(refusals, console)?;
        writeln!(console.err, "{file}: not written: the daemon would refuse it")?;
        return Ok(());
    }
    if let Some(verification) = verification {
        print_verification(verification, console)?;
    }
    match written {
        Written::No => writeln!(console.out, "\n{file}: not written (--dry-run)"),
        Written::Yes(None) => writeln!(console.out, "\n{file}: written"),
        Written::Yes(Some(backup)) => {
            writeln!(console.out, "\n{file}: written; the earlier file is {}", backup.display())
        }
    }
}

fn print_report(report: &ImportReport, console: &mut Console<'_>) -> io::Result<()> {
    for object in &report.objects {
        print_object(object, console)?;
    }
    let of = |wanted: Fate| {
        let properties = report.objects.iter().flat_map(|object| &object.properties);
        properties.filter(|property| property.fate == wanted).count()
    };
    writeln!(
        console.out,
        "{} properties taken over, {} changed, {} kept for reference, {} without meaning here",
        of(Fate::TakenOver),
        of(Fate::Changed),
        of(Fate::Reference),
        of(Fate::Meaningless),
    )?;
    if !report.dangers.is_empty() {
        writeln!(console.out)?;
    }
    for Danger { level, place, problem, mend } in &report.dangers {
        writeln!(console.out, "{}: {place}: {problem}\n    {mend}", level.word())?;
    }
    Ok(())
}

fn print_object(object: &ObjectReport, console: &mut Console<'_>) -> io::Result<()> {
    let ObjectReport { object: kind, name, server, written_as, properties, rights } = object;
    let server = server.as_ref().map(|server| format!("{server}\\")).unwrap_or_default();
    let written = match written_as.is_empty() {
        true => "not written".to_owned(),
        false => written_as.clone(),
    };
    writeln!(console.out, "{kind} {server}{name} -> {written}")?;
    for property in properties {
        let (fate, note) = (property.fate.word(), &property.note);
        writeln!(console.out, "  {fate:13}  {} = {}: {note}", property.property, property.value)?;
    }
    for right in rights {
        let kind = match right.kind {
            AccessKind::Allow => "allow",
            AccessKind::Deny => "deny",
        };
        let inherited = match right.origin {
            AccessOrigin::Own => "",
            AccessOrigin::Inherited => " (inherited)",
        };
        let (fate, account, note) = (right.fate.word(), &right.account, &right.note);
        writeln!(
            console.out,
            "  {fate:13}  {kind} {}{inherited} to {account}: {note}",
            right.right
        )?;
    }
    writeln!(console.out)
}

fn print_verification(verification: &Verification, console: &mut Console<'_>) -> io::Result<()> {
    let Verification { addresses, questions, different, differences } = verification;
    writeln!(
        console.out,
        "\nverified: {addresses} client addresses, {questions} questions, {different} differences"
    )?;
    for difference in differences {
        let server = difference.server.as_deref().unwrap_or("Exchange");
        writeln!(
            console.out,
            "  {} to {}: {}: {server} {}, here {}",
            difference.client,
            difference.binding,
            difference.question,
            difference.exchange,
            difference.here,
        )?;
    }
    match different.saturating_sub(differences.len()) {
        0 => Ok(()),
        more => writeln!(console.out, "  {more} more are not shown"),
    }
}
