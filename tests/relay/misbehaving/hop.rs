//! A next hop that misbehaves in one manner, at one stage, until it is corrected.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

/// The next hop's action instead of its reply.
#[derive(Clone, Debug)]
pub enum Act {
    /// Nothing.
    IsSilent,
    /// Sends this, octet by octet, repeatedly, as long as the daemon reads.
    Drips(&'static str),
    /// Sends this repeatedly, as long as the daemon reads.
    IsEndless(&'static str),
    /// Sends this and continues.
    Says(&'static str),
    /// Sends this and closes.
    Closes(&'static str),
    /// Sends this and resets the connection.
    Resets(&'static str),
}

/// The behaviour of a next hop.
#[derive(Clone, Debug, Default)]
pub struct Manners {
    /// By stage: `connect`, a verb, `RCPT:local-part`, or `end` of data.
    pub acts: Vec<(&'static str, Act)>,
    /// The lines of the reply to EHLO, after its name.
    pub offers: Vec<&'static str>,
    /// Octets behind a command in the same packet are discarded.
    pub drops_what_is_pipelined: bool,
    /// Connections are not even accepted.
    pub never_accepts: bool,
}

/// One accepted message.
#[derive(Clone, Debug)]
pub struct Taken {
    pub recipients: Vec<String>,
    pub content: Vec<u8>,
}

/// A running next hop.
pub struct Hop {
    pub address: SocketAddr,
    listener: Arc<TcpListener>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Connections that wait for `accept` and fill the backlog.
    _fillers: Vec<TcpStream>,
}

struct Shared {
    manners: Manners,
    is_mended: AtomicBool,
    taken: Mutex<Vec<Taken>>,
}

impl Hop {
    pub fn start(manners: Manners) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let never_accepts = manners.never_accepts;
        socket.listen(if never_accepts { 0 } else { 128 }).unwrap();
        let listener = Arc::new(TcpListener::from(socket));
        let address = listener.local_addr().unwrap();
        // A backlog of length 0 accepts one connection.
        let fillers = (0..usize::from(never_accepts)).map(|_| TcpStream::connect(address).unwrap());
        let fillers = fillers.collect();
        let is_mended = AtomicBool::new(false);
        let shared = Arc::new(Shared { manners, is_mended, taken: Mutex::default() });
        let mut hop = Self { address, listener, shared, thread: None, _fillers: fillers };
        if !never_accepts {
            hop.accept();
        }
        hop
    }

    /// From now on it behaves correctly.
    pub fn mend(&mut self) {
        self.shared.is_mended.store(true, Ordering::Release);
        if self.thread.is_none() {
            self.accept();
        }
    }

    /// The messages that it has accepted.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken.lock().unwrap().clone()
    }

    fn accept(&mut self) {
        let (listener, shared) = (Arc::clone(&self.listener), Arc::clone(&self.shared));
        self.thread = Some(thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let shared = Arc::clone(&shared);
                // The daemon is expected to end these sessions.
                thread::spawn(move || drop(shared.talk(stream)));
            }
        }));
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        let stopped = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        if stopped.is_ok()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn talk(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream);
        let mut recipients: Vec<String> = Vec::new();
        let mut usual = "220 hop.example ESMTP\r\n".to_owned();
        let mut stage = "connect".to_owned();
        loop {
            match self.act(&stage) {
                None => writer.write_all(usual.as_bytes())?,
                Some(Act::Says(text)) => writer.write_all(text.as_bytes())?,
                Some(act) => return perform(act, writer, reader),
            }
            if self.drops() {
                let dropped = reader.buffer().len();
                reader.consume(dropped);
            }
            let mut line = Vec::new();
            if reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            usual = match verb.as_str() {
                "EHLO" => self.hello(),
                "QUIT" => "221 bye\r\n".to_owned(),
                "DATA" if recipients.is_empty() => "503 5.5.1 no recipient\r\n".to_owned(),
                "DATA" => "354 go\r\n".to_owned(),
                "STARTTLS" => "454 4.7.0 there is none\r\n".to_owned(),
                "BDAT" => "500 5.5.1 what\r\n".to_owned(),
                _ => "250 2.0.0 ok\r\n".to_owned(),
            };
            if verb == "MAIL" || verb == "RSET" {
                recipients.clear();
            }
            stage = verb;
            if stage == "RCPT" {
                let path = line.split_once('<').map_or("", |(_, path)| path);
                let address = path.split('>').next().unwrap_or_default();
                let local_part = address.split('@').next().unwrap_or_default();
                let of_this_one = format!("RCPT:{local_part}");
                if self.act(&of_this_one).is_some() {
                    stage = of_this_one;
                } else if self.act("RCPT").is_none() {
                    recipients.push(address.to_owned());
                }
            }
            if stage == "DATA" && self.act("DATA").is_none() && usual.starts_with("354") {
                writer.write_all(usual.as_bytes())?;
                let content = read_content(&mut reader)?;
                if self.act("end").is_none() {
                    let taken = Taken { recipients: std::mem::take(&mut recipients), content };
                    self.taken.lock().unwrap().push(taken);
                }
                (stage, usual) = ("end".to_owned(), "250 2.0.0 taken\r\n".to_owned());
            }
        }
    }

    fn act(&self, stage: &str) -> Option<Act> {
        let is_mended = self.is_mended.load(Ordering::Acquire);
        let mut acts = self.manners.acts.iter().filter(|_| !is_mended);
        acts.find(|(at, _)| *at == stage).map(|(_, act)| act.clone())
    }

    fn drops(&self) -> bool {
        self.manners.drops_what_is_pipelined && !self.is_mended.load(Ordering::Acquire)
    }

    fn hello(&self) -> String {
        let offers: String =
            self.manners.offers.iter().map(|offer| format!("250-{offer}\r\n")).collect();
        format!("250-hop.example\r\n{offers}250 ENHANCEDSTATUSCODES\r\n")
    }
}

/// Performs an action that ends a session.
fn perform(act: Act, mut writer: TcpStream, mut reader: BufReader<TcpStream>) -> io::Result<()> {
    match act {
        Act::IsSilent => {
            io::copy(&mut reader, &mut io::sink())?;
            Ok(())
        }
        Act::Drips(text) => loop {
            for octet in text.as_bytes() {
                writer.write_all(&[*octet])?;
                thread::sleep(Duration::from_millis(50));
            }
        },
        Act::IsEndless(text) => {
            let text = text.repeat(1000);
            loop {
                writer.write_all(text.as_bytes())?;
            }
        }
        Act::Says(text) | Act::Closes(text) => {
            writer.write_all(text.as_bytes())?;
            // Unread octets would turn the end into a reset.
            writer.shutdown(std::net::Shutdown::Write)?;
            reader.get_mut().set_read_timeout(Some(Duration::from_secs(1)))?;
            io::copy(&mut reader, &mut io::sink()).map(drop)
        }
        Act::Resets(text) => {
            writer.write_all(text.as_bytes())?;
            let mut some = [0; 1000];
            let _ = reader.read(&mut some)?;
            SockRef::from(&writer).set_linger(Some(Duration::ZERO))
        }
    }
}

/// Reads to the end of data, dots unstuffed.
fn read_content(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(content);
        }
        content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
