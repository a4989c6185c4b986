//! Which addresses do we listen on, and could we listen there now?

use std::io;
use std::net::SocketAddr;

use relay_connector::Binding;
use socket2::{Domain, Protocol, Socket, Type};

/// A binding that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct ListenError {
    /// The address and port.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// The addresses to listen on. A wildcard covers every other binding of its family and port: the
/// system would not bind both, and a connection knows its local address.
pub fn addresses(bindings: &[Binding]) -> Vec<SocketAddr> {
    let covered =
        |binding: &Binding| !binding.is_wildcard() && bindings.contains(&binding.wildcard());
    bindings.iter().filter(|binding| !covered(binding)).map(|binding| binding.address()).collect()
}

/// Do a wildcard and an address overlap? The system does not bind both.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
        && one.port() == other.port()
        && (one.ip().is_unspecified() || other.ip().is_unspecified())
}

/// A socket that may be bound to `address`.
pub(super) fn socket_for(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // A binding has one family; 0.0.0.0 is a binding of its own.
        socket.set_only_v6(true)?;
    }
    // An address may appear later than the daemon: from DHCP, or with its interface or virtual
    // address.
    if address.is_ipv6() {
        socket.set_freebind_v6(true)?;
    } else {
        socket.set_freebind_v4(true)?;
    }
    // A restarted daemon must not wait for old connections.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Could a daemon listen on `address` now? Clients do not notice the test.
///
/// # Errors
///
/// The system's reason: usually another program listens there.
pub fn is_free(address: SocketAddr) -> Result<(), ListenError> {
    let bound = socket_for(address).and_then(|socket| socket.bind(&address.into()));
    bound.map_err(|source| ListenError { address, source })
}
