//! Listeners that the service manager keeps while the daemon is restarted (systemd's file descriptor
//! store, `FileDescriptorStoreMax=` of the unit). Clients that connect meanwhile wait for the next
//! daemon instead of being refused.
//!
//! This module decides which sockets are given and taken back. What it is given and does not want is
//! closed. Without a service manager, or where its store is off, nothing happens.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use crate::listener::{ListenError, addresses, is_free};
use parking_lot::Mutex;
use relay_connector::Binding;
use sd_notify::NotifyState;
use socket2::SockRef;
use tracing::{debug, warn};

/// The listeners that the service manager gave us and that have not been asked for.
#[derive(Debug, Default)]
pub(super) struct StoredListeners(Mutex<HashMap<SocketAddr, TcpListener>>);

/// Was a listener taken by the service manager?
static KEEPS: OnceLock<()> = OnceLock::new();

/// Takes what the service manager gave to this process. The descriptors are owned from then on, so
/// it is called once, before anything else could use their numbers.
pub fn inherit() -> Inherited {
    let mut listeners = HashMap::new();
    let given = match sd_notify::listen_fds_with_names(false) {
        Ok(given) => given,
        Err(error) => {
            warn!(%error, "the service manager's list of descriptors cannot be read");
            return Inherited(listeners);
        }
    };
    for (number, name) in given {
        // SAFETY: the service manager opened these for us, and nobody else in the process uses them:
        // nothing has been opened by number.
        let socket = TcpListener::from(unsafe { OwnedFd::from_raw_fd(number) });
        match usable(&socket) {
            Some(address) => {
                listeners.insert(address, socket);
            }
            // Closed here, and no longer kept for us.
            None => forget(&name),
        }
    }
    Inherited(listeners)
}

/// What [`inherit`] found.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<SocketAddr, TcpListener>);

impl Inherited {
    /// Could these bindings be listened on? Not examined where listeners were kept, which may be in
    /// the way of each other.
    ///
    /// # Errors
    /// Usually another program listens there.
    pub fn lets_listen(&self, bindings: &[Binding]) -> Result<(), ListenError> {
        if !self.0.is_empty() {
            return Ok(());
        }
        addresses(bindings).into_iter().try_for_each(is_free)
    }
}

/// The address of a socket that listens as we would.
fn usable(socket: &TcpListener) -> Option<SocketAddr> {
    let address = socket.local_addr().ok()?;
    let socket = SockRef::from(socket);
    let has_one_family = address.is_ipv4() || socket.only_v6().ok()?;
    (socket.is_listener().ok()? && has_one_family).then_some(address)
}

impl StoredListeners {
    pub(super) fn new(Inherited(listeners): Inherited) -> Self {
        Self(Mutex::new(listeners))
    }

    /// The listener of this address, where there is one.
    pub(super) fn take(&self, address: SocketAddr) -> Option<TcpListener> {
        self.0.lock().remove(&address)
    }

    /// Ends those that are not wanted any more. This comes before other addresses are bound: a kept
    /// wildcard would be in the way of one of its own addresses. The service manager has the socket
    /// as well and lets go of it later, so it is shut down here.
    pub(super) fn end_others(&self, is_wanted: impl Fn(&SocketAddr) -> bool) {
        let mut kept = self.0.lock();
        for (address, listener) in kept.extract_if(|address, _| !is_wanted(address)) {
            // It fails where the socket is not listening any more.
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
            give_up(address);
        }
    }
}

/// Has the service manager keep a listener. It tells one that it has from others by itself.
pub(super) fn keep(address: SocketAddr, listener: impl AsFd) {
    // With the socket alone we cannot tell whether its store is on: then a listener that is not shut
    // down is closed with the process, a moment later.
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    let name = name(address);
    let state = [NotifyState::FdStore, NotifyState::FdName(&name)];
    match sd_notify::notify_with_fds(false, &state, &[listener.as_fd()]) {
        Ok(()) => {
            let _ = KEEPS.set(());
        }
        Err(error) => debug!(%address, %error, "the service manager does not keep a listener"),
    }
}

/// Has the service manager keep a listener no longer.
pub(super) fn give_up(address: SocketAddr) {
    forget(&name(address));
}

/// Are listeners kept, so that they must go on listening when the daemon ends?
pub(super) fn are_kept() -> bool {
    KEEPS.get().is_some()
}

fn forget(name: &str) {
    let state = [NotifyState::FdStoreRemove, NotifyState::FdName(name)];
    if let Err(error) = sd_notify::notify(false, &state) {
        debug!(name, %error, "the service manager was not told to close a listener");
    }
}

/// The name in the store. A colon separates names there.
fn name(address: SocketAddr) -> String {
    address.to_string().replace(':', "_")
}

/// Tells the service manager what the daemon does: `Type=notify` of the unit.
pub fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        debug!(%error, "the service manager was not told the state");
    }
}

/// A listener that goes on as one of ours.
pub(super) fn prepare(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use crate::kept::*;

    #[test]
    fn only_what_listens_as_we_would_is_usable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(usable(&listener), Some(address));
        let both_families = TcpListener::bind("[::]:0").unwrap();
        assert_eq!(usable(&both_families), None);
        SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
        assert_eq!(usable(&listener), None);
    }

    #[test]
    fn a_kept_wildcard_makes_room_for_an_address() {
        let bind = |address: SocketAddr| {
            let socket = socket2::Socket::new(
                socket2::Domain::IPV4,
                socket2::Type::STREAM,
                Some(socket2::Protocol::TCP),
            );
            let socket = socket.unwrap();
            socket.set_reuse_address(true).unwrap();
            socket.bind(&address.into()).and_then(|()| socket.listen(1))?;
            Ok::<_, io::Error>(TcpListener::from(socket))
        };
        let wildcard = bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let port = wildcard.local_addr().unwrap().port();
        // The service manager's.
        let _other_owner = wildcard.try_clone().unwrap();
        let exact = SocketAddr::from(([127, 0, 0, 1], port));
        assert!(bind(exact).is_err());
        let kept = HashMap::from([(wildcard.local_addr().unwrap(), wildcard)]);
        StoredListeners::new(Inherited(kept)).end_others(|address| *address == exact);
        bind(exact).unwrap();
    }

    #[test]
    fn names_have_no_colon() {
        for address in ["127.0.0.1:25", "[::]:25"] {
            assert!(!name(address.parse().unwrap()).contains(':'));
        }
    }

    #[test]
    fn a_kept_listener_is_taken_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = StoredListeners::new(Inherited(HashMap::from([(address, listener)])));
        assert!(kept.take(address).is_some());
        assert!(kept.take(address).is_none());
    }
}
