//! Does a reply belong to the command for which it is counted?
//!
//! Replies do not name their command: the first reply belongs to the first command that was sent,
//! and so on. If a server, or a device before it, sends one reply too many, all later replies are
//! shifted, and a 250 to an earlier command would count for the message. Therefore
//!
//! * a reply counts for a command only after that command has been written,
//! * codes that belong to other commands do not count: 220 or 221 is no reply to a message,
//! * a message follows DATA, whose 354 belongs to no other command: with one reply too many before
//!   it, DATA gets another code. Chunks have 250 replies only, so QUIT follows the last chunk in
//!   the same write, and also a message with several results (LMTP): only the results may arrive
//!   before the 221,
//! * octets after the result of a message are read before the result counts.
//!
//! If replies contradict each other, the message is deferred.

use std::time::Instant;

use crate::client::progress::TransactionProgress;
use crate::client::{ClientEvent, ClientSession, State, local};
use relay_mail::outcome::Cause;
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::reply::{Enhanced, Reply};

impl ClientSession {
    /// The message has its result, which does not count yet: the driver reads the octets that have
    /// already arrived, without waiting for more, and then calls [`ClientSession::accept_result`].
    pub fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered(_))
    }

    /// Nothing more has arrived: the result of the message counts.
    pub fn accept_result(&mut self) {
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Answered(progress) => {
                let has_surplus = progress.has_surplus;
                self.events.push_back(ClientEvent::Done(progress.outcomes(&self.hop)));
                if has_surplus {
                    let text = "the next hop sent more replies than it got commands";
                    self.close(Some(local(Enhanced(4, 5, 0), text)));
                } else {
                    self.become_ready();
                }
            }
            other => self.state = other,
        }
    }

    /// Can a reply belong to a command that was sent? Replies to the first of several commands may
    /// arrive while the last of them is being written.
    pub(super) fn has_asked(&self) -> bool {
        let may_be_incomplete = match &self.state {
            State::Envelope(progress) => progress.awaits_several(),
            State::Message(..) | State::EndOfData(_) => true,
            _ => false,
        };
        self.output.is_empty() && (may_be_incomplete || !self.unwritten)
    }

    /// The whole message was written. If its replies do not name their command, QUIT follows; RFC
    /// 2920 section 3.1 allows it as the last command of a group.
    pub(super) fn await_end(&mut self, mut progress: TransactionProgress, now: Instant) {
        let is_lmtp = self.opening.protocol == DeliveryProtocol::Lmtp;
        if progress.begin_end(is_lmtp && self.capabilities.pipelining) {
            self.output.extend_from_slice(b"QUIT\r\n");
        }
        self.deadline = Some(now + self.timeouts.data_termination);
        self.state = State::EndOfData(progress);
    }

    /// Handles a reply to the end of data, or to the last chunk.
    pub(super) fn handle_end(
        &mut self,
        mut progress: TransactionProgress,
        reply: &Reply,
        now: Instant,
    ) {
        let is_for_one = self.opening.protocol == DeliveryProtocol::Lmtp;
        if progress.settle_end(&self.hop, reply, is_for_one) {
            self.deadline = Some(now + self.timeouts.data_termination);
            self.state = State::EndOfData(progress);
        } else if progress.sends_quit_with_message() {
            self.deadline = Some(now + self.timeouts.quit);
            self.state = State::Leaving(progress);
        } else {
            self.state = State::Answered(progress);
        }
    }

    /// Another reply contradicts the reply that counted as the result.
    pub(super) fn handle_contradiction(
        &mut self,
        mut progress: TransactionProgress,
        reply: &Reply,
    ) {
        progress.discard_result();
        self.state = State::Envelope(progress);
        let text = format!(
            "the next hop sent more replies than it got commands, and the last was {reply}: it is \
             unknown whether it has the message"
        );
        self.fail(local(Enhanced(4, 5, 0), text));
    }
}

/// The cause when a next hop sends a reply without a command.
pub(super) fn unasked(reply: &Reply) -> Cause {
    local(Enhanced(4, 5, 0), format!("the next hop replied {reply} before the command was sent"))
}
