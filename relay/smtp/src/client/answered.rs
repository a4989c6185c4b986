//! Is a reply the one to the command that it is taken for?
//!
//! Replies carry no name: the first is for the first command that was sent, and so on. A server, or
//! a device before it, that sends one reply too many shifts all that follow, and a 250 to an earlier
//! command would stand for the message. So
//!
//! * a reply is taken for a command only once that command has been written,
//! * codes that belong to other commands are not taken: 220 or 221 is no reply to a message,
//! * a message follows DATA, whose 354 no other command has: with one reply too many before it, DATA
//!   gets another code. What has to go in chunks, whose replies are all 250, is followed by QUIT in
//!   the same write, and so is a message with several results (LMTP): nothing but the results may
//!   come before the 221,
//! * what has come behind the result of a message is read before the result counts.
//!
//! Where replies contradict each other, the message is deferred.

use std::time::Instant;

use crate::client::progress::TransactionProgress;
use crate::client::{ClientEvent, ClientSession, State, local};
use relay_mail::outcome::Cause;
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::reply::{Enhanced, Reply};

impl ClientSession {
    /// The message has its result, and it does not count yet: the driver reads what has come
    /// besides, without waiting for more, and then calls [`ClientSession::settle`].
    pub fn is_answered(&self) -> bool {
        matches!(self.state, State::Answered(_))
    }

    /// Nothing more has come: the result of the message counts.
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

    /// May a reply be to what has been sent? Replies to the first of several commands may come
    /// while the last of them is being written.
    pub(super) fn has_asked(&self) -> bool {
        let may_be_incomplete = match &self.state {
            State::Envelope(progress) => progress.awaits_several(),
            State::Message(..) | State::EndOfData(_) => true,
            _ => false,
        };
        self.output.is_empty() && (may_be_incomplete || !self.unwritten)
    }

    /// The whole message has been put out. Where its replies alone do not show whose they are, QUIT
    /// follows; RFC 2920 section 3.1 allows it as the last command of a group.
    pub(super) fn await_end(&mut self, mut progress: TransactionProgress, now: Instant) {
        let is_lmtp = self.opening.protocol == DeliveryProtocol::Lmtp;
        if progress.begin_end(is_lmtp && self.capabilities.pipelining) {
            self.output.extend_from_slice(b"QUIT\r\n");
        }
        self.deadline = Some(now + self.timeouts.data_termination);
        self.state = State::EndOfData(progress);
    }

    /// Takes a reply to the end of data, or to the last chunk.
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

    /// Another reply says something else than the one that was taken for the result.
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

/// Why a connection ends on which the next hop speaks unasked.
pub(super) fn unasked(reply: &Reply) -> Cause {
    local(Enhanced(4, 5, 0), format!("the next hop replied {reply} before it was asked"))
}

/// Is this the code of a greeting, a help text, QUIT or AUTH (RFC 5321 section 4.2.3, RFC 4954
/// section 6)? Then it is no reply to a command of a transaction, nor to a message.
pub(super) const fn is_of_another_command(code: u16) -> bool {
    matches!(code, 211 | 214 | 220 | 221 | 235)
}
