//! `relay check`: would the daemon load this configuration, and is it wise? The command reads what
//! the daemon reads, with the same code.

use std::error::Error;

use clap::Args;
use relay::daemon::prepare::prepare;
use relay::daemon::rehearsal::check_host;
use relay::daemon::{StartError, enforcement};
use relay_config::limits::FINDINGS_SHOWN;
use relay_config::{Config, ConfigProblem, LoadError, digest_text};
use relay_connector::ConnectorIds;
use relay_host::error_chain::error_chain;
use serde_json::{Value, json};

use super::{Common, Console, Outcome, print_refusals};

#[derive(Args, Debug)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    common: Common,
}

/// A configuration without errors is a yes, even if it has warnings.
pub(super) fn run(
    arguments: &CheckArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let common = &arguments.common;
    let file = common.configuration.path.display().to_string();
    let config = match Config::load(&common.configuration.path) {
        Ok(config) => config,
        Err(LoadError::Refused(refusals)) if common.json => {
            let errors = refusals.list.iter().map(finding).collect();
            return unsound(&refusals.file, errors, console);
        }
        Err(LoadError::Refused(refusals)) => {
            print_refusals(&refusals, console)?;
            return Ok(Outcome::Unusable);
        }
        Err(error) if common.json => return unsound(&file, vec![problem(&error)], console),
        Err(error) => return Err(error.into()),
    };
    let host = enforcement::check(&config);
    let mut errors: Vec<_> = host.error.map(StartError::Kernel).into_iter().collect();
    // From here on the process has only the rights of the daemon's user.
    let rehearsal = check_host(&config, &common.configuration.path)?;
    errors.extend(rehearsal.errors);
    // Reads all files that the daemon reads at its start, such as certificates and credentials.
    let warnings = match prepare(&config, &mut ConnectorIds::default(), 1) {
        Ok(prepared) => prepared.warnings,
        Err(error) => {
            errors.push(error.into());
            Vec::new()
        }
    };
    if !errors.is_empty() {
        if common.json {
            return unsound(&file, errors.iter().map(|error| problem(error)).collect(), console);
        }
        for error in &errors {
            writeln!(console.err, "{file}: {}", error_chain(error))?;
        }
        return Ok(Outcome::Unusable);
    }
    let of_host: Vec<_> = host.warnings.iter().chain(&rehearsal.warnings).collect();
    if common.json {
        let host = of_host.iter().map(|warning| host_finding(warning));
        console.json(&json!({
            "file": file,
            "sound": true,
            "errors": [],
            "warnings": warnings.iter().map(finding).chain(host).collect::<Vec<_>>(),
            "digest": digest_text(&config.digest),
        }))?;
        return Ok(Outcome::Yes);
    }
    for warning in warnings.iter().take(FINDINGS_SHOWN) {
        writeln!(console.err, "{file}:{}: warning: {warning}", warning.line)?;
    }
    let more = warnings.len().saturating_sub(FINDINGS_SHOWN);
    if more > 0 {
        writeln!(console.err, "{file}: {more} more warnings are not shown")?;
    }
    for warning in &of_host {
        writeln!(console.err, "{file}: warning: {warning}")?;
    }
    let ranges: usize = config.connectors().iter().map(|data| data.remote_ip_ranges.len()).sum();
    writeln!(
        console.out,
        "{file}: sound, with {}, {}, {} and {}",
        counted(config.connectors().len(), "connector"),
        counted(config.table().bindings().len(), "binding"),
        counted(ranges, "range"),
        counted(warnings.len() + of_host.len(), "warning"),
    )?;
    Ok(Outcome::Yes)
}

fn unsound(file: &str, errors: Vec<Value>, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    console.json(&json!({
        "file": file,
        "sound": false,
        "errors": errors,
        "warnings": [],
        "digest": null,
    }))?;
    Ok(Outcome::Unusable)
}

/// An error in a file that the configuration names. It has no line.
fn problem(error: &(dyn Error + 'static)) -> Value {
    json!({ "line": null, "place": "", "key": "", "problem": error_chain(error), "mend": "" })
}

fn finding(finding: &ConfigProblem) -> Value {
    json!({
        "line": finding.line,
        "place": finding.place,
        "key": finding.key,
        "problem": finding.problem,
        "mend": finding.mend,
    })
}

/// A finding about this host, not about a line of the file. It begins with its table and key.
fn host_finding(warning: &str) -> Value {
    let mut parts = warning.splitn(3, ": ");
    let (place, key) = match (parts.next(), parts.next()) {
        (Some(place), Some(key)) if place.starts_with('[') => (place, key),
        _ => ("", ""),
    };
    json!({ "line": null, "place": place, "key": key, "problem": warning, "mend": "" })
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
