//! Thousands of idle sessions and a slow-drip attack, while a relay connector is served.
//!
//! One daemon has three connectors, selected by the client's address. [`IDLE`] has sessions without
//! any further command: in plain text, in TLS, and stopped before their handshake. [`FRONTEND`] has
//! the limits of a connector for strangers; clients attack it that send single octets and complete
//! no command. [`RELAY`] serves honest clients. The run measures the daemon's memory for each idle
//! session, and the served sessions with and without the attack. The test uses a small plan and
//! checks the results, the benchmark uses a large one and prints.

#![expect(clippy::unwrap_used, reason = "a rig: every failure must end the run")]

mod client;
mod drip;

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use relay_tests::daemon::{self, Daemon, configuration_head};
use relay_tests::sink::{Script, Sink};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use self::client::Session;
pub use self::drip::Drips;

/// The connector with idle sessions: 127.1.0.0/16.
const IDLE: u8 = 1;
/// The attacked connector: 127.2.0.0/16.
const FRONTEND: u8 = 2;
/// The connector that serves: 127.3.0.0/16.
const RELAY: u8 = 3;
/// Clients of the attack that share an address; the default of `max_inbound_connection_per_source`
/// permits 20 of them.
const DRIPS_PER_SOURCE: usize = 30;
/// Sessions that are opened at the same time, below the listen backlog of the system.
const SIDE_BY_SIDE: usize = 100;

/// The size of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Idle sessions in plain text, after EHLO.
    pub plain: usize,
    /// Idle sessions in TLS, after EHLO.
    pub encrypted: usize,
    /// Sessions that stop after the 220 to STARTTLS.
    pub half_open: usize,
    /// Clients of the attack.
    pub drips: usize,
    /// Clients of the relay connector; each has one session after the other.
    pub clients: usize,
    /// Duration of the load, without the attack and again with the attack.
    pub window: Duration,
}

/// The results of a run.
#[derive(Debug)]
pub struct Outcome {
    /// Octets of the daemon's private memory for each idle session in plain text.
    pub plain_octets: u64,
    /// The same for each session in TLS.
    pub encrypted_octets: u64,
    /// The same for each session before a handshake.
    pub half_open_octets: u64,
    /// Octets of the daemon's private memory before the first of them.
    pub empty_octets: u64,
    /// Sessions of the relay connector each second, without the attack.
    pub quiet: Served,
    /// The same with the attack.
    pub attacked: Served,
    /// The results of the attack.
    pub drips: Drips,
    /// Idle sessions that still got a reply at the end.
    pub alive: usize,
    /// Sessions that the daemon counted while all were open.
    pub sessions: u64,
}

/// Sessions of the relay connector.
#[derive(Clone, Copy, Debug, Default)]
pub struct Served {
    /// Sessions that ended within the window, a message in each.
    pub sessions: usize,
    /// Sessions that were not served.
    pub failed: usize,
    /// For each second.
    pub rate: f64,
}

/// The output of the benchmark.
impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kib = |octets: u64| octets as f64 / 1024.0;
        writeln!(f, "idle sessions               {:>8}", self.sessions)?;
        writeln!(f, "  still answered at the end {:>8}", self.alive)?;
        writeln!(f, "memory before the first     {:>8.1} KiB", kib(self.empty_octets))?;
        writeln!(f, "  each in plain text        {:>8.1} KiB", kib(self.plain_octets))?;
        writeln!(f, "  each in TLS               {:>8.1} KiB", kib(self.encrypted_octets))?;
        writeln!(f, "  each before its handshake {:>8.1} KiB", kib(self.half_open_octets))?;
        for (name, served) in [("without", self.quiet), ("with", self.attacked)] {
            let Served { sessions, failed, rate } = served;
            writeln!(
                f,
                "served {name} the attack: {rate:.0}/s, {sessions} in all, {failed} failed"
            )?;
        }
        let ratio = self.attacked.rate / self.quiet.rate;
        writeln!(f, "  ratio                     {ratio:>8.2}")?;
        let Drips { ended, refused, inactive, timed_out, closed } = self.drips;
        write!(
            f,
            "drips: {ended} connections ended; {refused} refused for the limit of their source, \
             {inactive} by the inactivity timeout, {timed_out} by the connection timeout, {closed} \
             otherwise"
        )
    }
}

/// The state in which a session becomes idle.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Plain,
    Encrypted,
    HalfOpen,
}

/// Runs it.
pub fn run(plan: Plan) -> Outcome {
    raise_descriptor_limit();
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::on_loopback(Script::default()).unwrap();
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, daemon::free_port().unwrap()));
    let tls = write_certificate(folder.path());
    let configuration = configuration(folder.path(), server, sink.address());
    let daemon = Daemon::start(None, folder.path(), &configuration).unwrap();
    let runtime = Runtime::new().unwrap();
    let outcome = runtime.block_on(measure(plan, &daemon, server, tls));
    runtime.shutdown_background();
    outcome
}

async fn measure(plan: Plan, daemon: &Daemon, server: SocketAddr, tls: TlsConnector) -> Outcome {
    // Memory that is allocated once, at the first session of a kind, does not count for any
    // session.
    for kind in [Kind::Plain, Kind::Encrypted] {
        drop(open(kind, 10, 0, server, &tls).await);
    }
    settle(daemon, 0).await;
    let empty_octets = daemon.memory("RssAnon").unwrap();

    let mut idle = open(Kind::Plain, plan.plain, 0, server, &tls).await;
    settle(daemon, idle.len()).await;
    let with_plain = daemon.memory("RssAnon").unwrap();

    idle.extend(open(Kind::Encrypted, plan.encrypted, plan.plain, server, &tls).await);
    settle(daemon, idle.len()).await;
    let with_encrypted = daemon.memory("RssAnon").unwrap();

    let before = plan.plain + plan.encrypted;
    let half_open = open(Kind::HalfOpen, plan.half_open, before, server, &tls).await;
    let sessions = settle(daemon, before + half_open.len()).await;
    let with_half_open = daemon.memory("RssAnon").unwrap();

    let quiet = serve(plan, server).await;
    let attack = drip::begin(plan.drips, server);
    let attacked = serve(plan, server).await;
    let drips = attack.end().await;

    let mut alive = 0;
    for session in &mut idle {
        alive += usize::from(session.say("NOOP").await.is_ok_and(|reply| reply.starts_with("250")));
    }
    drop(half_open);
    let each = |after: u64, before: u64, count: usize| {
        after.saturating_sub(before) / u64::try_from(count.max(1)).unwrap()
    };
    Outcome {
        plain_octets: each(with_plain, empty_octets, plan.plain),
        encrypted_octets: each(with_encrypted, with_plain, plan.encrypted),
        half_open_octets: each(with_half_open, with_encrypted, plan.half_open),
        empty_octets,
        quiet,
        attacked,
        drips,
        alive,
        sessions,
    }
}

/// Opens idle sessions of one kind; `first` is the number of the first one.
async fn open(
    kind: Kind,
    count: usize,
    first: usize,
    server: SocketAddr,
    tls: &TlsConnector,
) -> Vec<Session> {
    let mut sessions = Vec::with_capacity(count);
    let mut opening = JoinSet::new();
    for number in first..first + count {
        if opening.len() >= SIDE_BY_SIDE {
            sessions.extend(opening.join_next().await.map(Result::unwrap));
        }
        let tls = tls.clone();
        opening.spawn(async move { open_one(kind, number, server, &tls).await.unwrap() });
    }
    sessions.extend(opening.join_all().await);
    sessions
}

async fn open_one(
    kind: Kind,
    number: usize,
    server: SocketAddr,
    tls: &TlsConnector,
) -> io::Result<Session> {
    let mut session = Session::connect(address(IDLE, number), server).await?;
    session.expect("220").await?;
    session.hello().await?;
    match kind {
        Kind::Plain => Ok(session),
        Kind::Encrypted => {
            let mut session = session.start_tls(tls).await?;
            session.hello().await?;
            Ok(session)
        }
        Kind::HalfOpen => {
            session.say("STARTTLS").await?;
            Ok(session)
        }
    }
}

/// Sessions of the relay connector for the length of the window.
async fn serve(plan: Plan, server: SocketAddr) -> Served {
    let deadline = Instant::now() + plan.window;
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        clients.spawn(async move {
            let mut served = Served::default();
            while Instant::now() < deadline {
                match client::whole_session(address(RELAY, number), server).await {
                    Ok(()) => served.sessions += usize::from(Instant::now() <= deadline),
                    Err(_) => served.failed += 1,
                }
            }
            served
        });
    }
    let all = clients.join_all().await;
    let sessions = all.iter().map(|served| served.sessions).sum();
    let failed = all.iter().map(|served| served.failed).sum();
    Served { sessions, failed, rate: sessions as f64 / plan.window.as_secs_f64() }
}

/// Waits until the daemon has this number of sessions, and returns the last count.
async fn settle(daemon: &Daemon, sessions: usize) -> u64 {
    let deadline = Instant::now() + client::PATIENCE;
    loop {
        let status: serde_json::Value = serde_json::from_str(&daemon.status().unwrap()).unwrap();
        let now = status["sessions"].as_u64().unwrap();
        if now == u64::try_from(sessions).unwrap() {
            return now;
        }
        assert!(Instant::now() < deadline, "{now} sessions, and not {sessions}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A client's address; its second octet selects the connector.
fn address(connector: u8, number: usize) -> IpAddr {
    let number = u32::try_from(number / 50).unwrap() + 1;
    let [.., high, low] = number.to_be_bytes();
    IpAddr::V4(Ipv4Addr::new(127, connector, high, low))
}

/// A client also needs a descriptor for each of its sessions.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
}

fn configuration(folder: &Path, server: SocketAddr, sink: SocketAddr) -> String {
    let connector = |name: &str, number: u8, more: &str| {
        format!(
            "[[connector]]\nname = \"{name}\"\nbindings = [\"{server}\"]\n\
             remote_ip_ranges = [\"127.{number}.0.0/16\"]\npermission_groups = [\"AnonymousUsers\"]\n\
             {more}\n"
        )
    };
    let head = configuration_head("edge.test", folder, sink);
    let folder = folder.display();
    format!(
        "{head}[tls]\ncertificate = \"{folder}/chain.pem\"\nkey = \"{folder}/key.pem\"\n{}{}{}",
        connector(
            "Idle",
            IDLE,
            "auth_mechanism = [\"Tls\"]\nmax_inbound_connection = \"unlimited\"\n\
             max_inbound_connection_per_source = \"unlimited\"\n\
             connection_timeout = \"1h\"\nconnection_inactivity_timeout = \"59m\"",
        ),
        connector(
            "Default Frontend",
            FRONTEND,
            "connection_timeout = \"4s\"\nconnection_inactivity_timeout = \"2s\"",
        ),
        connector(
            "SMTP Relay",
            RELAY,
            "grants = { anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }",
        ),
    )
}

/// Writes a certificate with its key; the connector of a client that trusts it.
fn write_certificate(folder: &Path) -> TlsConnector {
    let made = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).unwrap();
    fs::write(folder.join("chain.pem"), made.cert.pem()).unwrap();
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    TlsConnector::from(Arc::new(config))
}
