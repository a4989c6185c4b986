//! How long a client may take, and how long it is made to wait.
//!
//! The inactivity timeout counts from the last whole command line or the last sign of progress
//! in a message, the connection timeout from the beginning. Octets that complete nothing
//! postpone neither.

use std::time::Instant;

use crate::connector::Limits;
use crate::limits::{QUEUE_WAIT, TEXT_LINE_OCTETS};

/// The deadlines of one session.
#[derive(Debug)]
pub(super) struct Timers {
    connection: Instant,
    inactivity: Instant,
    queue: Instant,
    limits: Limits,
    /// Octets of a message since the last sign of life.
    octets: u64,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// `connection_timeout`.
    Connection,
    /// `connection_inactivity_timeout`.
    Inactivity,
    /// [`QUEUE_WAIT`].
    Queue,
}

impl Timers {
    pub(super) fn new(now: Instant, limits: &Limits) -> Self {
        Self {
            connection: now + limits.connection_timeout,
            inactivity: now + limits.connection_inactivity_timeout,
            queue: now + QUEUE_WAIT,
            limits: *limits,
            octets: 0,
        }
    }

    /// The client completed something.
    pub(super) fn active(&mut self, now: Instant) {
        self.inactivity = now + self.limits.connection_inactivity_timeout;
        self.octets = 0;
    }

    /// Octets of a message came: a line end or a line's worth of them is progress.
    pub(super) fn message_octets(&mut self, now: Instant, octets: &[u8]) {
        self.octets += octets.len() as u64;
        if self.octets >= TEXT_LINE_OCTETS || memchr::memchr(b'\n', octets).is_some() {
            self.active(now);
        }
    }

    /// The queue was asked something.
    pub(super) fn ask_queue(&mut self, now: Instant) {
        self.queue = now + QUEUE_WAIT;
    }

    /// While the queue has something to answer, the client cannot be late.
    pub(super) fn deadline(&self, waits_for_queue: bool) -> Instant {
        match waits_for_queue {
            true => self.queue,
            false => self.connection.min(self.inactivity),
        }
    }

    pub(super) fn expired(&self, now: Instant, waits_for_queue: bool) -> Option<Expired> {
        if now < self.deadline(waits_for_queue) {
            None
        } else if waits_for_queue {
            Some(Expired::Queue)
        } else if self.connection <= now {
            Some(Expired::Connection)
        } else {
            Some(Expired::Inactivity)
        }
    }
}
