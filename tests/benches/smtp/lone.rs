//! A single session, alternating with the bare disk.
//!
//! The time of a sync changes within a run by more than a server adds to it. So both have short
//! alternating turns on the same CPU and the same disk, and their medians over all turns are
//! compared.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use relay_tests::benchmark::{Lone, percentile};

use crate::generator::message;
use crate::systems::{Place, System};
use crate::{Run, cpus, disk};

/// Turns of each side.
const TURNS: usize = 40;
/// Syncs of 4 KiB in a turn of the disk.
const SYNCS: usize = 100;
/// A turn of the session.
const TIME: Duration = Duration::from_millis(100);
/// Longest wait for a reply.
const PATIENCE: Duration = Duration::from_secs(10);

/// Measures every system and adds it to the report.
pub fn measure(run: &mut Run) {
    for index in 0..run.systems.len() {
        let system = &*run.systems[index];
        let name = system.subject().name;
        eprintln!("a lone session in turns with the disk: {name}");
        match of(run, system, &name) {
            Ok(lone) => run.report.lone.push(lone),
            Err(error) => {
                eprintln!("  {error:#}");
                let first = format!("{error:#}").replace('\n', " ");
                run.report.absent.push(format!("{name}, a lone session: {first}"));
            }
        }
    }
}

fn of(run: &Run, system: &dyn System, name: &str) -> Result<Lone> {
    let folder = run.folder()?;
    let running = system.start(Place { folder: &folder, next_hop: None })?;
    let (server, scratch) = (running.address, run.scratch.clone());
    let (sync, wait) = on_a_thread(move || {
        cpus::of_the_world();
        in_turns(server, &scratch)
    })?;
    eprintln!("  a sync {sync:?}, a message {wait:?}");
    Ok(Lone { name: name.to_owned(), standing: system.subject().standing, sync, wait })
}

/// The medians of a sync and of a message's latency.
fn in_turns(server: SocketAddr, scratch: &Path) -> Result<(Duration, Duration)> {
    let message = message(4096);
    let mut client = Client::connect(server)?;
    let warm = client.send_for(&message)?;
    ensure!(!warm.is_empty(), "no message in {TIME:?}");
    let (mut syncs, mut waits) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        let folder = scratch.to_owned();
        syncs.extend(on_a_thread(move || {
            cpus::of_the_servers();
            disk::append_and_sync(&folder, SYNCS)
        })?);
        waits.extend(client.send_for(&message)?);
    }
    Ok((percentile(&syncs, 50), percentile(&waits, 50)))
}

fn on_a_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    thread::spawn(work).join().expect("nothing here panics")
}

/// A client that waits in `read` and nowhere else, so that its own part of a wait is small.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = Self(BufReader::new(stream));
        client.expect("220")?;
        client.say(b"EHLO generator.example\r\n", "250")?;
        Ok(client)
    }

    /// Message after message for a turn; how long each waited, from its last octet to its reply.
    fn send_for(&mut self, message: &[u8]) -> Result<Vec<Duration>> {
        let begun = Instant::now();
        let mut waits = Vec::new();
        while begun.elapsed() < TIME {
            self.say(b"MAIL FROM:<sender@generator.example>\r\n", "250")?;
            self.say(b"RCPT TO:<recipient@sink.example>\r\n", "250")?;
            self.say(b"DATA\r\n", "354")?;
            self.0.get_mut().write_all(message)?;
            let sent = Instant::now();
            self.expect("250")?;
            waits.push(sent.elapsed());
        }
        Ok(waits)
    }

    fn say(&mut self, command: &[u8], code: &str) -> Result<()> {
        self.0.get_mut().write_all(command)?;
        self.expect(code)
    }

    /// A whole reply with this code.
    fn expect(&mut self, code: &str) -> Result<()> {
        loop {
            let mut line = String::new();
            let octets = self.0.read_line(&mut line).context("no reply")?;
            ensure!(octets > 0, io::Error::from(io::ErrorKind::UnexpectedEof));
            ensure!(line.starts_with(code), "not {code}: {}", line.trim_end());
            if !line[code.len()..].starts_with('-') {
                return Ok(());
            }
        }
    }
}
