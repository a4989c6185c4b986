//! The honest load: two clients, each with its own relay connector and a numbered message in each
//! session, and a third client that connects to the strangers' connector from a new address each
//! time.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use relay_tests::sink::Message;
use socket2::{Domain, Socket, Type};

use super::LATE;
use super::world::{EDGE, PATIENCE, SCANNER, SERVER, World};

/// Interval between two messages of a client.
const PAUSE: Duration = Duration::from_millis(500);
/// Interval between two new clients of the strangers' connector.
const NEWCOMER: Duration = Duration::from_secs(3);

/// The time of each message's first arrival, and the number of its arrivals.
#[derive(Default)]
pub struct Arrivals(Mutex<HashMap<u64, (Instant, u32)>>);

/// Running clients.
pub struct Honest {
    clients: Vec<JoinHandle<Sent>>,
    newcomer: JoinHandle<Newcomers>,
    ended: Arc<AtomicBool>,
    arrivals: Arc<Arrivals>,
    sent: Arc<AtomicU64>,
}

/// The results of one client.
#[derive(Default)]
struct Sent {
    /// The time when the session of each accepted message began.
    accepted: Vec<(u64, Instant)>,
    refusals: Vec<String>,
}

/// Clients that had no connection to the strangers' connector before.
#[derive(Clone, Debug, Default)]
pub struct Newcomers {
    pub tried: u64,
    pub refused: u64,
    pub first: Option<String>,
}

/// The results of the load.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub accepted: u64,
    /// Sessions without a 250 to the end of data.
    pub refused: u64,
    /// The error of the first of them.
    pub first_refusal: Option<String>,
    /// Accepted messages that did not arrive.
    pub lost: u64,
    /// Messages that arrived later than [`LATE`] after the session began.
    pub late: u64,
    pub slowest: Duration,
    pub median: Duration,
    pub newcomers: Newcomers,
}

impl Arrivals {
    /// Records that a message has arrived; its number is in its recipient.
    pub fn take(&self, message: &Message) {
        let address = message.recipients.first().map(|recipient| recipient.address.as_str());
        let number = address.and_then(|it| it.strip_prefix('n')?.split('@').next()?.parse().ok());
        if let Some(number) = number {
            let mut arrivals = self.0.lock().unwrap();
            arrivals.entry(number).or_insert((Instant::now(), 0)).1 += 1;
        }
    }
}

impl Honest {
    pub fn begin(world: &World) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let client = |from: Ipv4Addr, first: u64| {
            let (ended, sent) = (Arc::clone(&ended), Arc::clone(&sent));
            // A thread is in the namespace of the thread that starts it.
            world.outside.enter(move || thread::spawn(move || work(from, first, &ended, &sent)))
        };
        let clients = [(SCANNER, 0), (SERVER, 1)].map(|(from, first)| client(from, first).unwrap());
        let newcomer = {
            let ended = Arc::clone(&ended);
            world.outside.enter(move || thread::spawn(move || newcomers(&ended))).unwrap()
        };
        let arrivals = Arc::clone(&world.arrivals);
        Self { clients: clients.into(), newcomer, ended, arrivals, sent }
    }

    /// The present results.
    pub fn line(&self) -> String {
        let sent = self.sent.load(Ordering::Relaxed);
        let arrived = self.arrivals.0.lock().unwrap().len();
        format!("{sent} honest messages accepted, {arrived} arrived")
    }

    /// Ends the load, and waits for the accepted messages up to their deadline.
    pub fn end(self) -> Ledger {
        self.ended.store(true, Ordering::Release);
        let mut ledger = Ledger::default();
        let mut accepted = Vec::new();
        for client in self.clients {
            let sent = client.join().unwrap();
            ledger.refused += sent.refusals.len() as u64;
            ledger.first_refusal =
                ledger.first_refusal.take().or_else(|| sent.refusals.first().cloned());
            accepted.extend(sent.accepted);
        }
        sleep(LATE);
        let arrivals = self.arrivals.0.lock().unwrap();
        let mut times = Vec::new();
        for (number, began) in &accepted {
            match arrivals.get(number) {
                None => ledger.lost += 1,
                Some((arrived, _)) => times.push(arrived.saturating_duration_since(*began)),
            }
        }
        times.sort_unstable();
        ledger.accepted = accepted.len() as u64;
        ledger.late = times.iter().filter(|&&time| time > LATE).count() as u64;
        ledger.slowest = times.last().copied().unwrap_or_default();
        ledger.median = times.get(times.len() / 2).copied().unwrap_or_default();
        ledger.newcomers = self.newcomer.join().unwrap();
        ledger
    }
}

/// Sends a message, pauses, and repeats. Two clients use even and odd numbers.
fn work(from: Ipv4Addr, first: u64, ended: &AtomicBool, count: &AtomicU64) -> Sent {
    let mut sent = Sent::default();
    let mut number = first;
    while !ended.load(Ordering::Acquire) {
        let began = Instant::now();
        match send(from, number) {
            Ok(()) => {
                sent.accepted.push((number, began));
                count.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => sent.refusals.push(format!("{from}: {error}")),
        }
        number += 2;
        sleep(PAUSE.saturating_sub(began.elapsed()));
    }
    sent
}

fn newcomers(ended: &AtomicBool) -> Newcomers {
    let mut newcomers = Newcomers::default();
    while !ended.load(Ordering::Acquire) {
        let [.., high, low] = newcomers.tried.to_be_bytes();
        newcomers.tried += 1;
        if let Err(error) = greeting(Ipv4Addr::new(11, 98, high, low)) {
            newcomers.refused += 1;
            newcomers.first.get_or_insert_with(|| error.to_string());
        }
        sleep(NEWCOMER);
    }
    newcomers
}

/// Does this client get a greeting?
pub fn greeting(from: Ipv4Addr) -> io::Result<()> {
    let mut client = BufReader::new(connect(from)?);
    reply(&mut client, "220")
}

fn send(from: Ipv4Addr, number: u64) -> io::Result<()> {
    let mut client = BufReader::new(connect(from)?);
    reply(&mut client, "220")?;
    let recipient = format!("RCPT TO:<n{number}@partner.example>");
    for (command, code) in [
        ("EHLO client.example", "250"),
        ("MAIL FROM:<app@contoso.example>", "250"),
        (recipient.as_str(), "250"),
        ("DATA", "354"),
        ("Subject: a page\r\n\r\nScanned.\r\n.", "250"),
    ] {
        client.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        reply(&mut client, code).map_err(|error| {
            io::Error::other(format!("{}: {error}", command.lines().next().unwrap_or_default()))
        })?;
    }
    // The message is accepted, with any result of the following commands.
    let _ = client.get_mut().write_all(b"QUIT\r\n");
    let _ = reply(&mut client, "221");
    Ok(())
}

fn connect(from: Ipv4Addr) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(IpAddr::V4(from), 0).into())?;
    socket.connect_timeout(&EDGE.into(), PATIENCE)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn reply(client: &mut BufReader<TcpStream>, code: &str) -> io::Result<()> {
    loop {
        let mut line = String::new();
        client.read_line(&mut line)?;
        if line.as_bytes().get(3) == Some(&b'-') {
            continue;
        }
        return match line.starts_with(code) {
            true => Ok(()),
            false => Err(io::Error::other(format!("expected {code}, got `{}`", line.trim_end()))),
        };
    }
}
