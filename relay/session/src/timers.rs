//! The time limits of a client, and its delays.
//!
//! The inactivity timeout counts from the last whole command line or the last progress in a
//! message, the connection timeout from the beginning. Octets that complete nothing postpone
//! neither.

use std::time::Instant;

use crate::limits::{INQUIRY_WAIT, QUEUE_WAIT, SHUTDOWN_SILENCE, TEXT_LINE_OCTETS, TLS_HANDSHAKE};
use crate::state::SessionState;
use crate::{Session, SessionEnding};
use relay_connector::Limits;
use relay_mail::reply::{self, Reply};

/// The deadlines of one session.
#[derive(Debug)]
pub(super) struct Timers {
    connection: Instant,
    inactivity: Instant,
    silence: Instant,
    queue: Instant,
    answer: Instant,
    handshake: Instant,
    limits: Limits,
    /// Octets of a message since the last sign of life.
    octets: u64,
}

/// Who must act before the session continues?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Awaited {
    /// The server that was asked for a fact.
    Answer,
    Client,
    Handshake,
    Queue,
    /// A reply is delayed: until the client has it, the client cannot be late.
    Tarpit,
}

/// A deadline that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// [`INQUIRY_WAIT`].
    Answer,
    /// `connection_timeout`.
    Connection,
    /// [`TLS_HANDSHAKE`].
    Handshake,
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
            silence: now + SHUTDOWN_SILENCE,
            queue: now + QUEUE_WAIT,
            answer: now + INQUIRY_WAIT,
            handshake: now + TLS_HANDSHAKE,
            limits: *limits,
            octets: 0,
        }
    }

    /// The client completed something.
    pub(super) fn active(&mut self, now: Instant) {
        self.inactivity = now + self.limits.connection_inactivity_timeout;
        self.silence = now + SHUTDOWN_SILENCE;
        self.octets = 0;
    }

    /// Octets of a message arrived: a line end or the octets of one line count as progress.
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

    /// Another server was asked something.
    pub(super) fn ask(&mut self, now: Instant) {
        self.answer = now + INQUIRY_WAIT;
    }

    /// The client may begin a TLS handshake.
    pub(super) fn begin_handshake(&mut self, now: Instant) {
        self.handshake = now + TLS_HANDSHAKE;
    }

    /// When a session between messages ends if the daemon is stopping.
    pub(super) fn silence(&self) -> Instant {
        self.silence
    }

    /// Only a client that is awaited can be late.
    pub(super) fn deadline(&self, awaited: Awaited) -> Instant {
        match awaited {
            Awaited::Client => self.connection.min(self.inactivity),
            Awaited::Answer => self.answer,
            Awaited::Handshake => self.connection.min(self.handshake),
            Awaited::Queue => self.queue,
            Awaited::Tarpit => self.connection,
        }
    }

    pub(super) fn expired(&self, now: Instant, awaited: Awaited) -> Option<Expired> {
        if now < self.deadline(awaited) {
            return None;
        }
        Some(match awaited {
            Awaited::Answer => Expired::Answer,
            Awaited::Handshake => Expired::Handshake,
            Awaited::Queue => Expired::Queue,
            Awaited::Tarpit => Expired::Connection,
            Awaited::Client if self.connection <= now => Expired::Connection,
            Awaited::Client => Expired::Inactivity,
        })
    }
}

impl Session {
    /// The clock has reached [`Session::deadline`]; earlier is harmless.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if let Some(held) = self.held.take_if(|held| held.until <= now) {
            self.timers.active(now);
            self.give(held);
        }
        self.leave_if_silent();
        let Some(expired) = self.timers.expired(now, self.awaited()) else { return };
        if matches!(self.state, SessionState::Closed) {
            return;
        }
        let (reply, ending) = match expired {
            Expired::Answer => return self.unanswered(),
            Expired::Handshake => return self.close(SessionEnding::HandshakeTimeout),
            Expired::Connection => (reply::CONNECTION_TIMED_OUT, SessionEnding::ConnectionTimeout),
            Expired::Inactivity => {
                let refusal = self.refuse_unended();
                (refusal.unwrap_or(reply::INACTIVITY_TIMEOUT), SessionEnding::InactivityTimeout)
            }
            Expired::Queue => (reply::NOT_STORED, SessionEnding::QueueTimeout),
        };
        self.close_with(&reply, ending);
    }

    /// A client that waits or ends its side after LF.LF, which it considers the end of its message,
    /// gets the reason of the refusal.
    pub(super) fn refuse_unended(&mut self) -> Option<Reply> {
        let SessionState::Receiving(reception) = &self.state else { return None };
        let decision = reception.refusal(&self.context)?;
        let reply = self.note_message(decision);
        Some(reply)
    }

    /// When [`Session::handle_timeout`] is due.
    pub fn deadline(&self) -> Instant {
        let mut deadline = self.timers.deadline(self.awaited());
        if self.may_leave() {
            deadline = deadline.min(self.timers.silence());
        }
        match &self.held {
            Some(held) => held.until.min(deadline),
            None => deadline,
        }
    }

    /// The deadline for sending replies. It does not depend on other waits: a delayed reply is
    /// written later, and does not shorten the time for replies before it.
    pub fn send_deadline(&self) -> Instant {
        self.timers.deadline(Awaited::Client)
    }

    /// [`Session::send_deadline`] has passed. A client that does not read its replies is treated as
    /// silent, and no reply can reach it.
    pub fn handle_unread(&mut self) {
        self.close(SessionEnding::RepliesUnread);
    }

    pub(super) fn awaited(&self) -> Awaited {
        match self.state {
            SessionState::StartingTls => Awaited::Handshake,
            SessionState::WaitingForQueue(_) | SessionState::WaitingForStore(_) => Awaited::Queue,
            _ if self.asked.is_some() => Awaited::Answer,
            _ if self.held.is_some() => Awaited::Tarpit,
            _ => Awaited::Client,
        }
    }
}
