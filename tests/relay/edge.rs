//! The host of a scenario: one edge host with its files, its port and its next hop.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_tests::daemon::{self, Daemon, ROOMY};
use relay_tests::sink::{Script, Sink};
use serde_json::Value;
use tempfile::TempDir;

use crate::PATIENCE;
use crate::dialogue::{self, Dialogue};

/// The article's scenario on loopback, where the client's address selects the connector.
pub const ARTICLE: &str = r#"
[[connector]]
name = "Default Frontend"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
tarpit_interval = "0s"

[[connector]]
name = "SMTP Relay EXCH01"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.2"]
auth_mechanism = ["ExternalAuthoritative"]
permission_groups = ["ExchangeServers"]

[[connector]]
name = "Scanners"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.3", "127.0.1.10-127.0.1.40"]
permission_groups = ["AnonymousUsers"]
grants = { anonymous = ["ms-Exch-SMTP-Accept-Any-Recipient"] }
tarpit_interval = "0s"

[[connector]]
name = "Refused"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.4"]
refuse = true
"#;

/// An address of the connector that relays to any domain.
pub const SCANNER: &str = "127.0.0.3";

/// The classifier of the daemon.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
    Kernel,
    Userspace,
}

/// One edge host. Dropping it removes all its files.
pub struct Edge {
    pub sink: Sink,
    pub port: u16,
    pub mode: Mode,
    pub pins: PathBuf,
    folder: TempDir,
}

/// A command's output and its exit code.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Edge {
    pub fn new(mode: Mode) -> Self {
        Self::with_sink(mode, Script::default())
    }

    /// With a next hop that fails as the script says.
    pub fn with_sink(mode: Mode, script: Script) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            sink: Sink::on_loopback(script).unwrap(),
            port: daemon::free_port().unwrap(),
            mode,
            pins: PathBuf::from(format!("/sys/fs/bpf/relay-edge-{}-{number}", process::id())),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// With a next hop that gives these replies, as [`Script::parse`] reads them.
    pub fn answered(answers: &[&str]) -> Self {
        let script = Script::parse(answers.iter().copied()).unwrap();
        Self::with_sink(Mode::Userspace, script)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The whole configuration with these connectors, `PORT` replaced.
    pub fn configuration(&self, connectors: &str) -> String {
        let folder = self.folder().display();
        let classifier = match self.mode {
            Mode::Kernel => {
                format!("mode = \"kernel\"\npin_directory = \"{}\"", self.pins.display())
            }
            Mode::Userspace => "mode = \"userspace\"".to_owned(),
        };
        let head = format!(
            r#"hostname = "edge.test"
[classifier]
{classifier}
[queue]
directory = "{folder}/queue"
[delivery]
smart_host = "{sink}"
initial_retry_interval = "1s"
maximum_retry_interval = "1s"
[control]
socket = "{folder}/control.sock"
[log]
format = "json"
[[accepted_domain]]
name = "contoso.example"
type = "Authoritative"
"#,
            sink = self.sink.address(),
        );
        let pressure = match connectors.contains("[back_pressure]") {
            true => "",
            false => ROOMY,
        };
        head + pressure + &connectors.replace("PORT", &self.port.to_string())
    }

    /// Starts the daemon with the article's connectors.
    pub fn start(&self) -> Daemon {
        self.start_with(&self.configuration(ARTICLE))
    }

    pub fn start_with(&self, configuration: &str) -> Daemon {
        Daemon::start(None, self.folder(), configuration).unwrap()
    }

    /// Runs a daemon that must not start, to its end.
    pub fn fail_to_start(&self, configuration: &str) -> Ran {
        fs::write(self.folder().join("relay.toml"), configuration).unwrap();
        self.relay(&["run"])
    }

    /// Runs a command of `relay` on this host's configuration.
    pub fn relay(&self, arguments: &[&str]) -> Ran {
        self.relay_with(arguments, &self.folder().join("relay.toml"))
    }

    /// The same on another configuration.
    pub fn relay_with(&self, arguments: &[&str], configuration: &Path) -> Ran {
        let mut command = Command::new(daemon::binary().unwrap());
        command.args(arguments).arg("-c").arg(configuration);
        let output = command.stdin(Stdio::null()).output().unwrap();
        Ran {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// `relay status --json`.
    pub fn status(&self) -> Value {
        self.relay(&["status", "--json"]).json()
    }

    /// The part of `status` about one connector.
    pub fn connector(&self, name: &str) -> Value {
        let status = self.status();
        let connectors = status["connectors"].as_array().unwrap();
        connectors.iter().find(|connector| connector["name"] == name).unwrap().clone()
    }

    /// Reads the status until it has the expected value.
    pub fn wait_until(&self, wanted: impl Fn(&Value) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status();
            if wanted(&status) {
                return;
            }
            assert!(Instant::now() < deadline, "{status:#}");
            sleep(Duration::from_millis(20));
        }
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Connects from this address.
    pub fn connect(&self, from: &str) -> Dialogue {
        Dialogue::connect(from.parse().unwrap(), self.address())
    }

    /// A connection from this address without a read: TLS can begin at once.
    pub fn stream(&self, from: &str) -> TcpStream {
        dialogue::connect(from.parse().unwrap(), self.address())
    }

    /// Submits a message as the scanner, which must be accepted, and returns its queue id.
    pub fn submit(&self, sender: &str, recipients: &[&str], content: &str) -> String {
        let mut client = self.connect(SCANNER);
        client.hello();
        let reply = client.message(sender, recipients, content.as_bytes());
        client.quit();
        queue_id(&reply)
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // Only files of a killed daemon can still exist.
        for entry in fs::read_dir(&self.pins).into_iter().flatten().flatten() {
            let _ = fs::remove_file(entry.path());
        }
        let _ = fs::remove_dir(&self.pins);
    }
}

impl Ran {
    /// The output, which must be one JSON value.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The id in a `250 2.6.0 <ID> Queued mail for delivery`.
pub fn queue_id(reply: &str) -> String {
    let id = reply.strip_prefix("250 2.6.0 ").and_then(|rest| rest.split_whitespace().next());
    id.unwrap_or_else(|| panic!("not accepted: {reply}")).trim_matches(['<', '>']).to_owned()
}

/// The log line of this client's session, after the first `after` lines.
pub fn session_line(daemon: &Daemon, after: usize, remote: &str) -> Value {
    json_line(daemon, after, |line| {
        let from = line["remote"].as_str().unwrap_or_default();
        line["message"] == "session" && from.rsplit_once(':').is_some_and(|(ip, _)| ip == remote)
    })
}

/// The first matching log line, after the first `after` lines.
pub fn json_line(daemon: &Daemon, after: usize, wanted: impl Fn(&Value) -> bool) -> Value {
    let read = |line: &str| serde_json::from_str(line).ok().filter(|line| wanted(line));
    daemon.wait_for(after, PATIENCE, read).unwrap()
}
