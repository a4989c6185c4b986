//! The octets of a message and those of a refused chunk: the steps after they have arrived, and the
//! end of a message that is not needed any more.

use crate::state::SessionState;
use crate::{Action, Session, SessionEnding};
use bytes::Buf;
use relay_mail::envelope::Envelope;
use relay_mail::reply;
use relay_policy::{self, Decision};
use relay_smtp::command::CommandError;
use relay_smtp::command::Verb;
use relay_smtp::data::skip;

impl Session {
    pub(super) fn begin_message(&mut self, envelope: Envelope) {
        self.timers.ask_queue(self.now);
        self.output.push(Action::BeginMessage(envelope));
    }

    /// Acts as if the current message had this many octets in all. An explanation sends the header
    /// section only, because the body of the largest messages would need hours.
    pub fn imagine_message(&mut self, octets: u64) {
        if let SessionState::Receiving(reception) = &mut self.state {
            reception.imagine(&self.context, octets, &mut |action| self.output.push(action));
        }
    }

    pub(super) fn end_of_data(&mut self) {
        let SessionState::Receiving(mut reception) = self.state.take() else { return };
        self.timers.active(self.now);
        self.output.protocol.received(|| format!("{} octets", reception.octets()));
        self.context.summary.decisions.changes = reception.take_changes();
        self.context.summary.useless_octets += reception.discarded();
        self.context.summary.decisions.identity = reception.identity().clone();
        let act = &mut |action| self.output.push(action);
        let (waiting, decision) = reception.conclude(&self.context, act);
        if decision.reply.is_positive() {
            return self.screen(waiting, decision);
        }
        self.state = waiting.end();
        self.refuse_message(decision);
    }

    /// Have so many octets of a refused message arrived that the rest is not read? Then the client
    /// has got its reply, and the session has ended.
    pub(super) fn gives_up_message(&mut self) -> bool {
        let SessionState::Receiving(reception) = &self.state else { return false };
        let discarded = reception.discarded();
        if discarded == 0 || !self.context.summary.exceeds_useless(discarded, &self.context.peer) {
            return false;
        }
        self.end_of_data();
        self.close(SessionEnding::UselessOctets);
        true
    }

    /// The reply to a message that is not stored.
    pub(super) fn refuse_message(&mut self, decision: Decision) {
        let reply = self.note_message(decision);
        // Exchange closes after this reply: a client that sends such headers once sends them again.
        let closes = reply == reply::HEADER_TOO_LARGE;
        self.refuse(reply);
        if closes {
            self.close(SessionEnding::HeaderTooLarge);
        }
        self.leave_after_message();
    }

    /// A chunk has arrived that was not the last. If the message is already refused, the refusal is
    /// sent now: no further chunk of it is needed.
    pub(super) fn end_of_chunk(&mut self, octets: u64) {
        match self.state.take() {
            SessionState::Receiving(reception) if reception.is_open() => {
                self.timers.active(self.now);
                self.output.protocol.received(|| format!("{octets} octets"));
                let text = format!("{}, {octets} octets", reply::CHUNK_RECEIVED.text);
                self.output.reply(&reply::CHUNK_RECEIVED.with_text(text));
                self.state = SessionState::Chunking(reception);
            }
            other => {
                self.state = other;
                self.end_of_data();
                self.state.expect_more_chunks();
            }
        }
    }

    /// Continues to read a refused chunk. `false`: more octets are needed.
    pub(super) fn skip(&mut self) -> bool {
        let SessionState::Skipping(skipping) = &mut self.state else { return false };
        let summary = &mut self.context.summary;
        if skipping.remaining == skipping.octets {
            // Before the first octet: the client gets the reply at once that it would get at the
            // end.
            if summary.exceeds_useless(skipping.octets, &self.context.peer) {
                return self.give_up_chunk();
            }
            summary.useless_octets += skipping.octets;
        }
        let octets = skip(&mut skipping.remaining, self.input.len());
        self.input.advance(octets);
        if skipping.remaining > 0 {
            return false;
        }
        self.timers.active(self.now);
        if let SessionState::Skipping(skipping) = self.state.take() {
            self.output.protocol.received(|| format!("{} octets", skipping.octets));
            let (state, effect) = *skipping.then;
            self.state = state;
            self.carry_out(Verb::Bdat, effect);
            self.leave_after_message();
        }
        true
    }

    fn give_up_chunk(&mut self) -> bool {
        if let SessionState::Skipping(skipping) = self.state.take() {
            let (state, effect) = *skipping.then;
            self.state = state;
            self.carry_out(Verb::Bdat, effect);
            self.close(SessionEnding::UselessOctets);
        }
        true
    }

    /// A BDAT without a valid size, or one that is not offered. The octets after it cannot be
    /// distinguished from commands; an attempt would let a message give commands.
    pub(super) fn refuse_chunk_command(&mut self) {
        let error = CommandError::ChunkSize;
        let refusal = match self.context.peer.connector.extensions.chunking_enabled {
            true => relay_policy::malformed(error.reply(), &error),
            false => relay_policy::unknown_bdat(),
        };
        self.protocol_error(error.verb(), refusal);
        self.close(SessionEnding::ChunkSize);
    }

    /// Drops an open message. A message that is being committed may still be stored: then the
    /// client, which has not seen our 250, sends it again.
    pub(super) fn abandon(&mut self) {
        let is_open = match &self.state {
            SessionState::Chunking(reception) | SessionState::Receiving(reception) => {
                reception.is_open()
            }
            SessionState::Screening(_)
            | SessionState::WaitingForQueue(_)
            | SessionState::WaitingForStore(_) => true,
            _ => false,
        };
        if is_open {
            self.output.push(Action::AbandonMessage);
        }
    }
}
