//! `relay check`: would the daemon take this configuration, and would that be wise?

use clap::Args;
use relay::config::{Config, Finding, LoadError, digest_text};
use relay::daemon::{StartError, enforcement};
use relay::limits::FINDINGS_SHOWN;
use serde_json::{Value, json};

use super::{Common, Console, Outcome, print_refusals};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(flatten)]
    common: Common,
}

/// A sound configuration is a yes, whatever the warnings.
pub(super) fn run(arguments: &Arguments, console: &mut Console<'_>) -> anyhow::Result<Outcome> {
    let file = arguments.common.config.display().to_string();
    let loaded = Config::load(&arguments.common.config);
    let host = loaded.as_ref().map(enforcement::check).unwrap_or_default();
    if let Some(error) = host.error {
        return Err(StartError::Kernel(error).into());
    }
    match loaded {
        Ok(config) if arguments.common.json => {
            let host = host.warnings.iter().map(|warning| host_finding(warning));
            let warnings: Vec<_> = config.warnings().iter().map(finding).chain(host).collect();
            console.json(&json!({
                "file": file,
                "sound": true,
                "errors": [],
                "warnings": warnings,
                "digest": digest_text(&config.digest),
            }))?;
            Ok(Outcome::Yes)
        }
        Ok(config) => {
            for warning in config.warnings().iter().take(FINDINGS_SHOWN) {
                writeln!(console.err, "{file}:{}: warning: {warning}", warning.line)?;
            }
            let more = config.warnings().len().saturating_sub(FINDINGS_SHOWN);
            if more > 0 {
                writeln!(console.err, "{file}: {more} more warnings are not shown")?;
            }
            for warning in &host.warnings {
                writeln!(console.err, "{file}: warning: {warning}")?;
            }
            let ranges: usize =
                config.connectors().iter().map(|data| data.remote_ip_ranges.len()).sum();
            writeln!(
                console.out,
                "{file}: sound, with {}, {}, {} and {}",
                counted(config.connectors().len(), "connector"),
                counted(config.table().bindings().len(), "binding"),
                counted(ranges, "range"),
                counted(config.warnings().len() + host.warnings.len(), "warning"),
            )?;
            Ok(Outcome::Yes)
        }
        Err(LoadError::Refused(refusals)) => {
            if arguments.common.json {
                let errors: Vec<_> = refusals.list.iter().map(finding).collect();
                console.json(&json!({
                    "file": refusals.file,
                    "sound": false,
                    "errors": errors,
                    "warnings": [],
                    "digest": null,
                }))?;
            } else {
                print_refusals(&refusals, console)?;
            }
            Ok(Outcome::Unusable)
        }
        Err(error) => Err(error.into()),
    }
}

fn finding(finding: &Finding) -> Value {
    json!({
        "line": finding.line,
        "place": finding.place,
        "key": finding.key,
        "problem": finding.problem,
        "mend": finding.mend,
    })
}

/// About this host and not about a line of the text.
fn host_finding(warning: &str) -> Value {
    json!({ "line": null, "place": "[classifier]", "key": "", "problem": warning, "mend": "" })
}

fn counted(count: usize, noun: &str) -> String {
    match count {
        0 => format!("no {noun}s"),
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}
