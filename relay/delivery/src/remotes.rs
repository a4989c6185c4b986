//! How many connections may one remote address have, over all next hops that lead to it?
//!
//! Many domains share a mail exchanger, and a message to all of them must not open a connection for
//! each. IPv6 addresses count by their /64, which one host may have. A message without room goes
//! back to the queue, and its id waits here for room.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use crate::waiting_list::WaitingList;
use parking_lot::{Mutex, MutexGuard};
use relay_mail::queue_id::QueueId;
use relay_queue::Queue;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use crate::limits;

/// The unit for which connections are counted: the address, or its /64, and the port.
pub(super) type Key = (IpAddr, u16);

/// The connections of one delivery task.
#[derive(Debug)]
pub(super) struct Remotes {
    queue: Queue,
    /// Connections to one address at a time.
    most: usize,
    remotes: Mutex<HashMap<Key, Remote>>,
    /// Notified when an address has no room.
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Remote {
    open: usize,
    /// Of these, connections whose server has greeted us.
    serving: usize,
    waiting: WaitingList,
    /// When there was no room for a connection.
    refused: Option<Instant>,
    /// How many connections the server allowed when it refused one, and until when this is assumed.
    allowed: Option<(usize, Instant)>,
}

/// One connection to an address; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Slot {
    remotes: Arc<Remotes>,
    key: Key,
    serves: bool,
}

/// The unit to which an address belongs.
pub(super) fn key(address: SocketAddr) -> Key {
    let ip = match address.ip().to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    };
    (ip, address.port())
}

impl Remote {
    fn most(&self, most: usize) -> usize {
        match self.allowed {
            Some((allowed, until)) if Instant::now() < until => most.min(allowed),
            _ => most,
        }
    }
}

impl Remotes {
    pub(super) fn new(queue: Queue, most: usize) -> Arc<Self> {
        let (most, remotes, wanted) = (most.max(1), Mutex::default(), Notify::new());
        Arc::new(Self { queue, most, remotes, wanted })
    }

    /// Room for one more connection, for this message. None: there is no room now, or other
    /// messages have waited for longer.
    pub(super) fn slot(self: &Arc<Self>, address: SocketAddr, id: QueueId) -> Option<Slot> {
        let key = key(address);
        let mut remotes = self.remotes.lock();
        let remote = remotes.entry(key).or_default();
        let was_called = remote.waiting.came(id);
        remote.waiting.expire(Instant::now());
        let is_its_turn = was_called || !remote.waiting.has_waiting();
        if !is_its_turn || remote.open + remote.waiting.woken_count() >= remote.most(self.most) {
            remote.refused = Some(Instant::now());
            self.wanted.notify_waiters();
            return None;
        }
        remote.open += 1;
        Some(Slot { remotes: Arc::clone(self), key, serves: false })
    }

    /// A connection to this address was refused. While the server serves other connections of this
    /// host, the refusal shows how many it allows: then a message waits there for room.
    pub(super) fn refused(&self, address: SocketAddr) -> Option<Key> {
        let key = key(address);
        let mut remotes = self.remotes.lock();
        let remote = remotes.get_mut(&key).filter(|remote| remote.serving > 0)?;
        remote.allowed = Some((remote.serving, Instant::now() + limits::CONNECTION_PROBE_FIRST));
        Some(key)
    }

    /// Waits until an address has no room: perhaps the address of an idle connection.
    pub(super) fn wanted(&self) -> Notified<'_> {
        self.wanted.notified()
    }

    /// Does a message wait for room at this address, or did one lately?
    pub(super) fn has_waiters(&self, address: SocketAddr) -> bool {
        let remotes = self.remotes.lock();
        remotes.get(&key(address)).is_some_and(|remote| {
            let lately = |at: Instant| at.elapsed() < limits::CONNECTION_IDLE;
            remote.waiting.has_waiting() || remote.refused.is_some_and(lately)
        })
    }

    /// A message waits in the queue for room at an address. Call this only after its claim has
    /// ended.
    pub(super) fn park(&self, id: QueueId, key: Key) {
        let mut remotes = self.remotes.lock();
        remotes.entry(key).or_default().waiting.park(id);
        // There may be room by now.
        self.call(remotes, key);
    }

    /// Makes all messages due that wait here for room, since no later event would.
    pub(super) fn close(&self) {
        let mut remotes = self.remotes.lock();
        let ids: Vec<_> = remotes.values_mut().flat_map(|r| r.waiting.take()).collect();
        drop(remotes);
        self.queue.store().bring_forward(&ids, SystemTime::now());
    }

    fn call(&self, mut remotes: MutexGuard<'_, HashMap<Key, Remote>>, key: Key) {
        let Some(remote) = remotes.get_mut(&key) else { return };
        let now = Instant::now();
        remote.waiting.expire(now);
        let mut ids = Vec::new();
        while remote.open + remote.waiting.woken_count() < remote.most(self.most)
            && let Some(id) = remote.waiting.wake(now)
        {
            ids.push(id);
        }
        if remote.open == 0 && remote.waiting.is_empty() {
            remotes.remove(&key);
        }
        drop(remotes);
        self.queue.store().bring_forward(&ids, SystemTime::now());
    }
}

impl Slot {
    /// The server has greeted us.
    pub(super) fn serves(mut self) -> Self {
        if let Some(remote) = self.remotes.remotes.lock().get_mut(&self.key) {
            remote.serving += 1;
        }
        self.serves = true;
        self
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut remotes = self.remotes.remotes.lock();
        if let Some(remote) = remotes.get_mut(&self.key) {
            remote.open = remote.open.saturating_sub(1);
            remote.serving = remote.serving.saturating_sub(usize::from(self.serves));
        }
        self.remotes.call(remotes, self.key);
    }
}
