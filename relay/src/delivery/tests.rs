//! The driver against scripted next hops on loopback.

mod addresses;
mod arriving;
mod attacks;
mod breaking_off;
mod delays;
mod endings;
mod limited;
mod maildirs;
mod other_servers;
mod passing_faults;
mod pinned;
mod resuming;
mod routes;
mod sink;
mod tls;
mod too_many_recipients;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use relay_mail::dsn::MailDsn;
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::outcome::Cause;
use relay_mail::path::{Domain, ForwardPath, ReversePath};
use relay_mail::protocol::Protocol;
use relay_mail::queue_id::QueueId;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;

pub(crate) use self::sink::{Fault, Sink};
use super::connection::{Connection, Dial};
use super::reach::{Candidate, Unreachable};
use super::*;
use crate::queue::schedule::Schedule;
use crate::queue::{Counters, StoreSettings};

const ONE: &str = "<one@fabrikam.example>";

/// A queue in which deferred mail comes back soon, so that a test can see it arrive.
pub(crate) fn open_queue(directory: &TempDir, lifetime: Duration) -> Queue {
    let mut log = StoreSettings::new(directory.path());
    log.min_free_octets = 0;
    let second = Duration::from_secs(1);
    let hostname = Domain::parse("edge1.contoso.example").unwrap();
    let schedule =
        Schedule { first: second / 10, longest: second / 5, lifetime, warning: lifetime };
    let settings = crate::queue::Settings { hostname, schedule };
    let (queue, _) = Queue::open(&log, settings).unwrap();
    queue
}

/// Delivery that waits for half a second where the real one waits for minutes.
pub(crate) fn impatient(address: SocketAddr) -> Settings {
    let second = Duration::from_secs(1);
    let routes = Routes::new(Vec::new(), to_servers(&[address], Security::default()));
    let mut settings = Settings::new(routes, Handshakes::load([]).unwrap(), "edge1");
    settings.pause_first = second / 10;
    settings.pause_longest = second / 2;
    settings.timeouts = every_step(second / 2);
    settings
}

/// Connects to the first of these that can be used.
async fn connect(
    candidates: &[Candidate],
    security: &Security,
    settings: &Settings,
) -> Result<Connection, Cause> {
    let (_keep, cut) = watch::channel(Cut::Nothing);
    let dial = Dial { protocol: Protocol::Smtp, security, settings, cut: &cut, counted: None };
    Connection::open(candidates, &dial, &mut Vec::new()).await.map_err(|unreachable| {
        let Unreachable::Now(cause) = unreachable else { panic!("{unreachable:?}") };
        cause
    })
}

/// Smart hosts, in this order.
fn to_servers(addresses: &[SocketAddr], security: Security) -> NextHop {
    let hosts = addresses.iter().map(|address| address.to_string().parse().unwrap()).collect();
    NextHop::SmartHosts(Arc::new(SmartHosts { hosts, protocol: Protocol::Smtp, security }))
}

fn every_step(timeout: Duration) -> Timeouts {
    Timeouts {
        greeting: timeout,
        mail: timeout,
        recipient: timeout,
        data_initiation: timeout,
        data_block: timeout,
        data_termination: timeout,
        quit: timeout,
    }
}

/// Delivery that waits for a minute at each step, and hardly at all once it is to end.
pub(crate) fn patient(address: SocketAddr) -> Settings {
    let timeouts = every_step(Duration::from_secs(60));
    Settings { timeouts, drain: Duration::from_millis(100), ..impatient(address) }
}

/// Delivery to the hosts of address literals, at this port.
pub(crate) fn by_address(port: u16) -> Settings {
    let mut settings = patient(SocketAddr::from(([127, 0, 0, 1], port)));
    settings.routes = Routes::new(vec![], NextHop::Exchangers { security: Arc::default() });
    settings.exchangers.port = port;
    settings.exchangers.allow_private_addresses = true;
    settings
}

pub(crate) async fn accept(queue: &Queue, recipients: &[&str], message: &[u8]) -> QueueId {
    accept_from(queue, "<sender@contoso.example>", recipients, message).await
}

async fn accept_from(queue: &Queue, from: &str, to: &[&str], message: &[u8]) -> QueueId {
    let envelope = Envelope {
        sender: ReversePath::parse(from).unwrap(),
        recipients: to.iter().map(|r| ForwardPath::parse(r).unwrap().into()).collect(),
        body: BodyType::EightBitMime,
        smtputf8: false,
        dsn: MailDsn::default(),
    };
    let mut incoming = queue.begin(envelope).await.unwrap();
    for piece in message.chunks(10_000) {
        incoming.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let id = incoming.id();
    incoming.commit().await.unwrap();
    id
}

/// A queue, its delivery, and the way to end it.
struct Daemon {
    queue: Queue,
    stop: watch::Sender<bool>,
    delivery: JoinHandle<()>,
    _directory: TempDir,
}

impl Daemon {
    fn start(address: SocketAddr) -> Self {
        Self::start_with(address, |_| {})
    }

    fn start_with(address: SocketAddr, change: impl FnOnce(&mut Settings)) -> Self {
        let directory = TempDir::new().unwrap();
        let queue = open_queue(&directory, Duration::from_secs(60));
        let mut settings = impatient(address);
        change(&mut settings);
        let (stop, stopped) = watch::channel(false);
        let delivery = tokio::spawn(run(queue.clone(), settings, stopped));
        Self { queue, stop, delivery, _directory: directory }
    }

    async fn accept(&self, recipients: &[&str], message: &[u8]) -> QueueId {
        accept(&self.queue, recipients, message).await
    }

    /// Waits until every message has been delivered or reported, and ends the delivery, so that
    /// the last attempt is counted too.
    async fn finish(self) -> Counters {
        let begin = Instant::now();
        while self.queue.counters().lengths.queued > 0 {
            let counters = self.queue.counters();
            assert!(begin.elapsed() < Duration::from_secs(60), "not empty: {counters:?}");
            sleep(Duration::from_millis(10)).await;
        }
        let queue = self.queue.clone();
        self.stop().await;
        queue.counters()
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.delivery.await.unwrap();
    }
}
