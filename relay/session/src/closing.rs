//! How does a session end: its last replies, and what it drops?

use std::time::Instant;

use crate::state::SessionState;
use crate::timers::Awaited;
use crate::{Action, Session, SessionEnding};
use relay_mail::reply::{self, Reply};

impl Session {
    /// The daemon is stopping. The session ends after the reply to its message. Between messages it
    /// ends if the client is silent for [`SHUTDOWN_SILENCE`](crate::limits::SHUTDOWN_SILENCE), so that a client that is about to send
    /// a message can.
    pub fn handle_shutdown(&mut self, now: Instant) {
        self.now = now;
        self.shutting_down = true;
        self.leave_if_silent();
    }

    /// The daemon does not wait any longer: the client gets a reply, and an unfinished message is
    /// dropped. A commit that has begun may still succeed, so that session waits for its reply.
    pub fn handle_cut_off(&mut self) {
        self.cut_off = true;
        let is_kept = matches!(
            self.state,
            SessionState::Closed
                | SessionState::WaitingForQueue(_)
                | SessionState::WaitingForStore(_)
        );
        if !is_kept {
            self.close_with(&reply::SHUTTING_DOWN, SessionEnding::ShutDown);
        }
    }

    /// Was the session told that the daemon does not wait any longer?
    pub fn is_cut_off(&self) -> bool {
        self.cut_off
    }

    /// The client sends nothing more, but may still read. Its octets are processed first, including
    /// slow steps; then the session ends. A client that has disconnected completely is noticed at
    /// the next write.
    pub fn handle_end_of_input(&mut self) {
        self.input_ended = true;
    }

    /// The client has disconnected, or nothing can be sent to it. An unfinished message is dropped.
    pub fn handle_disconnect(&mut self) {
        self.close(SessionEnding::Disconnected);
    }

    /// Does the session wait for octets that will not arrive?
    pub(super) fn waits_in_vain(&self) -> bool {
        self.input_ended && self.awaited() == Awaited::Client && self.waits_for_octets()
    }

    fn waits_for_octets(&self) -> bool {
        !matches!(
            self.state,
            SessionState::Closed | SessionState::Reclassifying(_) | SessionState::Screening(_)
        )
    }

    /// Was the session told that the daemon is stopping?
    pub fn is_shutting_down(&self) -> bool {
        self.shutting_down
    }

    /// A message has its reply: the right moment to end the session if the daemon is stopping.
    pub(super) fn leave_after_message(&mut self) {
        if self.may_leave() {
            self.close_with(&reply::SHUTTING_DOWN, SessionEnding::ShutDown);
        }
    }

    /// Ends a session between messages whose client is silent. A delayed reply does not count as
    /// silence of the client, but the session does not wait for it: the client gets it at once.
    pub(super) fn leave_if_silent(&mut self) {
        let is_over = self.timers.silence() <= self.now || self.awaited() == Awaited::Tarpit;
        if is_over && self.may_leave() {
            self.close_with(&reply::SHUTTING_DOWN, SessionEnding::ShutDown);
        }
    }

    /// Is the daemon stopping, and the session neither within a message nor waiting for an answer of
    /// another server?
    pub(super) fn may_leave(&self) -> bool {
        let is_within_message = matches!(
            self.state,
            SessionState::Chunking(_)
                | SessionState::Closed
                | SessionState::Receiving(_)
                | SessionState::Reclassifying(_)
                | SessionState::Screening(_)
                | SessionState::Skipping(_)
                | SessionState::WaitingForQueue(_)
                | SessionState::WaitingForStore(_)
        );
        self.shutting_down && !is_within_message && self.asked.is_none()
    }

    /// Ends the session with a last reply, after a reply that the tarpit still delays.
    pub(super) fn close_with(&mut self, reply: &Reply, ending: SessionEnding) {
        self.release();
        // During a handshake the client could not read it.
        let is_readable = !matches!(self.state, SessionState::StartingTls);
        if is_readable {
            self.output.reply(reply);
        }
        self.end(ending, is_readable.then_some(reply));
    }

    /// Ends the session without a further reply.
    pub(super) fn close(&mut self, ending: SessionEnding) {
        self.end(ending, None);
    }

    fn end(&mut self, ending: SessionEnding, last_reply: Option<&Reply>) {
        if matches!(self.state, SessionState::Closed) {
            return;
        }
        self.release();
        if let SessionState::Receiving(reception) = &self.state {
            self.output.protocol.received(|| format!("{} octets, unfinished", reception.size()));
        }
        if let SessionState::Chunking(reception) | SessionState::Receiving(reception) = &self.state
        {
            self.context.summary.decisions.identity = reception.identity().clone();
        }
        // A commit that has begun may still succeed: see `Receipt::answered`.
        if !matches!(self.state, SessionState::WaitingForStore(_)) {
            self.context.summary.tell_broken_off(ending, last_reply);
        }
        self.output.protocol.information(|| format!("ended: {ending}"));
        self.abandon();
        self.asked = None;
        self.state = SessionState::Closed;
        self.input.clear();
        self.context.summary.ending = Some(ending);
        self.output.push(Action::Close);
    }
}
