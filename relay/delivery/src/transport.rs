//! The octets of one connection to a next hop, in plain text or in TLS.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// The octets of one connection.
#[derive(Debug)]
pub(super) enum ClientStream {
    /// Given up: the handshake failed.
    Gone,
    Plain(TcpStream),
    Tls {
        stream: Box<TlsStream<TcpStream>>,
        /// Written to the TLS layer, but perhaps not yet to the network.
        unflushed: bool,
    },
}

/// The operation that completed first.
#[derive(Debug)]
pub(super) enum Moved {
    /// This many octets were read; zero after the peer has ended its side.
    Read(usize),
    /// So many octets went.
    Wrote(usize),
}

impl ClientStream {
    /// Reads into `input` or writes from `output`, whichever is possible first. Safe to drop at any
    /// time.
    pub(super) async fn exchange(&mut self, input: &mut [u8], output: &[u8]) -> io::Result<Moved> {
        poll_fn(|context| {
            if let Poll::Ready(read) = self.poll_read(context, input) {
                return Poll::Ready(read.map(Moved::Read));
            }
            if output.is_empty() {
                return match self.poll_flush(context) {
                    Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                    _ => Poll::Pending,
                };
            }
            self.poll_write(context, output).map_ok(Moved::Wrote)
        })
        .await
    }

    /// Octets that have already arrived, without waiting; nothing if there are none.
    pub(super) fn try_read(&mut self, input: &mut [u8]) -> Option<io::Result<usize>> {
        match self.poll_read(&mut Context::from_waker(Waker::noop()), input) {
            Poll::Ready(read) => Some(read),
            Poll::Pending => None,
        }
    }

    /// Performs the handshake. After an error, or if this future is dropped half-way, the
    /// connection cannot be used any more.
    pub(super) async fn start_tls(
        &mut self,
        config: Arc<ClientConfig>,
        name: ServerName<'static>,
    ) -> io::Result<()> {
        let Self::Plain(stream) = std::mem::replace(self, Self::Gone) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let stream = Box::new(TlsConnector::from(config).connect(name, stream).await?);
        *self = Self::Tls { stream, unflushed: false };
        Ok(())
    }

    /// Ends our side.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Gone => Ok(()),
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls { stream, .. } => stream.shutdown().await,
        }
    }

    /// Protocol and cipher suite, where there is TLS.
    pub(super) fn tls(&self) -> Option<String> {
        let Self::Tls { stream, .. } = self else { return None };
        let (_, connection) = stream.get_ref();
        let version = connection.protocol_version()?.as_str()?;
        let suite = connection.negotiated_cipher_suite()?.suite();
        Some(format!("{version} {}", suite.as_str()?))
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        input: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let mut input = ReadBuf::new(input);
        let read = match self {
            Self::Gone => return Poll::Ready(Ok(0)),
            Self::Plain(stream) => Pin::new(stream).poll_read(context, &mut input),
            Self::Tls { stream, .. } => Pin::new(stream).poll_read(context, &mut input),
        };
        read.map_ok(|()| input.filled().len())
    }

    fn poll_write(&mut self, context: &mut Context<'_>, output: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Gone => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            Self::Plain(stream) => Pin::new(stream).poll_write(context, output),
            Self::Tls { stream, unflushed } => {
                *unflushed = true;
                Pin::new(stream).poll_write(context, output)
            }
        }
    }

    fn poll_flush(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tls { stream, unflushed } if *unflushed => {
                let flushed = Pin::new(stream).poll_flush(context);
                *unflushed = flushed.is_pending();
                flushed
            }
            _ => Poll::Ready(Ok(())),
        }
    }
}
