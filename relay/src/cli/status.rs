//! `relay status`: the state of the running daemon.

use std::io;

use clap::Args;
use relay::control::ControlRequest;
use relay::daemon::status::{
    BackPressureStatus, ClassifierStatus, ConnectorStatus, DaemonStatus, RefusedReload,
};
use relay::logging;
use relay_delivery::{HopState, HopStatus};
use relay_mail::printable::printable;
use relay_policy::pressure::Thresholds;
use relay_server::back_pressure::ResourceStatus;

use super::queue::moment;
use super::{Asked, Console, DaemonAccess, Outcome};

/// Most next hops in the output for people.
const HOPS_SHOWN: usize = 20;

#[derive(Args, Debug)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    pub(super) access: DaemonAccess,
}

pub(super) fn run(
    arguments: &StatusArguments,
    console: &mut Console<'_>,
) -> anyhow::Result<Outcome> {
    let answer = match arguments.access.ask(&ControlRequest::Status, console)? {
        Asked::Answer(answer) => answer,
        Asked::Printed(outcome) => return Ok(outcome),
    };
    if arguments.access.common.json {
        console.json(&answer)?;
    } else {
        print(&serde_json::from_value(answer)?, console)?;
    }
    Ok(Outcome::Yes)
}

fn print(status: &DaemonStatus, console: &mut Console<'_>) -> io::Result<()> {
    let configuration = &status.configuration;
    writeln!(
        console.out,
        "relay {}, process {}, up {} s, {} sessions",
        status.version, status.pid, status.uptime_seconds, status.sessions
    )?;
    writeln!(
        console.out,
        "configuration  {}, generation {}, digest {}…",
        configuration.file.display(),
        configuration.generation,
        configuration.digest.chars().take(16).collect::<String>()
    )?;
    if let Some(RefusedReload { at, because }) = &configuration.refused {
        writeln!(
            console.out,
            "  NOT LOADED   the reload was refused at {}; the configuration above stays in force: {because}",
            moment(*at)
        )?;
    }
    writeln!(console.out, "bindings       {}", configuration.bindings.join(", "))?;
    if !configuration.absent_addresses.is_empty() {
        writeln!(
            console.out,
            "  NO ADDRESS   {}: the host does not have this address now; served when it appears",
            configuration.absent_addresses.join(", ")
        )?;
    }
    print_classifier(&status.classifier, console)?;
    let queue = &status.queue;
    writeln!(
        console.out,
        "queue          {} waiting, {} held, {} under way; recipients: {} delivered, {} deferred, {} failed; {} reports",
        queue.lengths.queued,
        queue.lengths.held,
        queue.lengths.claimed,
        queue.delivered,
        queue.deferred,
        queue.failed,
        queue.reports
    )?;
    if let Some(disk) = &status.disk {
        let refusing = match &disk.refusing {
            Some(why) => format!("; no mail is accepted: {why}"),
            None => String::new(),
        };
        writeln!(
            console.out,
            "disk           {} octets free, min_free_space {}{refusing}",
            disk.free_octets, disk.min_free_space
        )?;
        if disk.damaged_files > 0 {
            writeln!(
                console.out,
                "  DAMAGE       {} damaged files are in the directory `damaged` of \
                 the queue; `relay trace` shows the events of a message",
                disk.damaged_files
            )?;
        }
    }
    print_tracking(status.message_tracking_log.as_ref(), console)?;
    let logging::LogStatus { lost, problem } = &status.log;
    let problem = problem.as_ref().map(|problem| format!("; now: {problem}")).unwrap_or_default();
    writeln!(console.out, "log            {lost} lines lost{problem}")?;
    for certificate in &status.certificates {
        let problem = match &certificate.problem {
            Some(problem) => format!("the previous certificate is in use: {problem}"),
            None => "in use".to_owned(),
        };
        let ends = certificate.ends.as_ref().map(|day| format!(", ends on {day}"));
        writeln!(
            console.out,
            "certificate    {}, {}: {problem}{}",
            certificate.name,
            certificate.certificate,
            ends.unwrap_or_default()
        )?;
        for concern in &certificate.concerns {
            writeln!(console.out, "  warning      {concern}")?;
        }
    }
    print_back_pressure(&status.back_pressure, console)?;
    print_hops(&status.next_hops, console)?;
    for connector in &status.connectors {
        print_connector(connector, console)?;
    }
    let none = &status.no_connector;
    writeln!(
        console.out,
        "\nno connector: {} connections by the kernel, {} by the daemon; tags missing {}, disagreeing {}; {} health checks of proxies",
        none.by_kernel, none.by_daemon, none.tags_missing, none.tags_disagreeing, none.probes
    )
}

fn print_tracking(
    log: Option<&relay_tracking::TrackingStatus>,
    console: &mut Console<'_>,
) -> io::Result<()> {
    let Some(log) = log.filter(|log| log.enabled) else {
        return writeln!(console.out, "tracking log   off");
    };
    let problem = log.problem.as_ref().map(|problem| format!(": {problem}")).unwrap_or_default();
    writeln!(
        console.out,
        "tracking log   {}, {} lines written, {} events dropped{problem}",
        log.path.display(),
        log.written,
        log.dropped
    )?;
    if log.shortened + log.suppressed > 0 {
        writeln!(
            console.out,
            "  bounds       {} lines shortened, {} refusals without a record",
            log.shortened, log.suppressed
        )?;
    }
    Ok(())
}

/// Next hops with failures first, then next hops with waiting mail.
fn print_hops(hops: &[HopStatus], console: &mut Console<'_>) -> io::Result<()> {
    for hop in hops.iter().take(HOPS_SHOWN) {
        let state = match hop.state {
            HopState::BackOff => "in back-off",
            HopState::Retrying => "retrying",
            HopState::Stalled => "does not answer",
            HopState::Working => "working",
            HopState::Idle => "idle",
        };
        let HopStatus { name, connections, in_hand, put_back, .. } = hop;
        write!(
            console.out,
            "next hop       {name}: {state}, {connections} connections, {} waiting",
            in_hand + put_back
        )?;
        if let Some(next) = hop.next_try {
            write!(console.out, ", next attempt {}", moment(next))?;
        }
        if let (Some(since), Some(because)) = (hop.since, &hop.because) {
            let because = printable(because);
            write!(console.out, "\n  trouble      since {}, ", moment(since))?;
            if hop.failures > 0 {
                write!(console.out, "{} failures: ", hop.failures)?;
            }
            write!(console.out, "{because}")?;
        }
        writeln!(console.out)?;
    }
    let more = hops.len().saturating_sub(HOPS_SHOWN);
    if more > 0 {
        writeln!(console.out, "next hop       and {more} more: see --json")?;
    }
    Ok(())
}

fn print_back_pressure(pressure: &BackPressureStatus, console: &mut Console<'_>) -> io::Result<()> {
    writeln!(console.out, "back pressure  {}", pressure.level)?;
    for ResourceStatus { resource, level, value, unit, thresholds } in &pressure.resources {
        let value = value.map_or_else(|| "unknown".to_owned(), |value| format!("{value} {unit}"));
        let Thresholds { low_to_medium, medium_to_high, high_to_medium, medium_to_low } =
            thresholds;
        writeln!(
            console.out,
            "  {resource:<19}{level:<7}{value:>16}; rises at {low_to_medium} and {medium_to_high}, \
             falls at {high_to_medium} and {medium_to_low}"
        )?;
    }
    Ok(())
}

fn print_classifier(classifier: &ClassifierStatus, console: &mut Console<'_>) -> io::Result<()> {
    write!(console.out, "classifier     {}", classifier.decided_by)?;
    if let Some(why) = &classifier.why {
        write!(console.out, ": {why}")?;
    }
    if let Some(self_test) = &classifier.self_test {
        write!(console.out, ": {self_test}")?;
    }
    writeln!(console.out)?;
    if let Some(cgroup) = &classifier.cgroup {
        writeln!(console.out, "  tagger       on {}", cgroup.display())?;
        let guard: Vec<_> =
            classifier.interfaces.iter().map(|(name, state)| format!("{name} ({state})")).collect();
        let guard = if guard.is_empty() { "on no interface".to_owned() } else { guard.join(", ") };
        writeln!(console.out, "  guard        {guard}")?;
    }
    for what in &classifier.not_enforced {
        writeln!(console.out, "  NOT ENFORCED {what}")?;
    }
    if let Some(pins) = &classifier.pins {
        writeln!(console.out, "  pins         {}", pins.display())?;
    }
    if let Some(why) = &classifier.not_pinned {
        writeln!(console.out, "  not pinned   {why}")?;
    }
    for (reason, count) in classifier.reasons.iter().filter(|(_, count)| **count > 0) {
        writeln!(console.out, "  {reason:<28}{count:>12}")?;
    }
    Ok(())
}

fn print_connector(connector: &ConnectorStatus, console: &mut Console<'_>) -> io::Result<()> {
    writeln!(console.out, "\nconnector {} (id {})", connector.name, connector.id)?;
    let kernel = |name: &str| connector.kernel.get(name).copied().unwrap_or_default();
    if !connector.kernel.is_empty() {
        writeln!(
            console.out,
            "  SYNs         {} seen; dropped: {} refused, {} over the budget, {} over a source's budget",
            kernel("syn_seen"),
            kernel("syn_refused"),
            kernel("syn_over_budget"),
            kernel("syn_over_source_budget")
        )?;
    }
    let daemon = &connector.daemon;
    writeln!(
        console.out,
        "  connections  {} tagged; {} classified by tag, {} by the daemon's table ({} without tag, {} disagreeing); {} refused, {} health checks of proxies",
        kernel("tagged"),
        daemon.by_kernel,
        daemon.by_daemon,
        daemon.tags_missing,
        daemon.tags_disagreeing,
        daemon.connections_refused,
        daemon.probes
    )?;
    writeln!(
        console.out,
        "  messages     {} accepted, {} refused; {} commands refused",
        daemon.messages_accepted, daemon.messages_refused, daemon.commands_refused
    )?;
    if daemon.logon_failures + daemon.logons_refused > 0 {
        writeln!(
            console.out,
            "  logons       {} failed; {} deferred because of too many failures from their source",
            daemon.logon_failures, daemon.logons_refused
        )?;
    }
    Ok(())
}
