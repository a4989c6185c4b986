//! One client's side of one session.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

/// Much longer than a reply takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Octets of a client's read buffer; one process has thousands of clients.
const READ_OCTETS: usize = 512;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A session, in plain text or in TLS.
pub struct Session(BufReader<Box<dyn Stream>>);

/// Connects from this address.
pub async fn connect(from: IpAddr, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(SocketAddr::new(from, 0))?;
    let stream = timeout(PATIENCE, socket.connect(server)).await??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

impl Session {
    pub async fn connect(from: IpAddr, server: SocketAddr) -> io::Result<Self> {
        let stream: Box<dyn Stream> = Box::new(connect(from, server).await?);
        Ok(Self(BufReader::with_capacity(READ_OCTETS, stream)))
    }

    /// Sends a command and returns the last line of its reply.
    pub async fn say(&mut self, command: &str) -> io::Result<String> {
        self.0.write_all(format!("{command}\r\n").as_bytes()).await?;
        self.0.flush().await?;
        self.reply().await
    }

    pub async fn hello(&mut self) -> io::Result<()> {
        self.say("EHLO client.example").await.and_then(|reply| begins(&reply, "250"))
    }

    /// Reads a reply that must have this code.
    pub async fn expect(&mut self, code: &str) -> io::Result<()> {
        self.reply().await.and_then(|reply| begins(&reply, code))
    }

    /// The last line of the next reply.
    async fn reply(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            timeout(PATIENCE, self.0.read_line(&mut line)).await??;
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(line);
            }
        }
    }

    /// STARTTLS and the handshake.
    pub async fn start_tls(mut self, tls: &TlsConnector) -> io::Result<Self> {
        self.say("STARTTLS").await.and_then(|reply| begins(&reply, "220"))?;
        let name = ServerName::try_from("edge.test").map_err(io::Error::other)?;
        let stream = tls.connect(name, self.0.into_inner()).await?;
        Ok(Self(BufReader::with_capacity(READ_OCTETS, Box::new(stream))))
    }
}

/// A session with a message, from the connection to the 221.
pub async fn whole_session(from: IpAddr, server: SocketAddr) -> io::Result<()> {
    let mut session = Session::connect(from, server).await?;
    session.expect("220").await?;
    for (command, code) in [
        ("EHLO client.example", "250"),
        ("MAIL FROM:<scanner@contoso.example>", "250"),
        ("RCPT TO:<user@fabrikam.example>", "250"),
        ("DATA", "354"),
        ("Subject: a page\r\n\r\nScanned.\r\n.", "250"),
        ("QUIT", "221"),
    ] {
        session.say(command).await.and_then(|reply| begins(&reply, code))?;
    }
    Ok(())
}

fn begins(reply: &str, code: &str) -> io::Result<()> {
    match reply.starts_with(code) {
        true => Ok(()),
        false => Err(io::Error::other(format!("expected {code}, got `{}`", reply.trim_end()))),
    }
}
