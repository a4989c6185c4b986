//! The client's side: a number of sessions that send a number of messages, and the latency of each.
//!
//! It behaves as a mail server does: MAIL, RCPT and DATA in one packet if the server offers
//! PIPELINING, the message in one write. All sessions share one thread.

use std::cell::Cell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::LocalSet;
use tokio::time::timeout;

/// Longest silence; then the session has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// The load.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub server: SocketAddr,
    pub sessions: usize,
    /// Messages at most.
    pub messages: usize,
    /// Time after which no message is begun.
    pub time: Duration,
    /// Octets of one message, about.
    pub size: usize,
    /// A new connection for each message.
    pub connect_each: bool,
}

/// The results of a load.
#[derive(Debug, Default)]
pub struct Outcome {
    pub accepted: usize,
    /// Refusals, and sessions that failed; the first of them in words.
    pub failed: usize,
    pub first_failure: Option<String>,
    pub took: Duration,
    /// Time from the last octet of each message to its 250.
    pub waits: Vec<Duration>,
}

/// Sends the load, on the thread of the caller.
pub async fn run(load: Load) -> Outcome {
    let message: Rc<[u8]> = message(load.size).into();
    let begun = Instant::now();
    let left = Rc::new(Left { messages: Cell::new(load.messages), until: begun + load.time });
    let tasks = LocalSet::new();
    let sessions: Vec<_> = (0..load.sessions)
        .map(|_| {
            let (message, left) = (Rc::clone(&message), Rc::clone(&left));
            tasks.spawn_local(sessions(load, message, left))
        })
        .collect();
    let mut outcome = Outcome::default();
    tasks
        .run_until(async {
            for session in sessions {
                let part = session.await.expect("a session does not panic");
                outcome.accepted += part.accepted;
                outcome.failed += part.failed;
                outcome.first_failure = outcome.first_failure.take().or(part.first_failure);
                outcome.waits.extend(part.waits);
            }
        })
        .await;
    outcome.took = begun.elapsed();
    outcome
}

/// The messages that remain to be sent.
struct Left {
    messages: Cell<usize>,
    until: Instant,
}

impl Left {
    fn is_any(&self) -> bool {
        self.messages.get() > 0 && Instant::now() < self.until
    }

    /// Takes one of them, if any.
    fn take(&self) -> bool {
        let any = self.is_any();
        if any {
            self.messages.set(self.messages.get() - 1);
        }
        any
    }
}

/// Runs one session after the other, until no message remains.
async fn sessions(load: Load, message: Rc<[u8]>, left: Rc<Left>) -> Outcome {
    let mut outcome = Outcome::default();
    while left.is_any() {
        let before = outcome.accepted;
        if let Err(error) = session(load, &message, &left, &mut outcome).await {
            outcome.failed += 1;
            outcome.first_failure.get_or_insert(error.to_string());
            // A server that does not work at all must not be tried forever.
            if outcome.accepted == before {
                left.take();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    outcome
}

async fn session(load: Load, message: &[u8], left: &Left, outcome: &mut Outcome) -> io::Result<()> {
    let mut server = Server::connect(load.server).await?;
    server.expect(220).await?;
    server.send(b"EHLO generator.example\r\n").await?;
    let pipelining = server.expect(250).await?.contains("PIPELINING");
    while left.take() {
        let commands: [(&[u8], u16); 3] = [
            (b"MAIL FROM:<sender@generator.example>\r\n", 250),
            (b"RCPT TO:<recipient@sink.example>\r\n", 250),
            (b"DATA\r\n", 354),
        ];
        if pipelining {
            server.send(&commands.map(|(command, _)| command).concat()).await?;
        }
        for (command, code) in commands {
            if !pipelining {
                server.send(command).await?;
            }
            server.expect(code).await?;
        }
        server.send(message).await?;
        let sent = Instant::now();
        server.expect(250).await?;
        outcome.waits.push(sent.elapsed());
        outcome.accepted += 1;
        if load.connect_each {
            break;
        }
    }
    server.send(b"QUIT\r\n").await?;
    server.expect(221).await?;
    Ok(())
}

/// The connection, line by line.
struct Server(BufReader<TcpStream>);

impl Server {
    async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    async fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        timeout(PATIENCE, self.0.get_mut().write_all(octets)).await?
    }

    /// Reads a whole reply with this code; returns its text.
    async fn expect(&mut self, code: u16) -> io::Result<String> {
        let mut text = String::new();
        loop {
            let start = text.len();
            if timeout(PATIENCE, self.0.read_line(&mut text)).await?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = &text[start..];
            if line.as_bytes().get(3) != Some(&b'-') {
                return match line.get(..3).and_then(|code| code.parse::<u16>().ok()) {
                    Some(got) if got == code => Ok(text),
                    _ => Err(io::Error::other(format!("not {code}: {}", line.trim_end()))),
                };
            }
        }
    }
}

/// A message of about this size with its end of data.
pub fn message(size: usize) -> Vec<u8> {
    let mut message = b"From: <sender@generator.example>\r\nTo: <recipient@sink.example>\r\n\
        Subject: a message of the generator\r\nMessage-ID: <1@generator.example>\r\n\
        Date: Tue, 24 Nov 2026 08:00:00 +0000\r\n\r\n"
        .to_vec();
    let line = "The quick brown fox jumps over the lazy dog, and over the dog's shadow too.\r\n";
    while message.len() + line.len() <= size {
        message.extend_from_slice(line.as_bytes());
    }
    message.extend_from_slice(b".\r\n");
    message
}
