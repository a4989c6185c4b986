//! How does a connection to a next hop end, and what does that mean for a message in transfer?

use std::mem;

use crate::client::dot::UnsafeMessage;
use crate::client::{ClientEvent, ClientSession, State};
use relay_mail::outcome::Cause;
use relay_mail::reply::{Enhanced, Reply};

use crate::limits;

impl ClientSession {
    /// Handles a reply at the wrong time. A refusal is accepted; any other reply is not trusted.
    pub(super) fn fail_with_reply(&mut self, reply: Reply, when: &str) {
        if reply.is_positive() {
            let text = format!("the next hop replied {reply} {when}");
            self.fail(local(Enhanced(4, 5, 0), text));
        } else {
            let to = self.asked();
            let cause = Cause::Reply { reply: reply.clone(), to: Some(to) };
            match mem::replace(&mut self.state, State::Closed) {
                State::Envelope(progress) => {
                    let outcomes = progress.finish(&self.hop, reply, to);
                    self.events.push_back(ClientEvent::Done(outcomes));
                }
                other => self.state = other,
            }
            self.close(Some(cause));
        }
    }

    /// Defers recipients without an outcome, and closes.
    pub(super) fn fail(&mut self, cause: Cause) {
        match mem::replace(&mut self.state, State::Closed) {
            State::Envelope(progress)
            | State::Message(progress, _)
            | State::EndOfData(progress) => {
                let outcomes = progress.abandon(&self.hop, cause.clone());
                self.events.push_back(ClientEvent::Done(outcomes));
                self.close(Some(cause));
            }
            // The result is known, and no other reply has contradicted it.
            State::Answered(progress) => {
                self.events.push_back(ClientEvent::Done(progress.outcomes(&self.hop)));
                self.close(Some(cause));
            }
            State::Leaving(progress) => {
                self.events.push_back(ClientEvent::Done(progress.outcomes(&self.hop)));
                self.close(None);
            }
            State::Quitting => self.close(None),
            State::Closed => {}
            State::Opening(_) | State::Ready | State::Resetting => self.close(Some(cause)),
        }
    }

    /// Gives the message up for good and closes.
    pub(super) fn refuse_message(&mut self, error: UnsafeMessage) {
        // X.6.0 of RFC 3463: something about the content.
        let cause = local(Enhanced(5, 6, 0), format!("{error} and is not sent"));
        match mem::replace(&mut self.state, State::Closed) {
            State::Message(progress, _) | State::EndOfData(progress) => {
                let outcomes = progress.give_up(&self.hop, cause);
                self.events.push_back(ClientEvent::Done(outcomes));
            }
            _ => {}
        }
        self.close(None);
    }

    pub(super) fn close(&mut self, cause: Option<Cause>) {
        self.state = State::Closed;
        self.deadline = None;
        // An announced Ready or handshake is no longer valid.
        self.events.retain(|event| !matches!(event, ClientEvent::Ready | ClientEvent::StartTls));
        self.events.push_back(ClientEvent::Closed(cause));
    }
}

/// A local cause. Its text may quote the next hop, so it has the length limit of a reply.
pub(super) fn local(status: Enhanced, text: impl Into<String>) -> Cause {
    let mut text = text.into();
    text.truncate(text.floor_char_boundary(limits::ANSWER_OCTETS));
    Cause::Local { status, text }
}

/// A reply is stored for every recipient that it refused, so its length is limited.
pub(super) fn truncate_text(reply: &mut Reply) {
    if reply.text.len() > limits::ANSWER_OCTETS {
        let end = reply.text.floor_char_boundary(limits::ANSWER_OCTETS);
        reply.text.to_mut().truncate(end);
    }
}
