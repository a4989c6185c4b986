//! Reads the PROXY header with which a connection from a proxy begins, and bounds its time.
//!
//! [`relay_smtp::proxy`] parses the octets.

use std::io;

use crate::limits::PROXY_HEADER_WAIT;
use relay_smtp::limits::PROXY_HEADER_OCTETS;
use relay_smtp::proxy::{ProxyError, ProxyHeader, ProxyReader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Why a connection from a proxy has no header.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProxyHeaderError {
    #[error(transparent)]
    Malformed(#[from] ProxyError),
    /// A health check ends the connection without an octet.
    #[error("the connection ended before its first octet")]
    Probe,
    #[error("the header did not arrive within {PROXY_HEADER_WAIT:?}")]
    Timeout,
    #[error("the connection ended within the header: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header, and no octet after it.
///
/// # Errors
///
/// The header is malformed or did not arrive.
pub(super) async fn read(stream: &mut TcpStream) -> Result<ProxyHeader, ProxyHeaderError> {
    let header = timeout(PROXY_HEADER_WAIT, read_all(stream)).await;
    header.unwrap_or(Err(ProxyHeaderError::Timeout))
}

async fn read_all(stream: &mut TcpStream) -> Result<ProxyHeader, ProxyHeaderError> {
    let mut reader = ProxyReader::default();
    let mut octets = [0; PROXY_HEADER_OCTETS];
    loop {
        let wanted = reader.missing_octets().min(octets.len());
        let read = stream.read(&mut octets[..wanted]).await;
        let is_over = !matches!(read, Ok(octets) if octets > 0);
        if is_over && reader.is_empty() {
            return Err(ProxyHeaderError::Probe);
        }
        let read = read?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some(header) = reader.take(&octets[..read])? {
            return Ok(header);
        }
    }
}
