//! The addresses on which we listen, and the acceptance of connections.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, UdpSocket};
use std::sync::Arc;

use crate::limits::{ACCEPT_PAUSE, LISTEN_BACKLOG, LONGEST_ACCEPT_PAUSE, SEND_BUFFER_OCTETS};
use crate::listen_address::{ListenError, overlap, socket_for};
use crate::new_connection::NewConnection;
use crate::{Shared, Stop, kept};
use relay_host::back_off::BackOff;
use relay_host::vital;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A listening socket, and the task that accepts on it.
pub(super) struct Listening {
    socket: Arc<TcpListener>,
    accepting: JoinHandle<()>,
}

impl Listening {
    /// Begins to accept.
    pub(super) fn begin(
        socket: TcpListener,
        shared: Arc<Shared>,
        stop: watch::Receiver<Stop>,
    ) -> Self {
        let socket = Arc::new(socket);
        let accepting =
            tokio::spawn(vital::task("listener", accept(Arc::clone(&socket), shared, stop)));
        Self { socket, accepting }
    }

    /// Stops accepting. The service manager keeps the socket: clients wait for the next daemon.
    pub(super) fn stop_accepting(self) {
        self.accepting.abort();
    }

    /// Stops listening at once. The task closes its socket a moment later, which would prevent a
    /// new binding of the address.
    pub(super) fn end(self) {
        self.accepting.abort();
        // This fails if the socket does not listen any longer.
        let _ = SockRef::from(&*self.socket).shutdown(Shutdown::Both);
    }
}

/// Continues to listen on `address` with a socket of the previous daemon.
pub(super) fn resume(
    address: SocketAddr,
    socket: std::net::TcpListener,
) -> Result<(SocketAddr, TcpListener), ListenError> {
    match kept::prepare(socket) {
        Ok(listener) => Ok((address, listener)),
        Err(source) => Err(ListenError { address, source }),
    }
}

/// Begins to listen on `address`. Overlapping listeners end soon; until then both are bound, so
/// that a listener exists at every moment.
pub(super) fn bind(
    address: SocketAddr,
    before: &HashMap<SocketAddr, Listening>,
) -> Result<(SocketAddr, TcpListener), ListenError> {
    let overlapping = || {
        before
            .iter()
            .filter(|(other, _)| overlap(address, **other))
            .map(|(_, listening)| SockRef::from(&*listening.socket))
    };
    // Linux binds both sockets if both have this option and the same user. The option is reset
    // below: a second daemon must be told that the port is in use.
    let share = |share| overlapping().try_for_each(|socket| socket.set_reuse_port(share));
    let socket = || {
        let socket = socket_for(address)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit the option.
        socket.set_send_buffer_size(SEND_BUFFER_OCTETS)?;
        share(true)?;
        socket.set_reuse_port(overlapping().next().is_some())?;
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        socket.set_reuse_port(false)?;
        TcpListener::from_std(socket.into())
    };
    let bound = socket();
    match share(false).and(bound) {
        Ok(listener) => Ok((address, listener)),
        Err(source) => Err(ListenError { address, source }),
    }
}

/// Does this host have the address now? A socket without the option above can only be bound if it
/// has.
pub(super) fn host_has_address(address: SocketAddr) -> bool {
    let any_port = SocketAddr::new(address.ip(), 0);
    match UdpSocket::bind(any_port) {
        Ok(_) => true,
        Err(error) => error.kind() != io::ErrorKind::AddrNotAvailable,
    }
}

/// Pauses after failures to accept.
const PAUSES: BackOff = BackOff { first: ACCEPT_PAUSE, longest: LONGEST_ACCEPT_PAUSE };

/// Accepts until the daemon stops. Acquires a permit first: connections beyond the limit wait in
/// the system's queue and use no memory of ours.
async fn accept(listener: Arc<TcpListener>, shared: Arc<Shared>, stop: watch::Receiver<Stop>) {
    let mut failures = 0_u32;
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&shared.sessions).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, remote)) => {
                failures = 0;
                let (shared, stop) = (Arc::clone(&shared), stop.clone());
                NewConnection { stream, shared, stop, permit }.start(remote);
            }
            // `Listening::end` came before the abort.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            // This connection has ended; the next one may work.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                // Usually no file descriptor is left. Sessions that end release some.
                let pause = PAUSES.pause(failures);
                tracing::warn!(%error, ?pause, "cannot accept");
                drop(permit);
                tokio::time::sleep(pause).await;
                failures = failures.saturating_add(1);
            }
        }
    }
}
