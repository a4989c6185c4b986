//! The host under attack, its next hops, and the addresses of the clients.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use relay_tests::daemon::{Daemon, ROOMY, binary};
use relay_tests::namespace::{Namespace, link};
use relay_tests::sink::{self, Message, Script};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::honest::Arrivals;
use super::names;

/// The daemon's listener for all clients.
pub const EDGE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 38, 0, 1)), 25);
/// Its listener for IPv6.
pub const EDGE_IPV6: SocketAddr =
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1)), 25);
/// A scanner of the anonymous relay connector.
pub const SCANNER: Ipv4Addr = Ipv4Addr::new(10, 38, 97, 10);
/// A client in the range of the same connector, whose browser sends requests for a stranger.
pub const DESK: Ipv4Addr = Ipv4Addr::new(10, 38, 97, 200);
/// The externally secured server.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(10, 38, 96, 15);
/// The exchanger that accepts connections and never greets.
const SILENT: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(11, 77, 0, 1)), 25);
/// The next hop that accepts the mail to the strangers' victim.
const VICTIM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(11, 77, 0, 2)), 25);
/// Next hops of the daemon.
const HEALTHY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2600);
const REJECTS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2601);
const TAKES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2602);
const NAMES: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// All parts of the run.
pub struct World {
    // The daemon is dropped first.
    daemon: Daemon,
    /// What arrived at the healthy smart host.
    pub arrivals: Arc<Arrivals>,
    /// Octets that reached the victim.
    pub to_victim: Arc<AtomicU64>,
    /// The namespace of all clients.
    pub outside: Namespace,
    _edge: Namespace,
    _folder: tempfile::TempDir,
}

impl World {
    pub fn build() -> Self {
        let [edge, outside] = ["edge", "outside"].map(|label| Namespace::new(label).unwrap());
        link((&edge, "edge-out"), (&outside, "wire0")).unwrap();
        edge.add_address("edge-out", &format!("{}/16", EDGE.ip())).unwrap();
        edge.add_address("edge-out", &format!("{}/64", EDGE_IPV6.ip())).unwrap();
        outside.add_address("wire0", "10.38.255.254/16").unwrap();
        outside.add_address("wire0", "2001:db8:ffff::2/64").unwrap();
        edge.add_default_route("10.38.255.254").unwrap();
        edge.ip(&["-6", "route", "add", "default", "via", "2001:db8:ffff::2"]).unwrap();
        for address in [SCANNER, DESK, SERVER] {
            outside.add_address("wire0", &format!("{address}/16")).unwrap();
        }
        // All addresses of these blocks are local addresses of the clients' namespace.
        outside.ip(&["route", "add", "local", "11.0.0.0/8", "dev", "lo"]).unwrap();
        outside.ip(&["-6", "route", "add", "local", "2001:db8:1::/48", "dev", "lo"]).unwrap();
        // A route makes them reachable; an IPv6 socket needs this setting to bind such an address.
        let from_any = || fs::write("/proc/sys/net/ipv6/ip_nonlocal_bind", "1");
        outside.enter(from_any).unwrap().unwrap();
        outside.set("net.ipv4.ip_local_port_range", "1024 65535").unwrap();

        let arrivals = Arc::new(Arrivals::default());
        let keep = Arc::clone(&arrivals);
        serve(&edge, HEALTHY, "", move |message| keep.take(&message));
        serve(&edge, REJECTS, "rcpt=550 5.1.1 No such user", drop);
        serve(&edge, TAKES, "", drop);
        let to_victim = Arc::new(AtomicU64::new(0));
        let octets = Arc::clone(&to_victim);
        serve(&outside, VICTIM, "", move |message| {
            octets.fetch_add(message.content.len() as u64, Ordering::Relaxed);
        });
        stay_silent(&outside);
        names::serve(&edge, NAMES, &[("victim.example", VICTIM.ip())], SILENT.ip());

        let folder = tempfile::tempdir().unwrap();
        let configuration = configuration(folder.path());
        let mut command = Command::new(binary().unwrap());
        // Otherwise this process would store a line for each of a million sessions.
        command.env("RELAY_LOG", "error,relay::daemon=info,relay_server::back_pressure=info");
        let daemon =
            Daemon::start_command(command, Some(&edge), folder.path(), &configuration).unwrap();
        Self { daemon, arrivals, to_victim, outside, _edge: edge, _folder: folder }
    }

    /// Octets of the daemon's private memory.
    pub fn memory(&self) -> u64 {
        self.daemon.memory("RssAnon").unwrap()
    }

    /// The daemon's status of the host's resources.
    pub fn pressures(&self) -> Vec<String> {
        let output = self.daemon.output();
        let is_told =
            |line: &&str| ["back pressure", "the queue takes"].iter().any(|it| line.contains(it));
        output.lines().filter(is_told).map(str::to_owned).collect()
    }

    /// The number of clients without a greeting, of this number of clients of the strangers'
    /// connector, each with its own address.
    pub fn greetings_refused(&self, clients: u8) -> u64 {
        let greet = || {
            (1..=clients)
                .map(|client| {
                    let from = Ipv4Addr::new(11, 99, 0, client);
                    u64::from(super::honest::greeting(from).is_err())
                })
                .sum()
        };
        self.outside.enter(greet).unwrap()
    }
}

/// A next hop that follows its script.
fn serve(
    place: &Namespace,
    address: SocketAddr,
    rule: &str,
    keep: impl Fn(Message) + Send + Sync + 'static,
) {
    let script = Script::parse(Some(rule).filter(|rule| !rule.is_empty())).unwrap();
    let listener = place.enter(|| TcpListener::bind(address)).unwrap().unwrap();
    thread::spawn(move || sink::serve(&listener, script, keep));
}

/// Accepts, holds the connection open, and sends nothing until the client disconnects.
fn stay_silent(place: &Namespace) {
    let listener = place.enter(|| TcpListener::bind(SILENT)).unwrap().unwrap();
    thread::spawn(move || {
        let mut open = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_nonblocking(true).unwrap();
            open.push(stream);
            // The end of the connection is readable; otherwise a read would block.
            open.retain(|stream| !matches!(stream.peek(&mut [0]), Ok(0)));
        }
    });
}

/// Raised because this process has thousands of connections.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "hostname = \"edge.test\"\n[classifier]\nmode = \"userspace\"\n\
         [queue]\ndirectory = \"{folder}/queue\"\n[control]\nsocket = \"{folder}/control.sock\"\n\
         {ROOMY}\
         [dns]\nservers = [\"{NAMES}\"]\ntimeout = \"2s\"\n[delivery]\n\
         [[accepted_domain]]\nname = \"contoso.example\"\n\
         [[accepted_domain]]\nname = \"tailspin.example\"\n\
         [[route]]\nrecipient_domains = [\"contoso.example\"]\nsmart_hosts = [\"{REJECTS}\"]\n\
         [[route]]\nrecipient_domains = [\"tailspin.example\"]\nsmart_hosts = [\"{TAKES}\"]\n\
         [[route]]\nrecipient_domains = [\"partner.example\"]\nsmart_hosts = [\"{HEALTHY}\"]\n\
         [[connector]]\nname = \"Default Frontend\"\nbindings = [\"0.0.0.0:25\", \"[::]:25\"]\n\
         remote_ip_ranges = [\"0.0.0.0-255.255.255.255\", \"::/0\"]\n\
         permission_groups = [\"AnonymousUsers\"]\n\
         [[connector]]\nname = \"Scanners\"\nbindings = [\"0.0.0.0:25\"]\n\
         remote_ip_ranges = [\"10.38.97.0/24\"]\npermission_groups = [\"AnonymousUsers\"]\n\
         grants = {{ anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }}\n\
         [[connector]]\nname = \"SMTP Relay EXCH01\"\nbindings = [\"0.0.0.0:25\"]\n\
         remote_ip_ranges = [\"{SERVER}\"]\nauth_mechanism = [\"ExternalAuthoritative\"]\n\
         permission_groups = [\"ExchangeServers\"]\n"
    )
}

/// Much longer than a reply takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
