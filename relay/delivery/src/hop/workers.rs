//! The workers of a next hop, and how it counts them.

use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::hop::{Hop, State};
use crate::job::Job;
use tokio::time::Instant;
use tracing::{debug, info};

impl Hop {
    /// A worker begins an attempt.
    pub(crate) fn begins(self: &Arc<Self>) -> CountedWorker {
        let now = Instant::now();
        self.state.lock().under_way.push(now);
        CountedWorker { hop: Arc::clone(self), what: What::Attempt(now) }
    }

    /// A worker makes a connection.
    pub(crate) fn connects(self: &Arc<Self>) -> CountedWorker {
        self.state.lock().connecting += 1;
        CountedWorker { hop: Arc::clone(self), what: What::Connecting }
    }

    /// There is a connection.
    pub(crate) fn connected(self: &Arc<Self>, address: SocketAddr) -> CountedWorker {
        let mut state = self.state.lock();
        *state.connected.entry(address).or_default() += 1;
        state.last.remove(&address);
        let open = state.open();
        state.window.accepted(open);
        self.has_answered(&mut state);
        CountedWorker { hop: Arc::clone(self), what: What::Connection(address) }
    }

    /// It is alive: a back-off ends.
    pub(super) fn has_answered(self: &Arc<Self>, state: &mut State) {
        if std::mem::take(&mut state.failures) > 0 {
            state.paused_until = None;
            state.trouble = None;
            // They become due by themselves now.
            state.returning = 0;
            info!(hop = self.name, "the next hop replies again");
            self.staff(state);
        }
    }

    /// A connection was refused; `own` connections are those of the caller. While other connections
    /// work, the refusal shows how many the next hop allows, and nothing about the message.
    pub(crate) fn is_surplus(&self, own: usize) -> bool {
        let mut state = self.state.lock();
        let now = Instant::now();
        let others = (state.open() + state.connecting).saturating_sub(own);
        if others == 0 || state.is_stalled(now) {
            return false;
        }
        state.window.refused(others, now);
        debug!(hop = self.name, allowed = others, "the next hop allows no further connection");
        true
    }

    /// Do other workers have a connection or open one, and is none of them stalled?
    pub(crate) fn has_others(&self) -> bool {
        let state = self.state.lock();
        state.open() + state.connecting > 0 && !state.is_stalled(Instant::now())
    }

    /// The worker of this job ends; another worker continues with the job.
    pub(crate) fn hand_over(self: &Arc<Self>, job: Job) {
        let mut state = self.state.lock();
        state.alive -= 1;
        if self.is_closing() {
            drop(state);
            return job.put_back(SystemTime::now());
        }
        state.waiting.push_front(job);
        self.staff(&mut state);
    }
}

/// Something that a next hop counts, for as long as it lasts.
#[derive(Debug)]
pub(crate) struct CountedWorker {
    hop: Arc<Hop>,
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Attempt(Instant),
    Connecting,
    Connection(SocketAddr),
}

impl Drop for CountedWorker {
    fn drop(&mut self) {
        let mut state = self.hop.state.lock();
        match self.what {
            What::Attempt(began) => {
                if let Some(place) = state.under_way.iter().position(|it| *it == began) {
                    state.under_way.swap_remove(place);
                }
            }
            What::Connecting => state.connecting -= 1,
            What::Connection(address) => {
                let Entry::Occupied(mut open) = state.connected.entry(address) else { return };
                *open.get_mut() -= 1;
                if *open.get() == 0 {
                    open.remove();
                }
            }
        }
    }
}
