//! The shipped unit under systemd: does the kernel classify there, and which clients are not served
//! during a restart?
//!
//! Clients open two hundred connections a second, each with one message, and continue while the
//! unit is restarted. A client without a reply to the end of data counts as not served.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use relay_tests::namespace::Namespace;
use relay_tests::sink::{Script, Sink};
use serde_json::Value;

use super::container::Container;
use crate::workspace::Workspace;

const SERVER: &str = "127.0.0.1:25";
pub(super) const SINK: &str = "127.0.0.1:2626";
/// Accepts connections and never replies.
const STUCK: &str = "127.0.0.1:2727";
const RATE: u32 = 200;
/// The time of client load before the restart, and after the daemon is back.
const BEFORE: Duration = Duration::from_secs(2);
const AFTER: Duration = Duration::from_secs(3);
/// A client's longest wait for a reply.
const PATIENCE: Duration = Duration::from_secs(30);

/// The results of a run.
#[derive(Default)]
pub struct Report {
    /// Lines to print.
    pub lines: Vec<String>,
    /// Errors.
    pub faults: Vec<String>,
}

#[derive(Default)]
struct Load {
    sessions: Vec<(Instant, Result<String, String>)>,
}

/// Runs all parts.
pub fn under_systemd(workspace: &Workspace, root: &Path, daemon: &Path) -> Result<Report> {
    let deploy = workspace.root().join("deploy");
    let mut files = vec![
        ("/usr/local/bin/relay", fs::read(daemon)?, 0o755),
        ("/etc/systemd/system/relay.service", fs::read(deploy.join("relay.service"))?, 0o644),
        ("/etc/relay/relay.toml", configuration("").into_bytes(), 0o644),
    ];
    // Files of an installation in addition to the unit, such as the user's.
    for (name, path) in [
        ("relay.sysusers", "/usr/lib/sysusers.d/relay.conf"),
        ("relay.tmpfiles", "/usr/lib/tmpfiles.d/relay.conf"),
    ] {
        if let Ok(content) = fs::read(deploy.join(name)) {
            files.push((path, content, 0o644));
        }
    }
    let network = Namespace::new("systemd")?;
    let container = Container::boot(root, &files, &network)?;
    // Mounted as on a host by process 1; in a container process 1 may not mount it.
    container.succeed(&["mount", "-t", "bpf", "-o", "mode=700", "bpf", "/sys/fs/bpf"])?;
    let sink = Sink::start(Some(&network), SINK.parse()?, Script::default())?;
    let mut report = Report::default();
    if let Err(error) = plays(&container, &network, &sink, &mut report) {
        report.faults.push(format!("under systemd: {error:#}"));
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
    start(container)?;
    kernel_decides(container, network, report)?;
    late_binding(container, network, report)?;

    container.write("/etc/relay/relay.toml", &configuration(""))?;
    start(container)?;
    restart(container, network, sink, "a working next hop", report)?;
    let stuck = Stuck::listen(network)?;
    let route = format!(
        "[[route]]\nrecipient_domains = [\"stuck.example\"]\nsmart_hosts = [\"{STUCK}\"]\n"
    );
    container.write("/etc/relay/relay.toml", &configuration(&route))?;
    start(container)?;
    let sent = network.enter(|| session("stuck", "x@stuck.example"))?;
    ensure!(sent.is_ok(), "the message for the stuck next hop was not accepted: {sent:?}");
    stuck.wait()?;
    restart(container, network, sink, "an attempt that is stuck", report)
}

/// Starts or restarts the unit, and waits until the daemon answers.
pub(super) fn start(container: &Container) -> Result<()> {
    container.succeed(&["systemctl", "restart", "relay"])?;
    let deadline = Instant::now() + PATIENCE;
    while status(container).is_err() {
        ensure!(Instant::now() < deadline, "the daemon does not answer `relay status`");
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

pub(super) fn status(container: &Container) -> Result<Value> {
    let text = container.succeed(&["relay", "status", "--json"])?;
    serde_json::from_str(&text).context("`relay status --json` printed no JSON")
}

fn kernel_decides(container: &Container, network: &Namespace, report: &mut Report) -> Result<()> {
    let sent = network.enter(|| session("first", "u@contoso.example"))?;
    if let Err(error) = &sent {
        report.faults.push(format!("the first message was not accepted: {error}"));
    }
    let status = status(container)?;
    let classifier = &status["classifier"];
    let tagged = status["connectors"][0]["kernel"]["tagged"].as_u64().unwrap_or(0);
    report.lines.push(format!(
        "decided by the {}, guard on lo {}, pins {}, {tagged} tagged, capabilities kept {}",
        classifier["decided_by"],
        classifier["interfaces"]["lo"],
        classifier["pins"],
        status["capabilities"]
    ));
    if classifier["decided_by"] != "kernel" {
        report
            .faults
            .push(format!("under systemd the kernel does not classify: {}", classifier["why"]));
    } else if tagged == 0 || classifier["pins"].is_null() {
        report
            .faults
            .push(format!("under systemd no tag or no pins: {}", classifier["not_pinned"]));
    }
    let guard = classifier["interfaces"]["lo"].as_str().unwrap_or("");
    if !["native", "generic"].contains(&guard) {
        report.faults.push(format!("under systemd there is no guard on lo: {guard}"));
    }
    Ok(())
}

/// A missing address and a missing interface prevent neither the start nor the tagger.
fn late_binding(container: &Container, network: &Namespace, report: &mut Report) -> Result<()> {
    let late = configuration("").replace("\"0.0.0.0:25\"", "\"0.0.0.0:25\", \"10.99.0.1:2525\"");
    let late = late.replace("interfaces = [\"lo\"]", "interfaces = [\"lo\", \"late0\"]");
    container.write("/etc/relay/relay.toml", &late)?;
    start(container)?;
    let before = status(container)?;
    network.ip(&["link", "add", "late0", "type", "veth", "peer", "name", "late1"])?;
    network.add_address("late0", "10.99.0.1/24")?;
    network.ip(&["link", "set", "late0", "up"])?;
    network.ip(&["link", "set", "late1", "up"])?;
    let deadline = Instant::now() + PATIENCE;
    let guard = loop {
        let guard = status(container)?["classifier"]["interfaces"]["late0"].clone();
        if guard == "native" || Instant::now() > deadline {
            break guard;
        }
        thread::sleep(Duration::from_millis(200));
    };
    let address: SocketAddr = "10.99.0.1:2525".parse()?;
    let greeted = network.enter(|| TcpStream::connect_timeout(&address, PATIENCE).is_ok())?;
    let decided_by = &before["classifier"]["decided_by"];
    report.lines.push(format!(
        "late interface: decided by the {decided_by} before it came; then guard {guard}; its address \
         {}",
        if greeted { "served" } else { "not served" }
    ));
    if decided_by != "kernel" || guard != "native" || !greeted {
        report.faults.push("the guard or the address of the late interface is wrong".to_owned());
    }
    network.ip(&["link", "delete", "late0"]).map(drop)
}

/// Restarts the unit under load and reports unserved clients and lost messages.
fn restart(
    container: &Container,
    network: &Namespace,
    sink: &Sink,
    with: &str,
    report: &mut Report,
) -> Result<()> {
    let command = ["systemctl", "restart", "relay"];
    under_load(container, network, sink, &command, &format!("restart with {with}"), report)
}

/// Runs a command in the container under load and reports unserved clients and lost messages. `what`
/// names the command in the report.
pub(super) fn under_load(
    container: &Container,
    network: &Namespace,
    sink: &Sink,
    command: &[&str],
    what: &str,
    report: &mut Report,
) -> Result<()> {
    let stop = AtomicBool::new(false);
    let (load, took) = thread::scope(|scope| -> Result<_> {
        let load = scope.spawn(|| network.enter(|| load(what, &stop)));
        thread::sleep(BEFORE);
        let begun = Instant::now();
        let restarted = container.succeed(command);
        let took = begun.elapsed();
        thread::sleep(AFTER);
        stop.store(true, Ordering::Relaxed);
        let load = load.join().map_err(|_| anyhow::anyhow!("the load panicked"))??;
        restarted?;
        Ok((load, took))
    })?;
    let failed: Vec<_> = load.sessions.iter().filter(|(_, result)| result.is_err()).collect();
    let window = match (failed.iter().map(|it| it.0).min(), failed.iter().map(|it| it.0).max()) {
        (Some(first), Some(last)) => last - first,
        _ => Duration::ZERO,
    };
    let taken: HashSet<&String> =
        load.sessions.iter().filter_map(|(_, result)| result.as_ref().ok()).collect();
    let lost = wait_for(sink, &taken);
    report.lines.push(format!(
        "{what}: {} sessions at {RATE}/s, {} not served (over {:.2} s), the command took {:.1} s, \
         {lost} accepted messages lost",
        load.sessions.len(),
        failed.len(),
        window.as_secs_f64(),
        took.as_secs_f64(),
    ));
    // The listener stays open, and a stopping daemon serves the clients that are connected.
    if let Some((_, Err(why))) = failed.get(failed.len() / 2) {
        report.faults.push(format!("{what} left {} sessions unserved: {why}", failed.len()));
    }
    if lost > 0 {
        report.faults.push(format!("{what} lost {lost} accepted messages"));
    }
    Ok(())
}

/// The number of these subjects that do not arrive.
fn wait_for(sink: &Sink, subjects: &HashSet<&String>) -> usize {
    let deadline = Instant::now() + 2 * PATIENCE;
    loop {
        let arrived: HashSet<String> = sink
            .messages()
            .iter()
            .filter_map(|message| {
                let text = message.text();
                let subject = text.lines().find_map(|line| line.strip_prefix("Subject: "));
                subject.map(|subject| subject.trim().to_owned())
            })
            .collect();
        let lost = subjects.iter().filter(|subject| !arrived.contains(**subject)).count();
        if lost == 0 || Instant::now() > deadline {
            return lost;
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Sessions at a fixed rate until stopped, each in its own thread.
fn load(label: &str, stop: &AtomicBool) -> Load {
    let label: String = label.chars().filter(char::is_ascii_alphabetic).collect();
    let load = Arc::new(Mutex::new(Load::default()));
    let mut threads = Vec::new();
    let begun = Instant::now();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let load = Arc::clone(&load);
        let subject = format!("{label}-{number}");
        threads.push(thread::spawn(move || {
            let at = Instant::now();
            let result = session(&subject, "u@contoso.example").map(|()| subject);
            load.lock().sessions.push((at, result));
        }));
        let due = begun + Duration::from_secs(1) * (number + 1) / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    for thread in threads {
        // A session that panicked has no result and is not counted; its code does not panic.
        let _ = thread.join();
    }
    let mut load = load.lock();
    std::mem::take(&mut *load)
}

/// Sends one message in one session; the error names the step that failed.
pub(super) fn session(subject: &str, recipient: &str) -> Result<(), String> {
    let failed = |stage: &'static str| move |error: std::io::Error| format!("{stage}: {error}");
    let address: SocketAddr = SERVER.parse().map_err(|error| format!("{error}"))?;
    let stream = TcpStream::connect_timeout(&address, PATIENCE).map_err(failed("connect"))?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed("connect"))?;
    let mut reader = BufReader::new(stream.try_clone().map_err(failed("connect"))?);
    let mut writer = stream;
    let content = format!("From: a@fabrikam.example\r\nSubject: {subject}\r\n\r\nhello\r\n.");
    let recipient = format!("RCPT TO:<{recipient}>");
    for (stage, command, wanted) in [
        ("greeting", "", '2'),
        ("EHLO", "EHLO client.fabrikam.example", '2'),
        ("MAIL", "MAIL FROM:<a@fabrikam.example>", '2'),
        ("RCPT", recipient.as_str(), '2'),
        ("DATA", "DATA", '3'),
        ("end of data", content.as_str(), '2'),
    ] {
        if !command.is_empty() {
            writer.write_all(format!("{command}\r\n").as_bytes()).map_err(failed(stage))?;
        }
        let reply = loop {
            let mut line = String::new();
            reader.read_line(&mut line).map_err(failed(stage))?;
            if line.as_bytes().get(3) != Some(&b'-') {
                break line;
            }
        };
        if !reply.starts_with(wanted) {
            return Err(format!(
                "{stage}: {}",
                if reply.is_empty() { "closed" } else { reply.trim() }
            ));
        }
    }
    // The message is accepted; the result of QUIT does not count.
    let _ = writer.write_all(b"QUIT\r\n");
    let _ = reader.read_line(&mut String::new());
    Ok(())
}

/// A next hop that accepts a connection and never sends anything.
struct Stuck {
    accepted: thread::JoinHandle<std::io::Result<TcpStream>>,
}

impl Stuck {
    fn listen(network: &Namespace) -> Result<Self> {
        let listener = network.enter(|| TcpListener::bind(STUCK))??;
        Ok(Self { accepted: thread::spawn(move || listener.accept().map(|(stream, _)| stream)) })
    }

    /// Waits until the daemon is connected, and then holds that connection open.
    fn wait(self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !self.accepted.is_finished() {
            ensure!(Instant::now() < deadline, "no attempt at the stuck next hop");
            thread::sleep(Duration::from_millis(50));
        }
        let stream = self.accepted.join().map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        std::mem::forget(stream);
        Ok(())
    }
}

pub(super) fn configuration(more: &str) -> String {
    format!(
        r#"hostname = "edge1.contoso.example"

[classifier]
mode = "auto"
interfaces = ["lo"]

[delivery]
smart_host = "{SINK}"

[[accepted_domain]]
name = "contoso.example"
type = "Authoritative"

[[accepted_domain]]
name = "stuck.example"
type = "InternalRelay"

{more}
[[connector]]
name = "Default"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]
max_inbound_connection_per_source = "unlimited"
max_inbound_connection_percentage_per_source = 100
message_rate_limit = "unlimited"
"#
    )
}
