//! The Debian package on a host with systemd: install, configure, start, upgrade under load, purge.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use relay_tests::namespace::Namespace;
use relay_tests::sink::{Script, Sink};

use super::container::Container;
use super::restart::{self, Report, SINK};
use crate::package;
use crate::workspace::Workspace;

/// The highest exposure of the unit that `systemd-analyze security` may print.
const MOST_EXPOSED: f64 = 2.0;
/// Files of a package that another installation method must not leave out.
const INSTALLED: [&str; 5] = [
    "/usr/bin/relay",
    "/usr/lib/systemd/system/relay.service",
    "/usr/share/bash-completion/completions/relay",
    "/usr/share/man/man8/relay.8.gz",
    "/etc/relay/relay.toml",
];

/// Makes two versions of the package of `daemon` and installs them one after the other.
pub fn play(workspace: &Workspace, root: &Path, daemon: &Path) -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let make = |version: &str| {
        let packages = package::build(workspace, daemon, version, folder.path())?;
        fs::read(packages.relay).context("cannot read the package")
    };
    let files = [
        ("/root/relay_1.deb", make("1.0.0")?, 0o644),
        ("/root/relay_2.deb", make("2.0.0")?, 0o644),
    ];
    let network = Namespace::new("package")?;
    let container = Container::boot(root, &files, &network)?;
    container.succeed(&["mount", "-t", "bpf", "-o", "mode=700", "bpf", "/sys/fs/bpf"])?;
    let sink = Sink::start(Some(&network), SINK.parse()?, Script::default())?;
    let mut report = Report::default();
    if let Err(error) = plays(&container, &network, &sink, &mut report) {
        report.faults.push(format!("the package: {error:#}"));
        let journal = container.run(&["journalctl", "--no-pager", "-u", "relay", "-n", "20"])?;
        let journal = String::from_utf8_lossy(&journal.stdout).into_owned();
        report.lines.extend(journal.lines().map(str::to_owned));
    }
    Ok(report)
}

fn plays(
    container: &Container,
    network: &Namespace,
    sink: &Sink,
    report: &mut Report,
) -> Result<()> {
    let install = |package| ["apt-get", "install", "--yes", "--quiet=2", package];
    container.succeed(&install("/root/relay_1.deb"))?;
    for file in INSTALLED {
        container.succeed(&["test", "-s", file])?;
    }
    container.succeed(&["relay", "check"])?;
    let is_running = |container: &Container| {
        container.run(&["systemctl", "is-active", "--quiet", "relay"]).map(|it| it.status.success())
    };
    ensure!(!is_running(container)?, "the service runs with the example configuration");

    container.write("/etc/relay/relay.toml", &restart::configuration(""))?;
    container.succeed(&["systemctl", "enable", "--now", "relay"])?;
    let sent = network.enter(|| restart::session("package", "u@contoso.example"))?;
    ensure!(sent.is_ok(), "the message was not accepted: {sent:?}");
    container.succeed(&["systemctl", "reload", "relay"])?;
    let decided_by = restart::status(container)?["classifier"]["decided_by"].clone();
    let exposure = exposure(container)?;
    report.lines.push(format!(
        "installed and started: decided by the {decided_by}, `systemd-analyze security` {exposure}"
    ));
    if decided_by != "kernel" || exposure > MOST_EXPOSED {
        report.faults.push(format!(
            "the installed package: decided by {decided_by}, exposure {exposure}, not above \
             {MOST_EXPOSED}"
        ));
    }

    let upgrade = install("/root/relay_2.deb");
    restart::under_load(container, network, sink, &upgrade, "upgrade of the package", report)?;
    ensure!(is_running(container)?, "the service does not run after the upgrade");
    let kept = container.succeed(&["cat", "/etc/relay/relay.toml"])?;
    ensure!(kept == restart::configuration(""), "the upgrade changed the configuration");

    container.succeed(&["apt-get", "purge", "--yes", "--quiet=2", "relay"])?;
    ensure!(!is_running(container)?, "the service runs after the purge");
    for gone in ["/usr/bin/relay", "/etc/relay/relay.toml"] {
        let exists = container.run(&["test", "-e", gone])?.status.success();
        ensure!(!exists, "{gone} is still there after the purge");
    }
    container.succeed(&["test", "-d", "/var/lib/relay"])?;
    report.lines.push("purged: program, unit and configuration are gone, the queue stays".into());
    Ok(())
}

/// The figure in the last line of `systemd-analyze security`.
fn exposure(container: &Container) -> Result<f64> {
    let text =
        container.succeed(&["systemd-analyze", "security", "--no-pager", "relay.service"])?;
    let figure = text.lines().rev().find_map(|line| line.split_once("relay.service: "));
    let (_, figure) = figure.context("systemd-analyze printed no figure")?;
    figure.split_whitespace().next().context("no figure")?.parse().context("no number")
}
