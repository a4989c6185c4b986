//! The load: clients that send numbered messages until the daemon has ended.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastrand::Rng;

use super::ledger::{Ledger, NUMBER, Progress};

/// Much longer than a reply takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of a message that stays in memory, and of one that gets its own file; the daemon's
/// threshold is 256 KiB.
const SMALL: std::ops::Range<usize> = 200..12_000;
const LARGE: std::ops::Range<usize> = 270_000..700_000;

/// Running clients.
pub struct Load {
    clients: Vec<JoinHandle<()>>,
    ended: Arc<AtomicBool>,
}

/// One client; random numbers determine its next action.
struct Client {
    server: SocketAddr,
    ledger: Arc<Mutex<Ledger>>,
    random: Rng,
    reuses: bool,
    connection: Option<Connection>,
}

struct Connection(BufReader<TcpStream>);

/// How a message is sent.
#[derive(Clone, Copy, PartialEq)]
enum Way {
    Data,
    Chunks,
}

impl Load {
    /// Every other client reuses its connection.
    pub fn begin(server: SocketAddr, ledger: &Arc<Mutex<Ledger>>, clients: u64, seed: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let client = |number: u64| {
            let mut client = Client {
                server,
                ledger: Arc::clone(ledger),
                random: Rng::with_seed(seed.wrapping_add(number)),
                reuses: number.is_multiple_of(2),
                connection: None,
            };
            let ended = Arc::clone(&ended);
            thread::spawn(move || {
                while !ended.load(Ordering::Acquire) {
                    if client.send().is_err() {
                        client.connection = None;
                        // The daemon has ended, and this load ends soon; or the daemon closed the
                        // connection.
                        thread::sleep(Duration::from_millis(1));
                    }
                }
            })
        };
        let clients = (0..clients).map(client).collect();
        Self { clients, ended }
    }

    /// The daemon has ended.
    pub fn end(self) {
        self.ended.store(true, Ordering::Release);
        for client in self.clients {
            client.join().unwrap();
        }
    }
}

impl Client {
    /// Sends one message. An error says that the connection can no longer be used.
    fn send(&mut self) -> io::Result<()> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => Connection::open(self.server)?,
        };
        for command in ["MAIL FROM:<a@contoso.example>", "RCPT TO:<b@fabrikam.example>"] {
            connection.expect(command, "250")?;
        }
        let number = self.ledger.lock().unwrap().begin();
        let is_large = self.random.u32(0..40) == 0;
        let content = content(number, is_large, &mut self.random);
        self.ledger.lock().unwrap().content(number, &content, is_large);
        let way = if self.random.bool() { Way::Data } else { Way::Chunks };
        if self.random.u32(0..25) == 0 {
            return self.abandon(connection, &content, way);
        }
        let reply = match way {
            Way::Data => self.data(&mut connection, number, &content)?,
            Way::Chunks => self.chunks(&mut connection, number, &content)?,
        };
        let taken = reply.starts_with("250 ");
        let progress = if taken { Progress::Accepted } else { Progress::Refused };
        self.ledger.lock().unwrap().progress(number, progress);
        if self.reuses && taken {
            self.connection = Some(connection);
        } else {
            connection.expect("QUIT", "221")?;
        }
        Ok(())
    }

    fn data(
        &mut self,
        connection: &mut Connection,
        number: usize,
        content: &[u8],
    ) -> io::Result<String> {
        connection.expect("DATA", "354")?;
        let mut stuffed = stuff(content);
        // In one write with the message, or in a separate write.
        if self.random.bool() {
            connection.write(&stuffed)?;
            stuffed.clear();
        }
        stuffed.extend_from_slice(b".\r\n");
        self.end(connection, number, &stuffed)
    }

    fn chunks(
        &mut self,
        connection: &mut Connection,
        number: usize,
        content: &[u8],
    ) -> io::Result<String> {
        let mut rest = content;
        while self.random.u32(0..3) == 0 {
            let (chunk, after) = rest.split_at(self.random.usize(0..=rest.len()));
            connection.write(format!("BDAT {}\r\n", chunk.len()).as_bytes())?;
            connection.write(chunk)?;
            let reply = connection.reply()?;
            begins(&reply, "250")?;
            rest = after;
        }
        let last = [format!("BDAT {} LAST\r\n", rest.len()).as_bytes(), rest].concat();
        self.end(connection, number, &last)
    }

    /// Sends the end of data. From its first octet on it is uncertain whether the daemon received
    /// it.
    fn end(&self, connection: &mut Connection, number: usize, octets: &[u8]) -> io::Result<String> {
        self.ledger.lock().unwrap().progress(number, Progress::Unanswered);
        connection.write(octets)?;
        connection.reply()
    }

    /// Disconnects before the end of data.
    fn abandon(&mut self, mut connection: Connection, content: &[u8], way: Way) -> io::Result<()> {
        let part = &content[..self.random.usize(0..content.len())];
        match way {
            Way::Data => {
                connection.expect("DATA", "354")?;
                connection.write(&stuff(part))?;
            }
            Way::Chunks if self.random.bool() => {
                connection.write(format!("BDAT {}\r\n", part.len()).as_bytes())?;
                connection.write(part)?;
                connection.reply()?;
            }
            Way::Chunks => {
                connection.write(format!("BDAT {} LAST\r\n", content.len()).as_bytes())?;
                connection.write(part)?;
            }
        }
        Ok(())
    }
}

impl Connection {
    fn open(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut connection = Self(BufReader::new(stream));
        let greeting = connection.reply()?;
        begins(&greeting, "220")?;
        connection.expect("EHLO client.example", "250")?;
        Ok(connection)
    }

    fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        self.0.get_mut().write_all(octets)
    }

    fn expect(&mut self, command: &str, code: &str) -> io::Result<()> {
        self.write(format!("{command}\r\n").as_bytes())?;
        begins(&self.reply()?, code)
    }

    /// The last line of the next reply.
    fn reply(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line)?;
            if !line.ends_with("\r\n") {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if line.get(3..4) != Some("-") {
                return Ok(line.trim_end().to_owned());
            }
        }
    }
}

fn begins(reply: &str, code: &str) -> io::Result<()> {
    match reply.starts_with(code) {
        true => Ok(()),
        false => Err(io::Error::other(reply.to_owned())),
    }
}

/// All messages and all lines of a message differ; some lines begin with dots.
fn content(number: usize, is_large: bool, random: &mut Rng) -> Vec<u8> {
    let octets = random.usize(if is_large { LARGE } else { SMALL });
    let mut text = format!(
        "{NUMBER}{number}\r\nFrom: a@contoso.example\r\nTo: b@fabrikam.example\r\n\
         Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{number}@contoso.example>\r\n\
         Subject: message {number}\r\n\r\n"
    );
    let filler: String = (0..64).map(|_| random.alphanumeric()).collect();
    let mut line = 0;
    while text.len() < octets {
        let dots = &"..."[..line % 4];
        write!(text, "{dots}{line} {filler}\r\n").unwrap();
        line += 1;
    }
    text.into_bytes()
}

fn stuff(content: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(content.len() + content.len() / 32);
    for line in content.split_inclusive(|&octet| octet == b'\n') {
        if line.first() == Some(&b'.') {
            stuffed.push(b'.');
        }
        stuffed.extend_from_slice(line);
    }
    stuffed
}
