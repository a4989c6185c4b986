//! The sending side of a session: bytes and `now` come in, bytes and events go out.
//!
//! It decides what to say next to a next hop and what its replies mean for each recipient. It
//! leaves sockets, name lookup and the reading of the message to `delivery`.
//!
//! The driver's part: write what [`Session::poll_output`] gives, hand in what arrives, call
//! [`Session::handle_timeout`] at [`Session::deadline`], act on [`Session::poll_event`], and read what
//! else has come where [`Session::is_answered`].

mod answered;
mod auth;
mod body;
mod capabilities;
mod dot;
mod ending;
mod opening;
mod reply;
#[cfg(test)]
mod tests;
mod timeouts;
mod transaction;

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use crate::client::answered::{is_of_another_command, unasked};
use crate::client::body::BodyWriter;
use crate::client::ending::{local, shorten};
use crate::client::opening::Stage;
use crate::client::transaction::{Command, Progress};
use bytes::Bytes;
use relay_mail::outcome::Asked;
use relay_mail::outcome::{Cause, Outcome};
use relay_mail::path::ForwardPath;
use relay_mail::protocol::Protocol;
use relay_mail::reply::{Enhanced, Reply};

pub use crate::client::auth::{Credentials, Mechanisms, Secret};
pub use crate::client::capabilities::{Capabilities, SizeLimit};
pub use crate::client::dot::{DotStuffer, UnsafeMessage};
pub use crate::client::opening::{Encryption, Opening};
pub use crate::client::reply::{ReplyError, ReplyParser};
pub use crate::client::timeouts::Timeouts;
pub use crate::client::transaction::{MailRefusal, Transaction, is_lack, says_too_many_recipients};

/// What the driver must know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The TLS handshake is due: [`Session::handle_encrypted`] once it is done, or
    /// [`Session::handle_failed_handshake`]. Nothing more is read or written in plain text.
    StartTls,
    /// A transaction may begin, or QUIT.
    Ready,
    /// The message is wanted: [`Session::send_message`] until [`Session::end_message`].
    SendMessage,
    /// The transaction has ended, with one outcome for each of its recipients.
    Done(Vec<Outcome>),
    /// The connection is of no more use. The cause, unless we ended it ourselves.
    Closed(Option<Cause>),
}

/// One connection to a next hop.
#[derive(Debug)]
pub struct Session {
    /// The next hop's name for logs and reports.
    hop: String,
    opening: Opening,
    timeouts: Timeouts,
    state: State,
    encrypted: bool,
    capabilities: Capabilities,
    parser: ReplyParser,
    output: Vec<u8>,
    /// The driver has not yet written all that it was given.
    unwritten: bool,
    events: VecDeque<Event>,
    deadline: Option<Instant>,
    misled: bool,
    mail_refusal: Option<MailRefusal>,
    broke_off_at: Option<usize>,
    balked_at_start_tls: bool,
}

#[derive(Debug)]
enum State {
    Opening(Stage),
    Ready,
    /// MAIL, RCPT and, without CHUNKING, DATA are under way.
    Envelope(Progress),
    Message(Progress, BodyWriter),
    EndOfData(Progress),
    /// Every recipient has its reply, and what else has come is still to be read.
    Answered(Progress),
    /// The same, and the reply to the QUIT behind the message will show that none is missing.
    Leaving(Progress),
    Resetting,
    Quitting,
    Closed,
}

impl Session {
    /// A connection has just been made; the next hop speaks first, or with implicit TLS the
    /// handshake is due.
    pub fn new(hop: &str, opening: Opening, timeouts: Timeouts, now: Instant) -> Self {
        let (stage, events) = match opening.encryption {
            Encryption::Implicit => (Stage::Handshake, VecDeque::from([Event::StartTls])),
            _ => (Stage::Greeting, VecDeque::new()),
        };
        Self {
            hop: hop.to_owned(),
            opening,
            timeouts,
            state: State::Opening(stage),
            encrypted: false,
            capabilities: Capabilities::default(),
            parser: ReplyParser::default(),
            output: Vec::new(),
            unwritten: false,
            events,
            deadline: Some(now + timeouts.greeting),
            misled: false,
            mail_refusal: None,
            broke_off_at: None,
            balked_at_start_tls: false,
        }
    }

    /// Bytes to write, if there are any. Once they are written, [`Session::handle_written`].
    pub fn poll_output(&mut self) -> Option<Bytes> {
        let output = mem::take(&mut self.output);
        self.unwritten |= !output.is_empty();
        if output.is_empty() { None } else { Some(output.into()) }
    }

    /// All that [`Session::poll_output`] gave has been written.
    pub fn handle_written(&mut self) {
        self.unwritten = false;
    }

    /// What the driver must know next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Is there something that the driver must know?
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Nothing more will be said or heard.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When [`Session::handle_timeout`] must be called. Part of a reply does not put it off.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// What the next hop offers.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Did the next hop offer PIPELINING and fall silent or go away while commands waited for their
    /// replies, or offer CHUNKING and not know BDAT? Then it may bear [`Opening::plainly`].
    pub fn was_misled(&self) -> bool {
        self.misled
    }

    /// How MAIL of the last transaction was refused, if it was.
    pub fn mail_refusal(&self) -> Option<MailRefusal> {
        self.mail_refusal
    }

    /// At which recipient of the last transaction the next hop ended the connection, by 421 or a close
    /// in place of the reply to its RCPT.
    pub fn broke_off_at_recipient(&self) -> Option<usize> {
        self.broke_off_at
    }

    /// Did the next hop offer STARTTLS, and go away or speak nonsense in place of a reply to it? Then
    /// nothing more can be said on this connection, and TLS has failed as in a handshake. Silence is
    /// no such answer: the next hop may be silent without TLS too.
    pub fn balked_at_start_tls(&self) -> bool {
        self.balked_at_start_tls
    }

    /// Begins a transaction; only after [`Event::Ready`]. A message that the next hop cannot
    /// take is refused here, for good, without a word to it.
    pub fn begin(&mut self, transaction: Transaction, now: Instant) {
        self.mail_refusal = None;
        self.broke_off_at = None;
        if !matches!(self.state, State::Ready) {
            let cause = local(Enhanced(4, 3, 0), "a transaction was begun out of turn");
            let outcomes = Progress::new(transaction, &self.capabilities).abandon(&self.hop, cause);
            self.events.push_back(Event::Done(outcomes));
            return;
        }
        if let Some(cause) = transaction.lacks(&self.capabilities) {
            let outcomes = Progress::new(transaction, &self.capabilities).give_up(&self.hop, cause);
            self.events.extend([Event::Done(outcomes), Event::Ready]);
            return;
        }
        let mut progress = Progress::new(transaction, &self.capabilities);
        progress.settle_unnamed(&self.hop, &self.capabilities);
        progress.write(&self.capabilities, &mut self.output);
        self.set_deadline(now, progress.awaited());
        self.state = State::Envelope(progress);
    }

    /// Asks whether mail for this recipient would be taken; only after [`Event::Ready`]. The outcome
    /// is that of RCPT; when MAIL is refused, for whatever reason, that says nothing of the
    /// recipient, which is then put off.
    pub fn ask(&mut self, recipient: ForwardPath, now: Instant) {
        if !matches!(self.state, State::Ready) {
            return;
        }
        let mut progress = Progress::question(recipient);
        progress.write(&self.capabilities, &mut self.output);
        self.set_deadline(now, progress.awaited());
        self.state = State::Envelope(progress);
    }

    /// Sends a piece of the message; only after [`Event::SendMessage`]. A message with a bare CR,
    /// a bare LF or a NUL is given up for good: the connection closes without an end of data.
    pub fn send_message(&mut self, piece: &[u8], now: Instant) {
        if let State::Message(progress, writer) = &mut self.state {
            self.deadline = Some(now + self.timeouts.data_block);
            let before = self.output.len();
            match writer.write(piece, &mut self.output) {
                Ok(false) => {}
                Ok(true) => progress.await_chunk(),
                Err(error) => {
                    self.output.truncate(before);
                    self.refuse_message(error);
                }
            }
        }
    }

    /// Ends the message; only after [`Event::SendMessage`].
    pub fn end_message(&mut self, now: Instant) {
        match mem::replace(&mut self.state, State::Closed) {
            State::Message(progress, writer) => {
                let before = self.output.len();
                let finished = writer.finish(&mut self.output);
                self.await_end(progress, now);
                if let Err(error) = finished {
                    self.output.truncate(before);
                    self.refuse_message(error);
                }
            }
            other => self.state = other,
        }
    }

    /// The rest of the message cannot be had. The connection closes without an end of data, so
    /// that nothing of it counts, and the message is deferred.
    pub fn abort_message(&mut self, text: &str) {
        self.fail(local(Enhanced(4, 3, 0), text));
    }

    /// The attempt ends for a reason of ours. The connection closes, and what is unsettled is
    /// deferred. After the end of data, see [`Session::awaits_end_of_data`], that is a duplicate.
    pub fn cut_off(&mut self) {
        let mut text = format!("the attempt was cut off {}", self.stage());
        if self.awaits_end_of_data() {
            text += ", before the reply: the message may be delivered already, and is sent again";
        }
        // X.3.2 of RFC 3463: what is said by a system that shuts down.
        self.fail(local(Enhanced(4, 3, 2), text));
    }

    /// The whole message has been sent, and the reply to it is awaited. The next hop may have
    /// taken it.
    pub fn awaits_end_of_data(&self) -> bool {
        matches!(self.state, State::EndOfData(_) | State::Answered(_) | State::Leaving(_))
    }

    /// Ends the connection politely; only after [`Event::Ready`].
    pub fn quit(&mut self, now: Instant) {
        if matches!(self.state, State::Ready) {
            self.output.extend_from_slice(b"QUIT\r\n");
            self.deadline = Some(now + self.timeouts.quit);
            self.state = State::Quitting;
        }
    }

    /// Takes bytes from the next hop.
    pub fn handle_bytes(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() && !matches!(self.state, State::Closed) {
            if matches!(self.state, State::Opening(Stage::Handshake)) {
                return self.refuse_plain_text();
            }
            match self.parser.parse(&mut bytes) {
                // What follows would be taken for the replies to other commands than it is for.
                Ok(Some(reply)) if !self.has_asked() && reply.code != 421 => {
                    self.fail(unasked(&reply));
                }
                Ok(Some(reply)) => self.handle_reply(reply, now),
                Ok(None) => return,
                Err(error) => {
                    self.balk();
                    // X.5.0 of RFC 3463: what was said is no SMTP.
                    let text = format!("the next hop's reply cannot be understood: {error}");
                    let text = self.with_what_was_heard(text);
                    self.fail(local(Enhanced(4, 5, 0), text));
                }
            }
        }
    }

    /// The next hop has closed the connection, or it has broken.
    pub fn handle_closed(&mut self, why: &str) {
        self.balk();
        self.broke_off_at = self.awaited_recipient();
        let text = format!("the connection was lost {}: {why}", self.stage());
        let text = self.with_what_was_heard(text);
        self.suspect_pipelining();
        self.fail(local(Enhanced(4, 4, 2), text));
    }

    /// Gives up once the deadline has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| now >= deadline) {
            let text = format!("the next hop did not answer in time {}", self.stage());
            let text = self.with_what_was_heard(text);
            self.suspect_pipelining();
            self.fail(local(Enhanced(4, 4, 2), text));
        }
    }

    /// The connection ends by what the next hop does.
    fn balk(&mut self) {
        self.balked_at_start_tls |= matches!(self.state, State::Opening(Stage::StartTls));
    }

    /// Adds the next hop's own words, where they made no reply.
    fn with_what_was_heard(&self, text: String) -> String {
        match self.parser.heard() {
            Some(heard) => format!("{text}; it said: {heard}"),
            None => text,
        }
    }

    /// A server, or something before it, may throw away what comes behind a command.
    fn suspect_pipelining(&mut self) {
        if let State::Envelope(progress) = &mut self.state
            && self.capabilities.pipelining
        {
            self.misled = true;
            progress.breaks_off();
        }
    }

    fn handle_reply(&mut self, mut reply: Reply, now: Instant) {
        let state = mem::replace(&mut self.state, State::Closed);
        // RFC 5321 section 3.8: 421 may come at any stage and says that the channel closes.
        if reply.code == 421 && !matches!(state, State::Quitting) {
            shorten(&mut reply);
            self.state = state;
            self.balk();
            self.broke_off_at = self.awaited_recipient();
            let to = Some(self.asked());
            return self.fail(Cause::Reply { reply, to });
        }
        match state {
            State::Opening(stage) => self.handle_opening(stage, reply, now),
            // What was sent behind BDAT is being read as commands now.
            State::Message(progress, _) | State::EndOfData(progress)
                if progress.is_in_chunks() && matches!(reply.code, 500 | 502 | 503) =>
            {
                self.misled = true;
                self.state = State::Envelope(progress);
                let text = format!("the next hop offers CHUNKING and replied {reply} to BDAT");
                self.fail(local(Enhanced(4, 5, 0), text));
            }
            State::Envelope(progress) => {
                shorten(&mut reply);
                self.handle_envelope(progress, reply, now);
            }
            State::Message(mut progress, writer)
                if progress.awaits_chunk() && reply.code / 100 == 2 =>
            {
                progress.chunk_taken();
                self.state = State::Message(progress, writer);
            }
            State::Message(progress, _) => {
                shorten(&mut reply);
                self.state = State::Envelope(progress);
                self.fail_with_reply(reply, "before the end of data");
            }
            State::EndOfData(progress) if self.unwritten && !progress.awaits_chunk() => {
                shorten(&mut reply);
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
                shorten(&mut reply);
                self.state = State::Envelope(progress);
                self.fail_with_reply(reply, "to a chunk");
            }
            State::EndOfData(progress) => {
                shorten(&mut reply);
                self.handle_end(progress, &reply, now);
            }
            State::Answered(progress) | State::Leaving(progress)
                if progress.contradicts(&reply) =>
            {
                shorten(&mut reply);
                self.doubt(progress, &reply);
            }
            State::Answered(mut progress) => {
                progress.has_surplus = true;
                self.state = State::Answered(progress);
            }
            State::Leaving(progress) if reply.code != 221 => self.state = State::Leaving(progress),
            State::Leaving(progress) => {
                self.events.push_back(Event::Done(progress.outcomes(&self.hop)));
                self.close(None);
            }
            State::Resetting if reply.code / 100 == 2 && !is_of_another_command(reply.code) => {
                self.become_ready();
            }
            State::Quitting => self.close(None),
            State::Ready => self.close(Some(unasked(&reply))),
            State::Resetting => {
                shorten(&mut reply);
                self.close(Some(Cause::Reply { reply, to: Some(Asked::Reset) }));
            }
            State::Closed => {}
        }
    }

    fn handle_envelope(&mut self, mut progress: Progress, reply: Reply, now: Instant) {
        let step = progress.handle_reply(&self.hop, reply);
        self.mail_refusal = self.mail_refusal.or(progress.refusal);
        match step {
            transaction::Step::Wait => {
                progress.write(&self.capabilities, &mut self.output);
                self.set_deadline(now, progress.awaited());
                self.state = State::Envelope(progress);
            }
            transaction::Step::SendMessage => {
                self.deadline = Some(now + self.timeouts.data_block);
                let writer = progress.body_writer();
                self.state = State::Message(progress, writer);
                self.events.push_back(Event::SendMessage);
            }
            transaction::Step::SendNothing if self.opening.protocol == Protocol::Lmtp => {
                self.state = State::Envelope(progress);
                // RFC 2033 section 4.2 forbids it, and no reply would end such a message.
                let text = "the next hop wants a message that it has no recipient for";
                self.fail(local(Enhanced(4, 5, 0), text));
            }
            transaction::Step::SendNothing if progress.has_accepted_one() => {
                self.state = State::Envelope(progress);
                // It refused the sender and took recipients all the same: an end of data would
                // give them an empty message.
                let text = "the next hop wants a message whose sender it refused";
                self.fail(local(Enhanced(4, 5, 0), text));
            }
            transaction::Step::SendNothing => {
                // RFC 2920 section 3.1: DATA that was pipelined behind refused recipients may be
                // accepted all the same; the end of data alone gets out of it.
                self.output.extend_from_slice(b".\r\n");
                self.await_end(progress, now);
            }
            transaction::Step::Reset => {
                self.output.extend_from_slice(b"RSET\r\n");
                self.deadline = Some(now + self.timeouts.mail);
                self.state = State::Resetting;
                self.events.push_back(Event::Done(progress.outcomes(&self.hop)));
            }
            transaction::Step::Nonsense(reply) => {
                self.state = State::Envelope(progress);
                // A reply too many, or one too few, may be why it stands at the wrong command.
                self.suspect_pipelining();
                self.fail_with_reply(reply, "where no such code is allowed");
            }
        }
    }

    fn become_ready(&mut self) {
        // Nobody waits for a reply now; the driver decides how long an idle connection is kept.
        self.deadline = None;
        self.state = State::Ready;
        self.events.push_back(Event::Ready);
    }

    fn set_deadline(&mut self, now: Instant, awaited: Option<Command>) {
        let wait = match awaited {
            Some(Command::Recipient(_)) => self.timeouts.recipient,
            Some(Command::Data) => self.timeouts.data_initiation,
            Some(Command::Mail) | None => self.timeouts.mail,
        };
        self.deadline = Some(now + wait);
    }

    /// The recipient whose reply comes next.
    fn awaited_recipient(&self) -> Option<usize> {
        let State::Envelope(progress) = &self.state else { return None };
        match progress.awaited() {
            Some(Command::Recipient(place)) => Some(place),
            Some(Command::Mail | Command::Data) | None => None,
        }
    }

    /// What a reply that comes now is to.
    fn asked(&self) -> Asked {
        match &self.state {
            State::Opening(stage) => stage.asked(),
            State::Envelope(progress) => match progress.awaited() {
                Some(Command::Mail) => Asked::Mail,
                Some(Command::Recipient(_)) => Asked::Rcpt,
                Some(Command::Data) => Asked::Data,
                // All replies have come: what follows is about the message that was to follow.
                None => Asked::Message,
            },
            State::Message(..) | State::EndOfData(_) | State::Answered(_) => Asked::Message,
            State::Resetting => Asked::Reset,
            State::Ready | State::Leaving(_) | State::Quitting | State::Closed => Asked::Nothing,
        }
    }

    /// Where the session stands, for the sentence that a report quotes.
    fn stage(&self) -> &'static str {
        match &self.state {
            State::Opening(stage) => stage.name(),
            State::Ready => "between two messages",
            State::Envelope(progress) => match progress.awaited() {
                Some(Command::Recipient(_)) => "after RCPT",
                Some(Command::Data) => "after DATA",
                Some(Command::Mail) | None => "after MAIL",
            },
            State::Message(..) => "within the message",
            State::EndOfData(_) | State::Answered(_) => "after the end of data",
            State::Resetting => "after RSET",
            State::Leaving(_) | State::Quitting | State::Closed => "after QUIT",
        }
    }
}
