//! Listeners that the service manager stores while the daemon restarts (systemd's file descriptor
//! store, `FileDescriptorStoreMax=` of the unit). Clients that connect in this time wait for the
//! next daemon instead of being refused.
//!
//! This module decides which sockets are stored and reused. Sockets that it cannot reuse are
//! closed. Without a service manager, or if its store is off, the module does nothing.

use std::collections::HashMap;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::sync::OnceLock;

use crate::listen_address::{ListenError, addresses, is_free};
use parking_lot::Mutex;
use relay_connector::Binding;
use sd_notify::NotifyState;
use socket2::SockRef;
use tracing::{debug, warn};

/// Stored listeners that are not used yet.
#[derive(Debug, Default)]
pub(super) struct StoredListeners(Mutex<HashMap<SocketAddr, TcpListener>>);

/// Did the service manager store a listener?
static KEEPS: OnceLock<()> = OnceLock::new();

/// Takes over the stored listeners of the service manager. The descriptors are owned from then on,
/// so this must be called once, before other code can use their numbers.
pub fn take_stored_listeners() -> Inherited {
    let mut listeners = HashMap::new();
    let given = match sd_notify::listen_fds_with_names(false) {
        Ok(given) => given,
        Err(error) => {
            warn!(%error, "the service manager's list of descriptors cannot be read");
            return Inherited(listeners);
        }
    };
    for (number, name) in given {
        // SAFETY: the service manager opened these descriptors for us, and no other code of the
        // process owns them: nothing has been opened by number.
        let socket = TcpListener::from(unsafe { OwnedFd::from_raw_fd(number) });
        match usable(&socket) {
            Some(address) => {
                listeners.insert(address, socket);
            }
            // Closed here, and removed from the store.
            None => forget(&name),
        }
    }
    Inherited(listeners)
}

/// The listeners that [`take_stored_listeners`] found.
#[derive(Debug, Default)]
pub struct Inherited(HashMap<SocketAddr, TcpListener>);

impl Inherited {
    /// Can these bindings be listened on? Not checked if listeners were stored, because those would
    /// be in the way.
    ///
    /// # Errors
    /// Usually another program listens there.
    pub fn may_listen(&self, bindings: &[Binding]) -> Result<(), ListenError> {
        if !self.0.is_empty() {
            return Ok(());
        }
        addresses(bindings).into_iter().try_for_each(is_free)
    }
}

/// The address of a socket that listens as our own listeners do.
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

    /// The listener of this address, if there is one.
    pub(super) fn take(&self, address: SocketAddr) -> Option<TcpListener> {
        self.0.lock().remove(&address)
    }

    /// Ends listeners that are not needed. Must run before other addresses are bound: a stored
    /// wildcard would prevent the binding of its own addresses. The service manager has the socket
    /// too and closes it later, so the socket is shut down here.
    pub(super) fn end_others(&self, is_wanted: impl Fn(&SocketAddr) -> bool) {
        let mut kept = self.0.lock();
        for (address, listener) in kept.extract_if(|address, _| !is_wanted(address)) {
            // This fails if the socket does not listen any longer.
            let _ = SockRef::from(&listener).shutdown(Shutdown::Both);
            remove_from_store(address);
        }
    }
}

/// Stores a listener in the service manager, which recognises a listener that it has already.
pub(super) fn store_listener(address: SocketAddr, listener: impl AsFd) {
    // The socket does not show whether the store is on. If it is off, a listener that is not shut
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
        Err(error) => debug!(%address, %error, "the service manager did not store a listener"),
    }
}

/// Removes a listener from the store.
pub(super) fn remove_from_store(address: SocketAddr) {
    forget(&name(address));
}

/// Are listeners stored, so that they must go on listening when the daemon ends?
pub(super) fn are_kept() -> bool {
    KEEPS.get().is_some()
}

fn forget(name: &str) {
    let state = [NotifyState::FdStoreRemove, NotifyState::FdName(name)];
    if let Err(error) = sd_notify::notify(false, &state) {
        debug!(name, %error, "cannot tell the service manager to close a listener");
    }
}

/// The name in the store. In the store, a colon separates names.
fn name(address: SocketAddr) -> String {
    address.to_string().replace(':', "_")
}

/// Tells the service manager the state of the daemon: `Type=notify` of the unit.
pub fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(false, &[state]) {
        debug!(%error, "cannot tell the service manager the state");
    }
}

/// Prepares a stored listener for use.
pub(super) fn prepare(listener: TcpListener) -> io::Result<tokio::net::TcpListener> {
    listener.set_nonblocking(true)?;
    tokio::net::TcpListener::from_std(listener)
}

#[cfg(test)]
mod tests {
    use crate::kept::*;

    #[test]
    fn only_sockets_that_listen_as_ours_are_usable() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(usable(&listener), Some(address));
        let both_families = TcpListener::bind("[::]:0").unwrap();
        assert_eq!(usable(&both_families), None);
        SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
        assert_eq!(usable(&listener), None);
    }

    #[test]
    fn a_stored_wildcard_does_not_prevent_a_binding() {
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
        // The copy of the service manager.
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
    fn a_stored_listener_is_used_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = StoredListeners::new(Inherited(HashMap::from([(address, listener)])));
        assert!(kept.take(address).is_some());
        assert!(kept.take(address).is_none());
    }
}
