//! The attacks. Each runs until it is dropped; its results are counted.

use std::fmt::Write as _;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::world::{DESK, EDGE, EDGE_IPV6, PATIENCE};

/// One kind of attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Anonymous messages with bounces to a separate domain each; all domains have one exchanger
    /// that accepts connections and never greets.
    SilentHops,
    /// 4,000 sessions with 200 recipients each, with ORCPT of 500 octets.
    Recipients,
    /// NOTIFY=SUCCESS RET=FULL with a header section of 230 KB, in the name of a victim.
    Reports,
    /// 428 /64s of one IPv6 /48, each with as many connections as it can get.
    Prefixes,
    /// HTTP requests from a client in a trusted range, with an SMTP transaction in the body.
    Browser,
    /// A line, a chunk and a message without an end.
    Endless,
    /// Messages of 30 MB.
    Large,
}

/// The results of the attacks.
#[derive(Debug, Default)]
pub struct Counts {
    pub silent_sent: Arc<AtomicU64>,
    pub silent_refused: Arc<AtomicU64>,
    pub recipients_sessions: Arc<AtomicU64>,
    pub recipients_accepted: Arc<AtomicU64>,
    pub recipients_refused: Arc<AtomicU64>,
    pub reports_sent: Arc<AtomicU64>,
    pub prefix_greeted: Arc<AtomicU64>,
    pub prefix_refused: Arc<AtomicU64>,
    pub browser_requests: Arc<AtomicU64>,
    pub browser_accepted: Arc<AtomicU64>,
    pub endless_ended: Arc<AtomicU64>,
    pub endless_most: Arc<AtomicU64>,
    pub large_sent: Arc<AtomicU64>,
}

const SESSIONS: u32 = 4_000;
const RECIPIENTS: u32 = 200;
/// Below the 20 connections that one address may have.
const SESSIONS_PER_SOURCE: u32 = 18;
const NETWORKS: u16 = 428;
const CONNECTIONS_PER_NETWORK: u16 = 12;
/// How long a session of the attack on memory stays open, and how long its client pauses.
const HOLD: Duration = Duration::from_secs(40);
const REPOSE: Duration = Duration::from_secs(30);
/// Octets after which an endless client stops: the daemon has not cut it off.
pub const ENDLESS: u64 = 128 * 1024 * 1024;
const PIECE: usize = 64 * 1024;

/// Begins the attacks. They end when dropped.
pub fn begin(kinds: &[Kind], runtime: &Runtime, counts: &Counts) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    let on = runtime.handle();
    for kind in kinds {
        match kind {
            Kind::SilentHops => {
                let (sent, refused) = (&counts.silent_sent, &counts.silent_refused);
                tasks.spawn_on(silent_hops(Arc::clone(sent), Arc::clone(refused)), on);
            }
            Kind::Recipients => {
                for number in 0..SESSIONS {
                    let counts = [
                        Arc::clone(&counts.recipients_sessions),
                        Arc::clone(&counts.recipients_accepted),
                        Arc::clone(&counts.recipients_refused),
                    ];
                    tasks.spawn_on(recipients(number, counts), on);
                }
            }
            Kind::Reports => {
                tasks.spawn_on(reports(Arc::clone(&counts.reports_sent)), on);
            }
            Kind::Prefixes => {
                for network in 0..NETWORKS {
                    for host in 0..CONNECTIONS_PER_NETWORK {
                        let (greeted, refused) = (
                            Arc::clone(&counts.prefix_greeted),
                            Arc::clone(&counts.prefix_refused),
                        );
                        tasks.spawn_on(prefixes(network, host, greeted, refused), on);
                    }
                }
            }
            Kind::Browser => {
                let (all, accepted) = (&counts.browser_requests, &counts.browser_accepted);
                tasks.spawn_on(browser(Arc::clone(all), Arc::clone(accepted)), on);
            }
            Kind::Endless => {
                for way in [Endless::Line, Endless::Chunk, Endless::Data] {
                    let (ended, most) = (&counts.endless_ended, &counts.endless_most);
                    tasks.spawn_on(endless(way, Arc::clone(ended), Arc::clone(most)), on);
                }
            }
            Kind::Large => {
                tasks.spawn_on(large(Arc::clone(&counts.large_sent)), on);
            }
        }
    }
    tasks
}

/// One client's side.
struct Client(BufReader<TcpStream>);

impl Client {
    async fn connect(from: IpAddr) -> io::Result<Self> {
        let (socket, server) = match from {
            IpAddr::V4(_) => (TcpSocket::new_v4()?, EDGE),
            IpAddr::V6(_) => (TcpSocket::new_v6()?, EDGE_IPV6),
        };
        socket.set_reuseaddr(true)?;
        socket.bind(SocketAddr::new(from, 0))?;
        let stream = timeout(PATIENCE, socket.connect(server)).await??;
        Ok(Self(BufReader::with_capacity(1024, stream)))
    }

    async fn send(&mut self, text: &str) -> io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes()).await
    }

    /// The last line of the next reply; empty at the end.
    async fn reply(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            timeout(PATIENCE, self.0.read_line(&mut line)).await??;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    /// Sends commands up to the last reply; the first refusal ends the sequence.
    async fn say(&mut self, commands: &[&str]) -> io::Result<()> {
        for command in commands {
            self.send(&format!("{command}\r\n")).await?;
            let reply = self.reply().await?;
            if !reply.starts_with(['2', '3']) {
                return Err(io::Error::other(reply));
            }
        }
        Ok(())
    }

    async fn greeted(from: IpAddr) -> io::Result<Self> {
        let mut client = Self::connect(from).await?;
        match client.reply().await? {
            reply if reply.starts_with("220") => Ok(client),
            reply => Err(io::Error::other(reply)),
        }
    }
}

/// A separate source for each number.
fn source(block: u8, number: u64) -> IpAddr {
    let [.., high, low] = number.to_be_bytes();
    Ipv4Addr::new(11, block, high, low).into()
}

async fn silent_hops(sent: Arc<AtomicU64>, refused: Arc<AtomicU64>) {
    for number in 0u64.. {
        let message = async {
            let mut client = Client::greeted(source(2, number % 60_000)).await?;
            let sender = format!("MAIL FROM:<x@d{number}.example>");
            client.say(&["EHLO c", &sender, "RCPT TO:<r@contoso.example>", "DATA"]).await?;
            client.say(&["Subject: x\r\n\r\nx\r\n."]).await
        };
        let count = if message.await.is_ok() { &sent } else { &refused };
        count.fetch_add(1, Relaxed);
        // A thousand at first; then as many a second as would occupy delivery.
        if number > 1_000 {
            sleep(Duration::from_millis(333)).await;
        }
    }
}

async fn recipients(number: u32, [sessions, accepted, refused]: [Arc<AtomicU64>; 3]) {
    let [.., high, low] = (number / SESSIONS_PER_SOURCE).to_be_bytes();
    // An IPv4 /24 for each source.
    let from = Ipv4Addr::new(11, 100 + high, low, 1).into();
    let original = format!("{:a<480}", "rfc822;");
    sleep(Duration::from_millis(5) * number).await;
    loop {
        let attack = async {
            let mut client = Client::greeted(from).await?;
            sessions.fetch_add(1, Relaxed);
            client.say(&["EHLO c", "MAIL FROM:<a@b.example>"]).await?;
            let (read, mut write) = client.0.into_inner().into_split();
            let writing = async {
                for recipient in 0..RECIPIENTS {
                    let mut line = format!("RCPT TO:<recipient-{recipient}@contoso.example> ");
                    let _ = write!(line, "ORCPT={original}@contoso.example\r\n");
                    write.write_all(line.as_bytes()).await?;
                }
                // The client sends nothing more, and the session stays open.
                sleep(PATIENCE).await;
                io::Result::Ok(())
            };
            let reading = async {
                let mut replies = BufReader::with_capacity(1024, read);
                let mut line = String::new();
                while replies.read_line(&mut line).await? > 0 {
                    let count = if line.starts_with('2') { &accepted } else { &refused };
                    count.fetch_add(1, Relaxed);
                    line.clear();
                }
                io::Result::Ok(())
            };
            tokio::select! {
                ended = writing => ended,
                ended = reading => ended,
            }
        };
        let _ = timeout(HOLD, attack).await;
        sleep(REPOSE).await;
    }
}

async fn reports(sent: Arc<AtomicU64>) {
    let header: String = (0..230).fold(String::new(), |mut header, field| {
        let _ = write!(header, "X-Field-{field}: {:x<1000}\r\n", "");
        header
    });
    let content = format!("{header}\r\nx\r\n.");
    for number in 0u64.. {
        let message = async {
            let mut client = Client::greeted(source(8, number % 60_000)).await?;
            let sender = "MAIL FROM:<victim@victim.example> RET=FULL";
            let recipient = "RCPT TO:<u@tailspin.example> NOTIFY=SUCCESS";
            client.say(&["EHLO c", sender, recipient, "DATA", &content]).await
        };
        sent.fetch_add(u64::from(message.await.is_ok()), Relaxed);
        sleep(Duration::from_secs(2)).await;
    }
}

async fn prefixes(network: u16, host: u16, greeted: Arc<AtomicU64>, refused: Arc<AtomicU64>) {
    let from = Ipv6Addr::new(0x2001, 0xdb8, 1, network, 0, 0, 0, 1 + host).into();
    sleep(Duration::from_millis(5) * u32::from(network + NETWORKS * host)).await;
    loop {
        match Client::greeted(from).await {
            Ok(mut client) => {
                greeted.fetch_add(1, Relaxed);
                // Until the daemon ends the connection.
                while client.reply().await.is_ok_and(|line| !line.is_empty()) {}
            }
            Err(_) => {
                refused.fetch_add(1, Relaxed);
            }
        }
        sleep(Duration::from_secs(10)).await;
    }
}

async fn browser(requests: Arc<AtomicU64>, accepted: Arc<AtomicU64>) {
    const REQUEST: &str = "POST / HTTP/1.1\r\nHost: 10.38.0.1:25\r\nContent-Length: 200\r\n\r\n\
                           EHLO desk\r\nMAIL FROM:<ceo@contoso.example>\r\n\
                           RCPT TO:<x@tailspin.example>\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n";
    loop {
        let request = async {
            let mut client = Client::connect(DESK.into()).await?;
            client.send(REQUEST).await?;
            let mut replies = String::new();
            // The end may be a reset.
            let _ = timeout(PATIENCE, client.0.read_to_string(&mut replies)).await;
            io::Result::Ok(replies.contains("250 2.6.0"))
        };
        accepted.fetch_add(u64::from(request.await.is_ok_and(|it| it)), Relaxed);
        requests.fetch_add(1, Relaxed);
        sleep(Duration::from_secs(1)).await;
    }
}

#[derive(Clone, Copy)]
enum Endless {
    Chunk,
    Data,
    Line,
}

async fn endless(way: Endless, ended: Arc<AtomicU64>, most: Arc<AtomicU64>) {
    for number in 0u64.. {
        let mut octets = 0;
        let attack = async {
            let mut client = Client::greeted(source(12, number % 60_000)).await?;
            let mail = ["EHLO c", "MAIL FROM:<a@b.example>", "RCPT TO:<u@tailspin.example>"];
            match way {
                Endless::Line => {}
                Endless::Chunk => {
                    client.say(&mail).await?;
                    client.send("BDAT 4294967296\r\n").await?;
                }
                Endless::Data => {
                    client.say(&mail).await?;
                    client.say(&["DATA"]).await?;
                }
            }
            let piece = match way {
                Endless::Line => vec![b'x'; PIECE],
                _ => b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n"
                    .repeat(PIECE / 64),
            };
            let (mut read, mut write) = client.0.into_inner().into_split();
            let writing = async {
                while octets < ENDLESS {
                    write.write_all(&piece).await?;
                    octets += piece.len() as u64;
                    sleep(Duration::from_millis(20)).await;
                }
                io::Result::Ok(())
            };
            let reading = async {
                let mut reply = [0; 1024];
                while read.read(&mut reply).await? > 0 {}
                io::Result::Ok(())
            };
            tokio::select! {
                ended = writing => ended,
                ended = reading => ended,
            }
        };
        let _ = attack.await;
        ended.fetch_add(1, Relaxed);
        most.fetch_max(octets, Relaxed);
        sleep(Duration::from_secs(2)).await;
    }
}

async fn large(sent: Arc<AtomicU64>) {
    let content = format!("Subject: x\r\n\r\n{}.", "0123456789abcd\r\n".repeat(30 * 65_536));
    loop {
        let message = async {
            let mut client = Client::greeted(DESK.into()).await?;
            let mail = ["EHLO c", "MAIL FROM:<>", "RCPT TO:<u@tailspin.example>", "DATA"];
            client.say(&mail).await?;
            client.say(&[&content]).await
        };
        sent.fetch_add(u64::from(message.await.is_ok()), Relaxed);
        sleep(Duration::from_secs(5)).await;
    }
}
