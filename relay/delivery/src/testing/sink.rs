//! A next hop on loopback that keeps accepted messages, and fails as a test demands.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

/// The fault of one connection to the scripted next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Accepts the connection and says nothing.
    Silent,
    /// Sends this text instead of the reply to a verb (or the greeting, the end of data), and
    /// closes.
    Says(&'static str, &'static str),
    /// Sends this text instead of the reply to a verb, and continues.
    Replies(&'static str, &'static str),
    /// Resets the connection once it has said 354.
    ResetsInData,
    /// Accepts this many recipients in a transaction, and sends this reply to the others.
    TakesFew(usize, &'static str),
    /// Accepts this many recipients in a transaction, sends this reply to the next one and closes.
    EndsAfter(usize, &'static str),
    /// Sends this reply to a recipient with this text in its address, and closes.
    EndsAt(&'static str, &'static str),
    /// Accepts this many messages on a connection, then sends this reply to MAIL and closes.
    Retires(usize, &'static str),
    /// Offers PIPELINING and drops all octets after a command.
    DropsPipelined,
    /// Offers PIPELINING and drops the command after MAIL.
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

/// A connection, with or without TLS.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A next hop that keeps accepted messages.
#[derive(Clone, Debug, Default)]
pub struct TestNextHop {
    /// Its instructions, and its observations.
    pub state: Arc<Mutex<SinkState>>,
    /// STARTTLS is offered with this.
    pub tls: Option<Arc<ServerConfig>>,
    /// Connections at a time, and the fault of further ones.
    pub limit: Option<(usize, Fault)>,
    /// Connections that are served now.
    pub open: Arc<AtomicUsize>,
}

/// The instructions and observations of a sink.
#[derive(Debug, Default)]
pub struct SinkState {
    /// One for each connection; none after the last.
    pub faults: VecDeque<Fault>,
    connections: usize,
    /// The largest number at one time.
    peak: usize,
    /// Recipients and message, with dots still doubled as received.
    taken: Vec<(Vec<String>, Vec<u8>)>,
    /// Verbs that were received within TLS.
    pub encrypted: Vec<String>,
}

impl TestNextHop {
    /// Listens on loopback; each connection has the next of these faults.
    pub async fn start(faults: impl IntoIterator<Item = Fault>) -> (Self, SocketAddr) {
        Self::start_with(None, faults).await
    }

    /// A next hop that serves this many connections at a time.
    pub async fn limited(most: usize, surplus: Fault) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = Self { limit: Some((most, surplus)), ..Self::default() };
        sink.clone().serve(listener);
        (sink, address)
    }

    /// Listens on this address.
    pub async fn start_on(address: &str) -> (Self, SocketAddr) {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = Self::default();
        sink.clone().serve(listener);
        (sink, address)
    }

    /// As [`Sink::start`], and offers STARTTLS with this configuration.
    pub async fn start_with(
        tls: Option<Arc<ServerConfig>>,
        faults: impl IntoIterator<Item = Fault>,
    ) -> (Self, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let sink = Self { tls, ..Self::default() };
        sink.state.lock().faults.extend(faults);
        sink.clone().serve(listener);
        (sink, address)
    }

    /// Serves the connections of this listener.
    pub fn serve(self, listener: TcpListener) {
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let fault = {
                    let mut state = self.state.lock();
                    state.connections += 1;
                    state.faults.pop_front().unwrap_or(Fault::None)
                };
                let sink = self.clone();
                let surplus = self.limit.filter(|(most, _)| sink.open.load(Relaxed) >= *most);
                if surplus.is_none() {
                    let open = sink.open.fetch_add(1, Relaxed) + 1;
                    let mut state = self.state.lock();
                    state.peak = state.peak.max(open);
                }
                tokio::spawn(async move {
                    let fault = surplus.map_or(fault, |(_, fault)| fault);
                    // Many tests close the connection early, so errors are ignored.
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
                self.state.lock().taken.push(taken);
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
                self.state.lock().encrypted.push(verb.clone());
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

    /// The recipients and the octets of each message that was accepted.
    pub fn taken(&self) -> Vec<(Vec<String>, Vec<u8>)> {
        self.state.lock().taken.clone()
    }

    /// The largest number of connections at one time.
    pub fn peak(&self) -> usize {
        self.state.lock().peak
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }
}

/// The message without the end of data, with its doubled dots undone line by line.
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
