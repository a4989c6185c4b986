//! `cargo xtask demo`: the article's scenario with a real client, the real daemon and a real next
//! hop, on hosts that are network namespaces. Each cell of the result table is checked.
//!
//! There are three independent witnesses: swaks reports the replies, the daemon's log the connector
//! and the classifier, the sink the delivered messages.

mod evidence;
mod network;
mod scenes;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use relay_tests::client::swaks;
use relay_tests::daemon::Daemon;
use relay_tests::sink::{Script, Sink};
use serde_json::Value;

use self::evidence::{Row, SessionLine};
use self::network::{NEXT_HOP, Network};
use self::scenes::{SCENES, Scene};
use crate::workspace::Workspace;
use crate::{build_daemon, ebpf, process, setup};

/// Longest wait for a session's log line or for a message at the sink.
const PATIENCE: Duration = Duration::from_secs(10);

/// The verb.
pub fn run(workspace: &Workspace) -> Result<()> {
    ensure!(
        process::is_root(),
        "the demo creates network namespaces and loads programs: run it as root"
    );
    let machine = setup::prepare(workspace)?;
    let compiler = machine.kernel_compiler.context("the kernel half cannot be built here")?;
    let object = ebpf::build(workspace, &compiler)?;
    build_daemon::build(workspace, Some(&object))?;

    let folder = tempfile::tempdir()?;
    let pins = format!("/sys/fs/bpf/relay-demo-{}", std::process::id());
    let network = Network::build()?;
    let sink = Sink::start(Some(&network.inside), NEXT_HOP.parse()?, Script::default())?;
    let configuration = configuration(folder.path(), &pins);
    let daemon = Daemon::start_program(
        &workspace.daemon(),
        Some(&network.edge),
        folder.path(),
        &configuration,
    )?;

    let mut rows = Vec::new();
    for (number, scene) in SCENES.iter().enumerate() {
        rows.push(play(number, scene, &network, &daemon, &sink)?);
    }

    let table = dump_ranges(&pins)?;
    println!("{table}");
    heading("the daemon's counters: relay status");
    let mut status = Command::new(workspace.daemon());
    status.args(["status", "--json", "-c"]).arg(daemon.configuration());
    let status = process::output(&mut status)?;
    println!("{status}");
    heading("results");
    evidence::print_table(&rows);
    ensure!(daemon.stop()?.success(), "the daemon ended with an error");
    ensure!(!Path::new(&pins).exists(), "the daemon did not remove its pins in {pins}");

    // A refused message must not have arrived later either; after the stop none can.
    let arrived = sink.messages().len();
    let expected = SCENES.iter().filter(|scene| scene.arrives).count();
    let mut faults: Vec<&str> =
        rows.iter().flat_map(|row| &row.faults).map(String::as_str).collect();
    faults.extend(evidence::faults_of_counters(&serde_json::from_str(&status)?));
    if arrived != expected {
        faults.push("the sink has messages that must not be delivered");
    }
    for field in ["generation", "binding", "address", "connector", "range"] {
        if !table.contains(&format!("\"{field}\"")) {
            faults.push("bpftool does not print the table by its fields' names");
        }
    }
    for fault in &faults {
        println!("WRONG: {fault}");
    }
    if !faults.is_empty() {
        bail!("{} results are wrong", faults.len());
    }
    println!("demo: all {} rows are correct", rows.len());
    Ok(())
}

/// Sends one message and reads the results of the three witnesses.
fn play(
    number: usize,
    scene: &Scene,
    network: &Network,
    daemon: &Daemon,
    sink: &Sink,
) -> Result<Row> {
    let log_so_far = daemon.line_count();
    let subject = format!("scene {number}");
    let arguments = scene.arguments(&subject);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    heading(&format!("{}: swaks {}", scene.title, arguments.join(" ")));
    let transcript = swaks(Some(network.host(scene.host)), &arguments)?;
    println!("{}", transcript.text.trim_end());

    let session = if scene.connects {
        let about_it =
            |line: &str| SessionLine::parse(line).filter(|session| session.is_from(scene.source));
        daemon
            .wait_for(log_so_far, PATIENCE, about_it)
            .inspect_err(|error| println!("no log line about this session: {error:#}"))
            .ok()
    } else {
        None
    };
    if scene.arrives {
        let count = 1 + SCENES[..number].iter().filter(|scene| scene.arrives).count();
        if let Err(error) = sink.wait_for(count, PATIENCE) {
            println!("at the sink: {error:#}");
        }
    }
    let wanted = format!("Subject: {subject}\r\n");
    let message = sink.messages().into_iter().find(|message| message.text().contains(&wanted));
    if let Some(message) = &message {
        println!("\nwhat arrived at the next hop:\n{message}");
    }
    Ok(Row::judge(scene, &transcript, session, message))
}

/// Dumps the table by its map name, as an administrator would. If other instances of relay on this
/// machine have a map of that name too, dumps it by its path.
fn dump_ranges(pins: &str) -> Result<String> {
    let bpftool = process::find_program("bpftool").context("bpftool was not found")?;
    let bpftool = |arguments: &[&str]| process::output(Command::new(&bpftool).args(arguments));
    let maps = bpftool(&["--json", "map", "show"])?;
    let maps: Vec<Value> = serde_json::from_str(&maps).context("bpftool printed no JSON")?;
    let namesakes = maps.iter().filter(|map| map["name"] == "RANGES").count();
    let path = format!("{pins}/RANGES");
    let which = if namesakes == 1 { ["name", "RANGES"] } else { ["pinned", path.as_str()] };
    heading(&format!("the kernel's table: bpftool map dump {}", which.join(" ")));
    bpftool(&[&["map", "dump"], which.as_slice()].concat())
}

fn configuration(folder: &Path, pins: &str) -> String {
    format!(
        r#"hostname = "edge1.contoso.example"

[classifier]
mode = "kernel"
interfaces = ["outside", "banned"]
pin_directory = "{pins}"
cross_check = true

[queue]
directory = "{folder}/queue"

[delivery]
smart_host = "{NEXT_HOP}"

[control]
socket = "{folder}/control.sock"

[log]
format = "json"

[[accepted_domain]]
name = "contoso.example"
type = "Authoritative"

[[connector]]
name = "Default Frontend"
bindings = ["0.0.0.0:25", "[::]:25"]
remote_ip_ranges = ["0.0.0.0-255.255.255.255", "::/0"]
permission_groups = ["AnonymousUsers"]

[[connector]]
name = "SMTP Relay EXCH01"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.96.15"]
auth_mechanism = ["ExternalAuthoritative"]
permission_groups = ["ExchangeServers"]

[[connector]]
name = "Scanners"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.97.0/24", "10.38.98.10-10.38.98.40"]
permission_groups = ["AnonymousUsers"]
grants = {{ anonymous = ["ms-Exch-SMTP-Accept-Any-Recipient"] }}

[[connector]]
name = "Refused"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["198.51.100.64/26"]
refuse = true
"#,
        folder = folder.display()
    )
}

fn heading(text: &str) {
    println!("\n== {text}");
}
