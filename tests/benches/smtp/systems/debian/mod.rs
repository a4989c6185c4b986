//! Postfix, Exim and OpenSMTPD from Debian.
//!
//! Each is unpacked, not installed. It runs in its own mount namespace and process namespace, on a
//! root that overlays the package on this machine's, with the users that the package would create.
//! Its queue is on the same disk as ours. When its first process ends, all of it is removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};
use relay_tests::benchmark::{Standing, Subject};

use super::running::end_of;
use super::{Found, Place, Running, System, free_address};
use crate::cpus;

/// The directory into which `cargo xtask bench smtp` unpacked the packages.
const PEERS: &str = "RELAY_BENCH_PEERS";

/// The beginning of every script.
const ROOT: &str = include_str!("root.sh");

/// One server from a package.
struct Server {
    name: &'static str,
    /// The directory below [`PEERS`] that is overlaid on the root.
    folder: &'static str,
    standing: Standing,
    acceptance: &'static str,
    settings: &'static str,
    /// Users to create, each with a group of its name.
    users: &'static [&'static str],
    /// The path of the queue.
    queue: &'static str,
    /// Shell commands that prepare and then exec the server. PORT, NEXT_HOST and NEXT_PORT are set,
    /// and HOLD if nothing is to be delivered.
    script: &'static str,
    /// It has a process for each session.
    forks: bool,
    /// The script reports by a file that delivery is held.
    says_held: bool,
}

const SERVERS: [Server; 3] = [
    Server {
        name: "Postfix",
        folder: "postfix",
        standing: Standing::Durable,
        acceptance: "the queue file is synced; its directory is not synced explicitly",
        settings: "relayhost is the sink; up to 600 processes of a kind, no limit of connections \
                   from \
                   one source or of size, no pause if mail arrives faster than it leaves \
                   (`in_flow_delay = 0`), no chroot. If only acceptance is measured, `HOLD` at \
                   DATA",
        users: &["postfix", "postdrop"],
        queue: "/var/spool/postfix",
        script: include_str!("postfix.sh"),
        forks: true,
        says_held: false,
    },
    Server {
        name: "Exim",
        folder: "exim",
        standing: Standing::Durable,
        acceptance: "data and header files are synced, and their directory",
        settings: "one manualroute to the sink; every message is delivered at once, for any \
                   number of messages on a connection (`smtp_accept_queue_per_connection = 0`); \
                   no limit of connections or \
                   of size; no TLS, no DNS. If only acceptance is measured, `queue_only`",
        users: &["Debian-exim"],
        queue: "/var/spool/exim4",
        script: include_str!("exim.sh"),
        forks: true,
        says_held: false,
    },
    Server {
        name: "OpenSMTPD",
        folder: "opensmtpd",
        standing: Standing::NotDurable,
        acceptance: "the message was renamed into the queue; nothing is synced before the 250",
        settings: "one relay action to the sink; messages of up to 100 MB, no limit of messages \
                   in a session; \
                   clients' names from the hosts file, not from DNS. If only acceptance is \
                   measured, `smtpctl pause mta`",
        users: &["opensmtpd", "opensmtpq"],
        queue: "/var/spool/smtpd",
        script: include_str!("opensmtpd.sh"),
        forks: false,
        says_held: true,
    },
];

/// A server whose package was unpacked.
struct Peer {
    server: &'static Server,
    tree: PathBuf,
    version: String,
}

pub fn all() -> Vec<Found> {
    let Some(folder) = std::env::var_os(PEERS).map(PathBuf::from) else {
        let names = SERVERS.iter().map(|server| server.name).collect::<Vec<_>>().join(", ");
        return vec![Err(format!("{names}: {PEERS} does not name where they are unpacked"))];
    };
    SERVERS
        .iter()
        .map(|server| {
            let tree = folder.join(server.folder);
            if !tree.join("usr").is_dir() {
                return Err(format!("{}: its package is not unpacked", server.name));
            }
            let version = version(&tree);
            Ok(Box::new(Peer { server, tree, version }) as _)
        })
        .collect()
}

/// The version in the name of the package's file, which stays beside the unpacked tree.
fn version(tree: &Path) -> String {
    let names = fs::read_dir(tree).into_iter().flatten().filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_suffix(".deb")?.split('_').nth(1).map(|version| version.replace("%3a", ":"))
    });
    names.last().unwrap_or_else(|| "?".to_owned())
}

impl System for Peer {
    fn subject(&self) -> Subject {
        let Server { name, standing, acceptance, settings, .. } = *self.server;
        Subject {
            name: format!("{name} {}", self.version),
            standing,
            acceptance: acceptance.to_owned(),
            settings: settings.to_owned(),
        }
    }

    fn forks(&self) -> bool {
        self.server.forks
    }

    fn start(&self, place: Place<'_>) -> Result<Running> {
        let address = free_address()?;
        let Place { folder, next_hop } = place;
        for part in ["root", "over", "queue"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let script = folder.join("start.sh");
        fs::write(&script, format!("{ROOT}{}", self.server.script))?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = cpus::of_the_server(Path::new("unshare"));
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"])
            .args(["sh", "-e"])
            .arg(&script)
            .env("FOLDER", folder)
            .env("TREES", &self.tree)
            .env("USERS", self.server.users.join(" "))
            .env("QUEUE", self.server.queue)
            .env("PORT", address.port().to_string())
            .env("HOLD", if next_hop.is_none() { "yes" } else { "" })
            .env("NEXT_HOST", next_hop.map_or("127.0.0.1".to_owned(), |hop| hop.ip().to_string()))
            .env("NEXT_PORT", next_hop.map_or(9, |hop| hop.port()).to_string())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let started = folder.join("started");
        let held = folder.join("held");
        let held = (next_hop.is_none() && self.server.says_held).then_some(held.as_path());
        let child = command.spawn().context("cannot start setpriv")?;
        Running::begin_in_namespace(child, address, &started, held)
            .with_context(|| end_of(&folder.join("log")))
    }
}
