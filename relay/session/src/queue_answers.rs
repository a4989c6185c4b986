//! The answers of the queue, and the replies to the client.
//!
//! Every failure of storage is temporary: the client keeps the message and tries again.

use std::time::Instant;

use crate::reception::MessageInput;
use crate::state::SessionState;
use crate::{MessageBegun, Session};
use relay_mail::reply;
use relay_mail::store_error::{BeginError, StoreError};
use relay_smtp::command::Verb;

impl Session {
    /// The result of [`super::Action::BeginMessage`].
    pub fn handle_message_begun(&mut self, now: Instant, begun: Result<MessageBegun, BeginError>) {
        self.now = now;
        let waiting = match self.state.take() {
            SessionState::WaitingForQueue(waiting) => waiting,
            other => return self.state = other,
        };
        self.timers.active(now);
        match begun {
            Ok(begun) => {
                if waiting.input == MessageInput::Data {
                    self.output.reply(&reply::START_MAIL_INPUT);
                }
                self.state = SessionState::Receiving(waiting.begun(&self.context, begun));
            }
            Err(error) => {
                let verb = match waiting.input {
                    MessageInput::Chunks { .. } => Verb::Bdat,
                    MessageInput::Data => Verb::Data,
                };
                let (state, effect) = waiting.refused(relay_policy::not_begun(&error));
                self.state = state;
                self.carry_out(verb, effect);
            }
        }
    }

    /// A [`super::Action::Write`] failed. The rest of the message is read and discarded.
    pub fn handle_write_failed(&mut self, error: &StoreError) {
        if let SessionState::Receiving(reception) = &mut self.state {
            let decision = relay_policy::not_stored(error);
            reception.discard(decision, &mut |action| self.output.push(action));
        }
    }

    /// The result of [`super::Action::CommitMessage`]. `Ok` means that the message is on stable
    /// storage.
    pub fn handle_stored(&mut self, now: Instant, stored: Result<(), StoreError>) {
        self.now = now;
        let waiting = match self.state.take() {
            SessionState::WaitingForStore(waiting) => waiting,
            other => return self.state = other,
        };
        self.timers.active(now);
        match stored {
            Ok(()) => {
                self.output.protocol.information(|| format!("message {} committed", waiting.id));
                let text = format!("{} {}", waiting.id, reply::QUEUED.text);
                self.context.summary.accept(waiting.id);
                let reply = reply::QUEUED.with_text(text);
                self.output.reply(&reply);
                self.context.summary.decisions.kept(reply);
                self.state = waiting.end();
            }
            Err(error) => {
                let decision = relay_policy::not_stored(&error);
                let reply = self.note_message(decision);
                self.state = waiting.end();
                self.refuse(reply);
            }
        }
        self.leave_after_message();
    }
}
