//! `relay selftest`: does the configuration relay for clients without a relay right?
//!
//! Exit 0: it does not; 1: it does; 2: an error in the configuration.

use clap::Args;
use relay::selftest::{self, Asks, ProbeResult, Trial};
use relay_connector::ConnectorIds;
use serde_json::{Value, json};

use super::{Common, Console, Outcome};

#[derive(Args, Debug)]
pub(super) struct SelftestArguments {
    #[command(flatten)]
    pub(super) common: Common,
}

pub(super) fn run(
    arguments: &SelftestArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let Some(config) = arguments.common.load(console)? else { return Ok(Outcome::Unusable) };
    let rules = config.rules(&mut ConnectorIds::default(), 1)?;
    let trials = selftest::run(&rules, config.hostname.ascii());
    let faults = trials.iter().map(|trial| trial.faults().count()).sum();
    if arguments.common.json {
        let trials: Vec<_> = trials.iter().map(as_json).collect();
        console.json(&json!({ "faults": faults, "trials": trials }))?;
    } else {
        print(&trials, faults, console)?;
    }
    Ok(if faults == 0 { Outcome::Yes } else { Outcome::No })
}

fn print(trials: &[Trial], faults: usize, console: &mut Console<'_>) -> anyhow::Result<()> {
    let out = &mut *console.out;
    let widest = |text: fn(&Trial) -> String| {
        trials.iter().map(|trial| text(trial).chars().count()).max().unwrap_or(0)
    };
    let connector = widest(|trial| trial.connector.name.clone()).max("CONNECTOR".len());
    let binding = widest(|trial| trial.binding.to_string()).max("BINDING".len());
    let from = widest(|trial| trial.remote.to_string()).max("FROM".len());
    writeln!(
        out,
        "{:connector$}  {:binding$}  {:from$}  PROBES  ACCEPTED  GRANTED TO RELAY  FAULTS",
        "CONNECTOR", "BINDING", "FROM"
    )?;
    for trial in trials {
        let relays =
            trial.results.iter().any(|tried| tried.granted && tried.probe.asks == Asks::ToRelay);
        writeln!(
            out,
            "{:connector$}  {:binding$}  {:from$}  {:>6}  {:>8}  {:>16}  {:>6}",
            trial.connector.name,
            trial.binding.to_string(),
            trial.remote.to_string(),
            trial.results.len(),
            trial.accepted(),
            if relays { "yes" } else { "no" },
            trial.faults().count(),
        )?;
    }
    for trial in trials {
        for ProbeResult { probe, dialogue, .. } in trial.faults() {
            writeln!(out, "\n{}, from {}: {}", trial.connector.name, trial.remote, probe.name)?;
            for line in dialogue {
                writeln!(out, "    {line}")?;
            }
        }
    }
    match faults {
        0 => writeln!(out, "\nPassed: every accepted probe is granted by the configuration.")?,
        1 => writeln!(out, "\n1 probe was accepted without a grant: an open relay.")?,
        _ => writeln!(out, "\n{faults} probes were accepted without a grant: an open relay.")?,
    }
    Ok(())
}

fn as_json(trial: &Trial) -> Value {
    let results: Vec<_> = trial
        .results
        .iter()
        .map(|tried| {
            json!({
                "probe": tried.probe.name,
                "accepted": tried.accepted,
                "granted": tried.granted,
                "dialogue": tried.dialogue,
            })
        })
        .collect();
    json!({
        "connector": trial.connector.name,
        "binding": trial.binding.to_string(),
        "from": trial.remote.to_string(),
        "results": results,
    })
}
