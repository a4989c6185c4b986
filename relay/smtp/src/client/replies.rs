//! What is the step after a reply, in each state of the session?

use std::mem;
use std::time::Instant;

use relay_mail::outcome::{AnsweredCommand, Cause};
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::reply::{Enhanced, Reply};

use super::answered::unasked;
use super::ending::{local, truncate_text};
use super::progress::{TransactionProgress, TransactionStep};
use super::reply::is_of_another_command;
use super::{ClientEvent, ClientSession, State};

impl ClientSession {
    pub(super) fn handle_reply(&mut self, mut reply: Reply, now: Instant) {
        let state = mem::replace(&mut self.state, State::Closed);
        // RFC 5321 section 3.8: 421 may arrive at any stage and announces the end of the
        // connection.
        if reply.code == 421 && !matches!(state, State::Quitting) {
            truncate_text(&mut reply);
            self.state = state;
            self.balk();
            self.broke_off_at = self.awaited_recipient();
            let to = Some(self.asked());
            return self.fail(Cause::Reply { reply, to });
        }
        match state {
            State::Opening(stage) => self.handle_opening(stage, reply, now),
            // The server is reading the octets after BDAT as commands.
            State::Message(progress, _) | State::EndOfData(progress)
                if progress.is_in_chunks() && matches!(reply.code, 500 | 502 | 503) =>
            {
                self.misled = true;
                self.state = State::Envelope(progress);
                let text = format!("the next hop offers CHUNKING and replied {reply} to BDAT");
                self.fail(local(Enhanced(4, 5, 0), text));
            }
            State::Envelope(progress) => {
                truncate_text(&mut reply);
                self.handle_envelope(progress, reply, now);
            }
            State::Message(mut progress, writer)
                if progress.awaits_chunk() && reply.code / 100 == 2 =>
            {
                progress.chunk_taken();
                self.state = State::Message(progress, writer);
            }
            State::Message(progress, _) => {
                truncate_text(&mut reply);
                self.state = State::Envelope(progress);
                self.fail_with_reply(reply, "before the end of data");
            }
            State::EndOfData(progress) if self.unwritten && !progress.awaits_chunk() => {
                truncate_text(&mut reply);
                self.state = State::Envelope(progress);
                self.fail_with_reply(reply, "before the end of data");
            }
            State::EndOfData(progress)
                if reply.code / 100 == 3 || is_of_another_command(reply.code) =>
            {
                self.state = State::EndOfData(progress);
                let text = format!("the next hop replied {reply} to the end of data");
                self.fail(local(Enhanced(4, 5, 0), text));
            }
            State::EndOfData(mut progress) if progress.awaits_chunk() => {
                if reply.code / 100 == 2 {
                    progress.chunk_taken();
                    self.state = State::EndOfData(progress);
                    return;
                }
                // The replies to the chunks after it are of no more use.
                truncate_text(&mut reply);
                self.state = State::Envelope(progress);
                self.fail_with_reply(reply, "to a chunk");
            }
            State::EndOfData(progress) => {
                truncate_text(&mut reply);
                self.handle_end(progress, &reply, now);
            }
            State::Answered(progress) | State::Leaving(progress)
                if progress.contradicts(&reply) =>
            {
                truncate_text(&mut reply);
                self.handle_contradiction(progress, &reply);
            }
            State::Answered(mut progress) => {
                progress.has_surplus = true;
                self.state = State::Answered(progress);
            }
            State::Leaving(progress) if reply.code != 221 => self.state = State::Leaving(progress),
            State::Leaving(progress) => {
                self.events.push_back(ClientEvent::Done(progress.outcomes(&self.hop)));
                self.close(None);
            }
            State::Resetting if reply.code / 100 == 2 && !is_of_another_command(reply.code) => {
                self.become_ready();
            }
            State::Quitting => self.close(None),
            State::Ready => self.close(Some(unasked(&reply))),
            State::Resetting => {
                truncate_text(&mut reply);
                self.close(Some(Cause::Reply { reply, to: Some(AnsweredCommand::Reset) }));
            }
            State::Closed => {}
        }
    }

    fn handle_envelope(&mut self, mut progress: TransactionProgress, reply: Reply, now: Instant) {
        let step = progress.handle_reply(&self.hop, reply);
        self.mail_refusal = self.mail_refusal.or(progress.refusal);
        match step {
            TransactionStep::Wait => {
                progress.write(&self.capabilities, &mut self.output);
                self.set_deadline(now, progress.awaited());
                self.state = State::Envelope(progress);
            }
            TransactionStep::SendMessage => {
                self.deadline = Some(now + self.timeouts.data_block);
                let writer = progress.body_writer();
                self.state = State::Message(progress, writer);
                self.events.push_back(ClientEvent::SendMessage);
            }
            TransactionStep::SendNothing if self.opening.protocol == DeliveryProtocol::Lmtp => {
                self.state = State::Envelope(progress);
                // RFC 2033 section 4.2 forbids it, and no reply would end such a message.
                let text = "the next hop expects a message without an accepted recipient";
                self.fail(local(Enhanced(4, 5, 0), text));
            }
            TransactionStep::SendNothing if progress.has_accepted_one() => {
                self.state = State::Envelope(progress);
                // The next hop refused the sender and accepted recipients nevertheless: an end of
                // data would send them an empty message.
                let text = "the next hop expects a message whose sender it refused";
                self.fail(local(Enhanced(4, 5, 0), text));
            }
            TransactionStep::SendNothing => {
                // RFC 2920 section 3.1: DATA that was pipelined after refused recipients may be
                // accepted nevertheless; only an end of data leaves that state.
                self.output.extend_from_slice(b".\r\n");
                self.await_end(progress, now);
            }
            TransactionStep::Reset => {
                self.output.extend_from_slice(b"RSET\r\n");
                self.deadline = Some(now + self.timeouts.mail);
                self.state = State::Resetting;
                self.events.push_back(ClientEvent::Done(progress.outcomes(&self.hop)));
            }
            TransactionStep::Nonsense(reply) => {
                self.state = State::Envelope(progress);
                // A reply too many, or one too few, may be the reason for the wrong command.
                self.suspect_pipelining();
                self.fail_with_reply(reply, "where no such code is allowed");
            }
        }
    }
}
