//! Haraka, from npm: one process of Node.js, run from its directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use relay_tests::benchmark::{Standing, Subject};

use super::running::end_of;
use super::{Place, Running, System, free_address};
use crate::cpus;

/// The directory into which npm installed it.
const HARAKA: &str = "RELAY_BENCH_HARAKA";
/// The reason why it is not installed.
const MISSING: &str = "RELAY_BENCH_HARAKA_MISSING";

/// The plugin that makes it a relay for all clients, to one next hop.
const PLUGIN: &str = "\
exports.hook_rcpt = (next, connection) => { connection.relaying = true; next(OK); };
exports.hook_get_mx = function (next) {
    const [host, port] = this.config.get('next_hop').split(':');
    next(OK, [{ priority: 0, exchange: host, port: Number(port) }]);
};
";

pub struct Haraka {
    folder: PathBuf,
    versions: String,
}

impl Haraka {
    pub fn find() -> std::result::Result<Self, String> {
        let missing = || match std::env::var(MISSING) {
            Ok(why) => why,
            Err(_) => format!("Haraka: {HARAKA} does not name where it is installed"),
        };
        let folder = PathBuf::from(std::env::var_os(HARAKA).ok_or_else(missing)?);
        let package = folder.join("node_modules/Haraka/package.json");
        let text = fs::read_to_string(&package).map_err(|error| format!("Haraka: {error}"))?;
        let package: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("Haraka: {error}"))?;
        let version = package["version"].as_str().unwrap_or("?");
        let node = Command::new("node").arg("--version").output();
        let node = node.map_err(|error| format!("Haraka: no Node.js: {error}"))?;
        let node = String::from_utf8_lossy(&node.stdout).trim().to_owned();
        Ok(Self { versions: format!("Haraka {version} (Node.js {node})"), folder })
    }
}

impl System for Haraka {
    fn subject(&self) -> Subject {
        Subject {
            name: self.versions.clone(),
            standing: Standing::Durable,
            acceptance: "the queue file is synced and renamed; its directory is not synced"
                .to_owned(),
            settings:
                "one process; one plugin, which lets every client relay and names the next hop; \
                 log level `error`; no TLS. If only acceptance is measured, outbound mail is \
                 `disabled`"
                    .to_owned(),
        }
    }

    fn start(&self, place: Place<'_>) -> Result<Running> {
        let address = free_address()?;
        let Place { folder, next_hop } = place;
        for part in ["config", "plugins", "queue"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let hop = next_hop.map_or("127.0.0.1:9".to_owned(), |hop| hop.to_string());
        let held = next_hop.is_none();
        let files = [
            ("config/smtp.ini", format!("listen={address}\n")),
            (
                "config/outbound.ini",
                format!("disabled={held}\nenable_tls=false\nlocal_mx_ok=true\n"),
            ),
            ("config/plugins", "sink\n".to_owned()),
            ("config/next_hop", hop),
            ("config/log.ini", "level=error\n".to_owned()),
            ("config/me", "haraka.example\n".to_owned()),
            ("plugins/sink.js", PLUGIN.to_owned()),
        ];
        for (name, text) in files {
            fs::write(folder.join(name), text)?;
        }
        // A separate directory does not inherit this one.
        let connection = self.folder.join("node_modules/Haraka/config/connection.ini");
        fs::copy(connection, folder.join("config/connection.ini"))?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = cpus::of_the_server(Path::new("node"));
        command
            .arg(self.folder.join("node_modules/Haraka/bin/haraka"))
            .arg("-c")
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Running::begin(command.spawn()?, address).with_context(|| end_of(&folder.join("log")))
    }
}
