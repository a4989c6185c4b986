//! The sending side of a session. Its input is octets and `now`; its output is octets and events.
//!
//! This module decides the next command to a next hop, and the meaning of replies for each
//! recipient. Sockets, name look-ups and reading the message are the business of `delivery`.
//!
//! The driver must write the octets of [`ClientSession::poll_output`], pass on received octets,
//! call [`ClientSession::handle_timeout`] at [`ClientSession::deadline`], handle
//! [`ClientSession::poll_event`], and read all received octets when [`ClientSession::is_answered`].

mod answered;
mod auth;
mod body;
mod capabilities;
mod dot;
mod ending;
mod opening;
mod position;
mod progress;
mod replies;
mod reply;
#[cfg(test)]
mod tests;
mod timeouts;
mod transaction;

use std::collections::VecDeque;
use std::mem;
use std::time::Instant;

use crate::client::answered::unasked;
use crate::client::body::BodyWriter;
use crate::client::ending::local;
use crate::client::opening::Stage;
use crate::client::progress::{ClientCommand, TransactionProgress};
use bytes::Bytes;
use relay_mail::outcome::{Cause, Outcome};
use relay_mail::path::ForwardPath;
use relay_mail::reply::Enhanced;

pub use crate::client::auth::{ClientSecret, NextHopCredentials};
pub use crate::client::capabilities::{Capabilities, Mechanisms, SizeLimit};
pub use crate::client::dot::{DotStuffer, UnsafeMessage};
pub use crate::client::opening::{ClientOpening, NextHopTls};
pub use crate::client::reply::{ReplyError, ReplyParser};
pub use crate::client::timeouts::Timeouts;
pub use crate::client::transaction::{
    MailRefusal, Transaction, is_missing_extension, says_too_many_recipients,
};

/// Events for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientEvent {
    /// The TLS handshake is due: call [`ClientSession::handle_encrypted`] after it, or
    /// [`ClientSession::handle_failed_handshake`]. Nothing more is read or written in plain text.
    StartTls,
    /// A transaction may begin, or QUIT.
    Ready,
    /// The message can be sent: [`ClientSession::send_message`] until
    /// [`ClientSession::end_message`].
    SendMessage,
    /// The transaction has ended, with one outcome for each of its recipients.
    Done(Vec<Outcome>),
    /// The connection cannot be used any more. With the cause, unless we ended it ourselves.
    Closed(Option<Cause>),
}

/// One connection to a next hop.
#[derive(Debug)]
pub struct ClientSession {
    /// The next hop's name for logs and reports.
    hop: String,
    opening: ClientOpening,
    timeouts: Timeouts,
    state: State,
    encrypted: bool,
    capabilities: Capabilities,
    parser: ReplyParser,
    output: Vec<u8>,
    /// The driver has not yet written all that it was given.
    unwritten: bool,
    events: VecDeque<ClientEvent>,
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
    Envelope(TransactionProgress),
    Message(TransactionProgress, BodyWriter),
    EndOfData(TransactionProgress),
    /// Every recipient has its reply, and the octets after it must still be read.
    Answered(TransactionProgress),
    /// The same, and the reply to the QUIT after the message will show that no reply is missing.
    Leaving(TransactionProgress),
    Resetting,
    Quitting,
    Closed,
}

impl ClientSession {
    /// A connection was just opened; the next hop sends its greeting first, or with implicit TLS
    /// the handshake is due.
    pub fn new(hop: &str, opening: ClientOpening, timeouts: Timeouts, now: Instant) -> Self {
        let (stage, events) = match opening.encryption {
            NextHopTls::Implicit => (Stage::Handshake, VecDeque::from([ClientEvent::StartTls])),
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

    /// Octets to write, if there are any. After writing them, call
    /// [`ClientSession::handle_written`].
    pub fn poll_output(&mut self) -> Option<Bytes> {
        let output = mem::take(&mut self.output);
        self.unwritten |= !output.is_empty();
        if output.is_empty() { None } else { Some(output.into()) }
    }

    /// All octets of [`ClientSession::poll_output`] have been written.
    pub fn handle_written(&mut self) {
        self.unwritten = false;
    }

    /// The next event for the driver.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Is there something that the driver must know?
    pub fn has_event(&self) -> bool {
        !self.events.is_empty()
    }

    /// Nothing more will be sent or received.
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When [`ClientSession::handle_timeout`] must be called. A part of a reply does not extend it.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The extensions of the next hop.
    pub fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// Did the next hop offer PIPELINING and fall silent or disconnect while commands waited for
    /// their replies, or offer CHUNKING and not know BDAT? Then [`ClientOpening::use_basic_smtp`]
    /// may succeed.
    pub fn was_misled(&self) -> bool {
        self.misled
    }

    /// How MAIL of the last transaction was refused, if it was.
    pub fn mail_refusal(&self) -> Option<MailRefusal> {
        self.mail_refusal
    }

    /// The recipient of the last transaction at which the next hop ended the connection, by 421 or
    /// by closing it instead of the reply to its RCPT.
    pub fn broke_off_at_recipient(&self) -> Option<usize> {
        self.broke_off_at
    }

    /// Did the next hop offer STARTTLS, and disconnect or send an invalid reply to it? Then this
    /// connection cannot be used, and TLS has failed as in a handshake. Silence does not count: the
    /// next hop may be silent without TLS too.
    pub fn failed_at_start_tls(&self) -> bool {
        self.balked_at_start_tls
    }

    /// Begins a transaction; only after [`ClientEvent::Ready`]. If the next hop lacks a needed
    /// extension, the message is refused permanently here, before any command is sent.
    pub fn begin(&mut self, transaction: Transaction, now: Instant) {
        self.mail_refusal = None;
        self.broke_off_at = None;
        if !matches!(self.state, State::Ready) {
            let cause = local(Enhanced(4, 3, 0), "a transaction was begun out of turn");
            let outcomes =
                TransactionProgress::new(transaction, &self.capabilities).abandon(&self.hop, cause);
            self.events.push_back(ClientEvent::Done(outcomes));
            return;
        }
        if let Some(cause) = transaction.missing_extension(&self.capabilities) {
            let outcomes =
                TransactionProgress::new(transaction, &self.capabilities).give_up(&self.hop, cause);
            self.events.extend([ClientEvent::Done(outcomes), ClientEvent::Ready]);
            return;
        }
        let mut progress = TransactionProgress::new(transaction, &self.capabilities);
        progress.fail_unsendable_recipients(&self.hop, &self.capabilities);
        progress.write(&self.capabilities, &mut self.output);
        self.set_deadline(now, progress.awaited());
        self.state = State::Envelope(progress);
    }

    /// Asks whether mail for this recipient would be accepted; only after [`ClientEvent::Ready`].
    /// The outcome is that of RCPT. If MAIL is refused for any reason, that says nothing about the
    /// recipient, which is then deferred.
    pub fn ask(&mut self, recipient: ForwardPath, now: Instant) {
        if !matches!(self.state, State::Ready) {
            return;
        }
        let mut progress = TransactionProgress::recipient_verification(recipient);
        progress.write(&self.capabilities, &mut self.output);
        self.set_deadline(now, progress.awaited());
        self.state = State::Envelope(progress);
    }

    /// Sends a piece of the message; only after [`ClientEvent::SendMessage`]. A message with a bare
    /// CR, a bare LF or a NUL fails permanently: the connection closes without an end of data.
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

    /// Ends the message; only after [`ClientEvent::SendMessage`].
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

    /// The rest of the message cannot be read. The connection closes without an end of data, so
    /// that the next hop discards it, and the message is deferred.
    pub fn abort_message(&mut self, text: &str) {
        self.fail(local(Enhanced(4, 3, 0), text));
    }

    /// Ends the attempt for a local reason. The connection closes, and recipients without an
    /// outcome are deferred. After the end of data (see [`ClientSession::awaits_end_of_data`]), the
    /// message may be delivered twice.
    pub fn cut_off(&mut self) {
        let mut text = format!("the attempt was stopped {}", self.stage());
        if self.awaits_end_of_data() {
            text += ", before the reply: the message may be delivered already, and is sent again";
        }
        // X.3.2 of RFC 3463: the system is shutting down.
        self.fail(local(Enhanced(4, 3, 2), text));
    }

    /// The whole message was sent, and its reply is awaited. The next hop may have accepted it.
    pub fn awaits_end_of_data(&self) -> bool {
        matches!(self.state, State::EndOfData(_) | State::Answered(_) | State::Leaving(_))
    }

    /// Ends the connection with QUIT; only after [`ClientEvent::Ready`].
    pub fn quit(&mut self, now: Instant) {
        if matches!(self.state, State::Ready) {
            self.output.extend_from_slice(b"QUIT\r\n");
            self.deadline = Some(now + self.timeouts.quit);
            self.state = State::Quitting;
        }
    }

    /// Handles octets from the next hop.
    pub fn handle_bytes(&mut self, mut bytes: &[u8], now: Instant) {
        while !bytes.is_empty() && !matches!(self.state, State::Closed) {
            if matches!(self.state, State::Opening(Stage::Handshake)) {
                return self.refuse_plain_text();
            }
            match self.parser.parse(&mut bytes) {
                // Later replies would count for the wrong commands.
                Ok(Some(reply)) if !self.has_asked() && reply.code != 421 => {
                    self.fail(unasked(&reply));
                }
                Ok(Some(reply)) => self.handle_reply(reply, now),
                Ok(None) => return,
                Err(error) => {
                    self.balk();
                    // X.5.0 of RFC 3463: the octets are not SMTP.
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

    /// The next hop has ended the connection.
    fn balk(&mut self) {
        self.balked_at_start_tls |= matches!(self.state, State::Opening(Stage::StartTls));
    }

    /// Adds the next hop's own words, where they made no reply.
    fn with_what_was_heard(&self, text: String) -> String {
        match self.parser.received_text() {
            Some(heard) => format!("{text}; it said: {heard}"),
            None => text,
        }
    }

    /// A server, or a device before it, may drop octets after a command.
    fn suspect_pipelining(&mut self) {
        if let State::Envelope(progress) = &mut self.state
            && self.capabilities.pipelining
        {
            self.misled = true;
            progress.handle_end_of_replies();
        }
    }

    fn become_ready(&mut self) {
        // No reply is awaited now; the driver decides how long an idle connection is kept.
        self.deadline = None;
        self.state = State::Ready;
        self.events.push_back(ClientEvent::Ready);
    }

    fn set_deadline(&mut self, now: Instant, awaited: Option<ClientCommand>) {
        let wait = match awaited {
            Some(ClientCommand::Recipient(_)) => self.timeouts.recipient,
            Some(ClientCommand::Data) => self.timeouts.data_initiation,
            Some(ClientCommand::Mail) | None => self.timeouts.mail,
        };
        self.deadline = Some(now + wait);
    }
}
