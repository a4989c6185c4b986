//! Debian's servers, each in its own directory, on free ports, and ended by process id.

pub mod mail;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_tests::daemon::free_port;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longest time until a server listens, on a machine that compiles at the same time.
const START: Duration = Duration::from_secs(60);
/// Longest time until a server ends on request.
const STOP: Duration = Duration::from_secs(10);

/// A running server. Dropping it ends it.
pub struct Server {
    pub address: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Server {
    /// nsd with the zone `example`, and a zone `broken` that it cannot load and for which it
    /// answers SERVFAIL. It refuses all other questions.
    pub fn name_server(records: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let path = folder.path().display();
        let configuration = format!(
            "server:\n  ip-address: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  \
             zonesdir: \"{path}\"\n  database: \"\"\n  pidfile: \"{path}/nsd.pid\"\n  \
             xfrdfile: \"{path}/xfrd.state\"\n  zonelistfile: \"{path}/zone.list\"\n  \
             xfrdir: \"{path}\"\n  server-count: 1\n\
             remote-control:\n  control-enable: no\n\
             zone:\n  name: example\n  zonefile: example.zone\n\
             zone:\n  name: broken\n  zonefile: missing.zone\n"
        );
        let zone = format!(
            "$ORIGIN example.\n$TTL 60\n@ SOA ns hostmaster 1 60 60 60 60\n@ NS ns\n\
             ns A 127.0.0.1\n{records}"
        );
        fs::write(folder.path().join("nsd.conf"), configuration).unwrap();
        fs::write(folder.path().join("example.zone"), zone).unwrap();
        let mut command = Command::new("nsd");
        command.arg("-d").arg("-c").arg(folder.path().join("nsd.conf"));
        Self::start(command, port, folder)
    }

    /// Rspamd with only its own test patterns, of which `X…` is refused and `Y…` marked.
    pub fn rspamd() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port().unwrap();
        let path = folder.path().display();
        let configuration = format!(
            "options {{\n  pidfile = \"{path}/rspamd.pid\";\n  filters = \"\";\n  \
             enable_test_patterns = true;\n  disable_hyperscan = true;\n  tempdir = \"{path}\";\n  \
             dns {{ nameserver = [\"127.0.0.1:9\"]; timeout = 1s; retransmits = 1; }}\n  \
             control_socket = \"{path}/control.sock mode=0600\";\n  url_tld = \"{path}/tld\";\n  \
             cache_file = \"{path}/cache\";\n  history_file = \"{path}/history\";\n}}\n\
             logging {{ type = \"console\"; level = \"error\"; }}\n\
             worker \"normal\" {{ bind_socket = \"127.0.0.1:{port}\"; count = 1; mime = true; }}\n\
             actions {{ reject = 15; add_header = 6; greylist = 4; }}\n\
             lua = \"{path}/empty.lua\";\n"
        );
        fs::write(folder.path().join("rspamd.conf"), configuration).unwrap();
        // The real list takes seconds to compile.
        fs::write(folder.path().join("tld"), "example\n").unwrap();
        fs::write(folder.path().join("empty.lua"), "").unwrap();
        let mut command = Command::new("rspamd");
        command.arg("-f").arg("-c").arg(folder.path().join("rspamd.conf"));
        if rustix::process::geteuid().is_root() {
            command.arg("--insecure");
        }
        Self::start(command, port, folder)
    }

    /// HAProxy that forwards each connection as this `server` line says.
    pub fn haproxy(server: &str) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
        let configuration = format!(
            "global\n  maxconn 50\ndefaults\n  mode tcp\n  timeout connect 10s\n  \
             timeout client 60s\n  timeout server 60s\nlisten smtp\n  bind 127.0.0.1:{port}\n  \
             server relay {server}\n"
        );
        let file = folder.path().join("haproxy.cfg");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&file);
        Self::start(command, port, folder)
    }

    /// Starts a server with its files in this directory, and waits until it listens.
    pub fn start(mut command: Command, port: u16, folder: TempDir) -> Self {
        let address: SocketAddr = (Ipv4Addr::LOCALHOST, port).into();
        let output = fs::File::create(folder.path().join("output")).unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output);
        // Postfix ends its whole process group.
        let child = command.process_group(0).spawn().unwrap();
        let mut server = Self { address, child, folder };
        let deadline = Instant::now() + START;
        while TcpStream::connect(address).is_err() {
            let has_ended = server.child.try_wait().unwrap().is_some();
            assert!(!has_ended, "{command:?} has ended: {}", server.log());
            let in_time = Instant::now() < deadline;
            assert!(in_time, "{command:?} does not listen: {}", server.log());
            sleep(Duration::from_millis(20));
        }
        server
    }

    /// The server's output and log.
    pub fn log(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        ["output", "log", "mainlog"].map(read).concat()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It is our child and was not waited for, so the id cannot be another process's.
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process(id, Signal::TERM);
        }
        let deadline = Instant::now() + STOP;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            sleep(Duration::from_millis(10));
        }
    }
}
