//! The octets of one connection, in plain text or in TLS.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::limits::READ_OCTETS;
use crate::tls::Handshake;
use relay_mail::tls::TlsInfo;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// The octets of one connection.
pub(super) enum ServerStream {
    /// Unusable: the handshake failed.
    Gone,
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl ServerStream {
    /// Reads once and passes the octets to `take`. `Ok(0)`: the client has ended its side.
    pub(super) async fn read(&mut self, mut take: impl FnMut(&[u8])) -> io::Result<usize> {
        poll_fn(|context| {
            // The buffer is on the stack of the poll, so that an idle connection has none.
            let mut octets = [MaybeUninit::uninit(); READ_OCTETS];
            let mut octets = ReadBuf::uninit(&mut octets);
            ready!(self.poll_read(context, &mut octets))?;
            take(octets.filled());
            Poll::Ready(Ok(octets.filled().len()))
        })
        .await
    }

    /// Writes all octets.
    pub(super) async fn write(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Gone => Err(io::ErrorKind::NotConnected.into()),
            Self::Plain(stream) => stream.write_all(octets).await,
            Self::Tls(stream) => {
                stream.write_all(octets).await?;
                stream.flush().await
            }
        }
    }

    /// Has TLS begun, or been tried?
    pub(super) fn is_tls(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Performs the handshake. After an error, or if this is dropped half way, the connection
    /// cannot be used any longer.
    pub(super) async fn start_tls(&mut self, handshake: &Handshake) -> io::Result<TlsInfo> {
        let Self::Plain(stream) = std::mem::replace(self, Self::Gone) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&handshake.config));
        let stream = acceptor.accept(stream).await?;
        let info = describe(&stream, handshake);
        *self = Self::Tls(Box::new(stream));
        Ok(info)
    }

    /// Ends our side.
    pub(super) async fn close(&mut self) -> io::Result<()> {
        match self {
            Self::Gone => Ok(()),
            Self::Plain(stream) => stream.shutdown().await,
            Self::Tls(stream) => stream.shutdown().await,
        }
    }

    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        octets: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Gone => Poll::Ready(Ok(())),
            Self::Plain(stream) => Pin::new(stream).poll_read(context, octets),
            Self::Tls(stream) => Pin::new(stream).poll_read(context, octets),
        }
    }
}

fn describe(stream: &TlsStream<TcpStream>, handshake: &Handshake) -> TlsInfo {
    let (_, connection) = stream.get_ref();
    // rustls writes TLSv1_3 and TLS13_AES_256_GCM_SHA384; other programs write TLS1.3 and
    // TLS_AES_….
    let version = connection.protocol_version().and_then(|version| version.as_str());
    let suite = connection.negotiated_cipher_suite();
    let cipher = suite.and_then(|suite| suite.suite().as_str());
    TlsInfo {
        version: version.unwrap_or("TLS").replace("TLSv", "TLS").replace('_', "."),
        cipher: cipher.unwrap_or("unknown").replace("TLS13_", "TLS_"),
        client: handshake.verify_client_certificate(connection.peer_certificates()),
    }
}
