//! The driver against scripted next hops on loopback.

mod addresses;
mod attacks;
mod breaking_off;
mod delays;
mod endings;
mod limited;
mod maildirs;
mod other_servers;
mod pinned;
mod resuming;
mod routes;
mod tls;
mod too_many_recipients;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};

use crate::connection::{Connection, Dial};
use crate::reach::{Candidate, Unreachable};
use crate::*;
use bytes::Bytes;
use relay_mail::dsn::MailDsn;
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::outcome::Cause;
use relay_mail::path::{Domain, ForwardPath, ReversePath};
use relay_mail::protocol::Protocol;
use relay_mail::queue_id::QueueId;
use relay_queue::schedule::Schedule;
use relay_queue::{Counters, StoreSettings};
use tempfile::TempDir;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// How one connection to the scripted next hop goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Accepts the connection and says nothing.
    Silent,
    /// Says this in place of the reply to a verb (or the greeting, the end of data), and closes.
    Says(&'static str, &'static str),
    /// Says this in place of the reply to a verb, and goes on.
    Replies(&'static str, &'static str),
    /// Resets the connection once it has said 354.
    ResetsInData,
    /// Takes so many recipients in a transaction, and says this to the others.
    TakesFew(usize, &'static str),
    /// Takes so many recipients in a transaction, says this to the next one and closes.
    EndsAfter(usize, &'static str),
    /// Says this to a recipient with this in its address, and closes.
    EndsAt(&'static str, &'static str),
    /// Takes so many messages on a connection, and then says this to MAIL and closes.
    Retires(usize, &'static str),
    /// Offers PIPELINING and throws away what comes behind a command.
    DropsPipelined,
    /// Offers PIPELINING and throws away the command behind MAIL.
    DropsSecond,
    /// Offers CHUNKING and does not know BDAT.
    KnowsNoChunks,
    /// Offers no extension but SIZE, of a few octets.
    OffersLittle,
    /// Offers SMTPUTF8.
    KnowsSmtpUtf8,
    /// Replies to the end of data only after this time.
    IsSlow(Duration),
    /// Speaks TLS from the first octet.
    ImplicitTls,
}

/// A connection, whatever it goes over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A next hop that keeps what it takes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sink {
    state: Arc<Mutex<SinkState>>,
    /// STARTTLS is offered with this.
    tls: Option<Arc<ServerConfig>>,
    /// Connections at a time, and what happens to more.
    limit: Option<(usize, Fault)>,
    /// Connections that are served now.
    open: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct SinkState {
    /// One for each connection; then none.
    faults: VecDeque<Fault>,
    connections: usize,
    /// The most of them at one time.
    peak: usize,
    /// Recipients and message, dots still doubled as they came.
    taken: Vec<(Vec<String>, Vec<u8>)>,
    /// Verbs that came within TLS.
    encrypted: Vec<String>,
}

impl Sink {
    pub(crate) async fn start(faults: impl IntoIterator<Item = Fault>) -> (Self, SocketAddr) {
        Self::start_with(None, faults).await
    }

    /// One that serves so many connections at a time.
    async fn limited(most: usize, surplus: Fault) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = Self { limit: Some((most, surplus)), ..Self::default() };
        sink.clone().serve(listener);
        (sink, address)
    }

    pub(crate) async fn start_on(address: &str) -> (Self, SocketAddr) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = Self::default();
        sink.clone().serve(listener);
        (sink, address)
    }

    async fn start_with(
        tls: Option<Arc<ServerConfig>>,
        faults: impl IntoIterator<Item = Fault>,
    ) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = Self { tls, ..Self::default() };
        sink.state.lock().unwrap().faults.extend(faults);
        sink.clone().serve(listener);
        (sink, address)
    }

    fn serve(self, listener: TcpListener) {
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fault = {
                    let mut state = self.state.lock().unwrap();
                    state.connections += 1;
                    state.faults.pop_front().unwrap_or(Fault::None)
                };
                let sink = self.clone();
                let surplus = self.limit.filter(|(most, _)| sink.open.load(Relaxed) >= *most);
                if surplus.is_none() {
                    let open = sink.open.fetch_add(1, Relaxed) + 1;
                    let mut state = self.state.lock().unwrap();
                    state.peak = state.peak.max(open);
                }
                tokio::spawn(async move {
                    let fault = surplus.map_or(fault, |(_, fault)| fault);
                    // The client closing early is what half of these tests are about.
                    let _ = sink.clone().session(stream, fault).await;
                    if surplus.is_none() {
                        sink.open.fetch_sub(1, Relaxed);
                    }
                });
            }
        });
    }

    async fn session(self, stream: TcpStream, fault: Fault) -> std::io::Result<()> {
        let mut stream: BufReader<Box<dyn Stream>> = BufReader::new(Box::new(stream));
        let mut encrypted = false;
        if fault == Fault::Silent {
            let mut nothing = Vec::new();
            stream.read_to_end(&mut nothing).await?;
            return Ok(());
        }
        if let (Fault::ImplicitTls, Some(config)) = (fault, self.tls.clone()) {
            let inside = TlsAcceptor::from(config).accept(stream.into_inner()).await?;
            stream = BufReader::new(Box::new(inside));
            encrypted = true;
        }
        let mut recipients = Vec::new();
        let mut taken_here = 0;
        let mut verb = "greeting".to_owned();
        loop {
            let usual = match verb.as_str() {
                "handshake" => "",
                "greeting" => "220 sink\r\n",
                "EHLO" if self.tls.is_some() && !encrypted => "250-sink\r\n250 STARTTLS\r\n",
                "EHLO" if encrypted => "250-sink\r\n250-8BITMIME\r\n250 AUTH PLAIN\r\n",
                "AUTH" => "235 ok\r\n",
                "STARTTLS" => "220 go\r\n",
                "EHLO" if fault == Fault::KnowsNoChunks => {
                    "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 CHUNKING\r\n"
                }
                "BDAT" => "502 what\r\n",
                "EHLO" if fault == Fault::OffersLittle => "250-sink\r\n250 SIZE 10\r\n",
                "EHLO" if fault == Fault::KnowsSmtpUtf8 => {
                    "250-sink\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"
                }
                "EHLO" => "250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE\r\n",
                "DATA" if recipients.is_empty() => "503 no recipients\r\n",
                "DATA" => "354 go\r\n",
                "QUIT" => "221 bye\r\n",
                _ => "250 ok\r\n",
            };
            let reply = match fault {
                Fault::Says(at, text) if at == verb => {
                    stream.write_all(text.as_bytes()).await?;
                    return Ok(());
                }
                Fault::Retires(most, text) if verb == "MAIL" && taken_here == most => {
                    stream.write_all(text.as_bytes()).await?;
                    return Ok(());
                }
                Fault::EndsAfter(_, text) | Fault::EndsAt(_, text) if verb == "last" => {
                    stream.write_all(text.as_bytes()).await?;
                    return Ok(());
                }
                Fault::Replies(at, text) if at == verb => text,
                Fault::TakesFew(_, text) if verb == "surplus" => text,
                _ => usual,
            };
            stream.write_all(reply.as_bytes()).await?;
            stream.flush().await?;
            if verb == "QUIT" {
                return Ok(());
            }
            if verb == "STARTTLS" && reply.starts_with("220") {
                let config = self.tls.clone().ok_or(std::io::ErrorKind::Unsupported)?;
                let inside = TlsAcceptor::from(config).accept(stream.into_inner()).await?;
                stream = BufReader::new(Box::new(inside));
                (encrypted, verb) = (true, "handshake".to_owned());
                continue;
            }
            if verb == "DATA" && fault == Fault::ResetsInData {
                // Unread input makes the kernel send a reset.
                return Ok(());
            }
            if verb == "DATA" && reply.starts_with("354") {
                let message = read_message(&mut stream).await?;
                verb = "end".to_owned();
                if let Fault::Says("end", text) = fault {
                    stream.write_all(text.as_bytes()).await?;
                    return Ok(());
                }
                if let Fault::IsSlow(time) = fault {
                    sleep(time).await;
                }
                taken_here += 1;
                let taken = (std::mem::take(&mut recipients), message);
                self.state.lock().unwrap().taken.push(taken);
                continue;
            }
            if fault == Fault::DropsPipelined {
                let dropped = stream.buffer().len();
                stream.consume(dropped);
            }
            if fault == Fault::DropsSecond && verb == "MAIL" {
                let dropped = stream.buffer().iter().position(|&octet| octet == b'\n');
                stream.consume(dropped.map_or(0, |at| at + 1));
            }
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            verb = line.split([' ', '\r']).next().unwrap_or_default().to_owned();
            if encrypted {
                self.state.lock().unwrap().encrypted.push(verb.clone());
            }
            if let Some(path) = line.trim_end().strip_prefix("RCPT TO:") {
                match fault {
                    Fault::Replies("MAIL" | "RCPT", _) => {}
                    Fault::TakesFew(most, _) if recipients.len() == most => {
                        verb = "surplus".to_owned();
                    }
                    Fault::EndsAfter(most, _) if recipients.len() == most => {
                        verb = "last".to_owned();
                    }
                    Fault::EndsAt(part, _) if path.contains(part) => verb = "last".to_owned(),
                    Fault::Replies(part, _) if path.contains(part) => verb = part.to_owned(),
                    _ => recipients.push(path.to_owned()),
                }
            }
        }
    }

    pub(crate) fn taken(&self) -> Vec<(Vec<String>, Vec<u8>)> {
        self.state.lock().unwrap().taken.clone()
    }

    fn peak(&self) -> usize {
        self.state.lock().unwrap().peak
    }

    fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }
}

/// The message without the end of data, its doubled dots undone line by line.
async fn read_message(stream: &mut (impl AsyncBufRead + Unpin)) -> std::io::Result<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(message);
        }
        message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}

/// A queue in which deferred mail comes back soon, so that a test can see it arrive.
pub(crate) fn open_queue(directory: &TempDir, lifetime: Duration) -> Queue {
    let mut log = StoreSettings::new(directory.path());
    log.min_free_octets = 0;
    let second = Duration::from_secs(1);
    let hostname = Domain::parse("edge1.contoso.example").unwrap();
    let schedule =
        Schedule { first: second / 10, longest: second / 5, lifetime, warning: lifetime };
    let settings = relay_queue::Settings { hostname, schedule };
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
    let mut incoming = queue.begin(envelope).unwrap();
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

const ONE: &str = "<one@fabrikam.example>";

#[tokio::test]
async fn bytes_arrive_as_they_were_accepted() {
    let (sink, address) = Sink::start([]).await;
    let daemon = Daemon::start_with(address, |settings| {
        settings.timeouts = every_step(Duration::from_secs(60));
    });
    let large = "..\r\n.\r\nline \u{e9}\r\n".repeat(100_000);
    let messages = ["Subject: x\r\n\r\n.\r\n..\r\nend\r\n", "", "\r\n", &large];
    for message in messages {
        daemon.accept(&[ONE], message.as_bytes()).await;
    }
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.deferred, counters.failed), (4, 0, 0));
    let mut taken: Vec<_> = sink.taken().into_iter().map(|(_, message)| message).collect();
    // Text without a header section leaves as a body, behind the empty line that makes it one.
    let is_text = |message: &str| message.starts_with('.');
    let as_body = |message: &str| if is_text(message) { "\r\n" } else { "" }.to_owned() + message;
    let mut expected: Vec<_> = messages.map(|message| as_body(message).into_bytes()).into();
    taken.sort();
    expected.sort();
    assert!(taken == expected, "the sink has other bytes");
}

#[tokio::test]
async fn a_connection_takes_message_after_message() {
    let (sink, address) = Sink::start([]).await;
    let daemon = Daemon::start_with(address, |settings| settings.concurrency = 2);
    for number in 0..50 {
        daemon.accept(&[ONE], format!("message {number}\r\n").as_bytes()).await;
    }
    daemon.finish().await;
    assert_eq!(sink.taken().len(), 50);
    assert!(sink.connections() <= 2, "{} connections", sink.connections());
}

#[tokio::test]
async fn many_recipients_go_in_few_transactions() {
    let (sink, address) = Sink::start([]).await;
    let daemon = Daemon::start(address);
    let recipients: Vec<_> = (0..250).map(|n| format!("<r{n}@fabrikam.example>")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    daemon.accept(&recipients, b"x\r\n").await;
    assert_eq!(daemon.finish().await.delivered, 250);
    let taken = sink.taken();
    let counts: Vec<_> = taken.iter().map(|(recipients, _)| recipients.len()).collect();
    assert_eq!(counts, [100, 100, 50]);
    assert_eq!(
        taken.into_iter().flat_map(|(recipients, _)| recipients).collect::<Vec<_>>(),
        recipients
    );
}

#[tokio::test]
async fn every_passing_fault_is_survived() {
    let faults = [
        Fault::Silent,
        Fault::Says("greeting", "554 go away\r\n"),
        Fault::Says("greeting", "421 later\r\n"),
        Fault::Says("greeting", "nonsense\r\n"),
        Fault::Says("EHLO", "421 later\r\n"),
        Fault::Says("EHLO", ""),
        Fault::Says("MAIL", "421 later\r\n"),
        Fault::Says("RCPT", "421 later\r\n"),
        Fault::Says("RCPT", "250 half a rep"),
        Fault::Says("DATA", "421 later\r\n"),
        Fault::Says("DATA", "\0\0\0\0\r\n"),
        Fault::Says("end", "421 later\r\n"),
        Fault::Says("end", ""),
        Fault::Replies("MAIL", "451 later\r\n"),
        Fault::Replies("RCPT", "450 later\r\n"),
        Fault::Replies("DATA", "451 later\r\n"),
        Fault::Replies("end", "451 later\r\n"),
        Fault::ResetsInData,
    ];
    for fault in faults {
        let (sink, address) = Sink::start([fault]).await;
        // The next attempt needs a connection of its own to find the fault gone.
        let daemon = Daemon::start_with(address, |settings| settings.idle = Duration::ZERO);
        // Large enough that a reset comes while it is being sent.
        let message = "Subject: x\r\n\r\n".to_owned() + &"0123456789abcde\r\n".repeat(40_000);
        daemon.accept(&[ONE], message.as_bytes()).await;
        let counters = daemon.finish().await;
        assert_eq!((counters.delivered, counters.failed, counters.reports), (1, 0, 0), "{fault:?}");
        // Either deferred, or tried again over another connection at once.
        assert!(sink.connections() >= 2, "{fault:?} was not noticed");
        let whole = sink.taken().iter().all(|(_, taken)| taken == message.as_bytes());
        assert!(whole && !sink.taken().is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn refused_recipients_fail_alone_and_are_reported() {
    let (sink, address) = Sink::start([Fault::Replies("two", "550 5.1.1 no\r\n")]).await;
    let daemon = Daemon::start_with(address, |settings| settings.concurrency = 1);
    daemon.accept(&[ONE, "<two@fabrikam.example>"], b"x\r\n").await;
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.failed, counters.reports), (2, 1, 1));
    let taken = sink.taken();
    assert_eq!(taken[0], (vec![ONE.to_owned()], b"\r\nx\r\n".to_vec()));
    assert_eq!(taken[1].0, ["<sender@contoso.example>"]);
    let report = String::from_utf8(taken[1].1.clone()).unwrap();
    assert!(report.contains("Final-Recipient: rfc822; two@fabrikam.example\r\n"));
}

#[tokio::test]
async fn a_message_with_a_bare_line_feed_is_never_sent() {
    let (sink, address) = Sink::start([]).await;
    let daemon = Daemon::start(address);
    daemon.accept(&[ONE], b"x\n.\nMAIL FROM:<evil@example>\r\n").await;
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.failed, counters.reports), (1, 1, 1));
    // The sender is told, without the message.
    let taken = sink.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].0, ["<sender@contoso.example>"]);
    assert!(memchr::memmem::find(&taken[0].1, b"evil@example").is_none());
}

#[tokio::test]
async fn a_dead_next_hop_is_left_alone_and_then_served() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let daemon = Daemon::start(address);
    for _ in 0..100 {
        daemon.accept(&[ONE], b"x\r\n").await;
    }
    sleep(Duration::from_secs(2)).await;
    let counters = daemon.queue.counters();
    // Pauses of 0.1, 0.2, 0.4 and 0.5 seconds, one attempt in each, and the first in parallel.
    let most = 8 + limits::DELIVERY_CONCURRENCY as u64;
    assert!((2..=most).contains(&counters.deferred), "{} attempts", counters.deferred);
    let sink = Sink::default();
    sink.clone().serve(TcpListener::bind(address).await.unwrap());
    assert_eq!(daemon.finish().await.delivered, 100);
    assert_eq!(sink.taken().len(), 100);
}

#[tokio::test]
async fn a_stop_lets_an_attempt_end_and_keeps_the_rest() {
    let (sink, address) = Sink::start([]).await;
    let daemon = Daemon::start_with(address, |settings| settings.concurrency = 1);
    for _ in 0..30 {
        daemon.accept(&[ONE], b"x\r\n").await;
    }
    let queue = daemon.queue.clone();
    daemon.stop().await;
    let counters = queue.counters();
    assert_eq!(counters.lengths.claimed, 0);
    assert_eq!(counters.delivered + counters.lengths.queued, 30);
    assert_eq!(sink.taken().len() as u64, counters.delivered);
}
