//! One message to one next hop: what is sent, what is awaited, and what each recipient got.

use std::collections::VecDeque;

use crate::client::answered::is_of_another_command;
use crate::client::body::BodyWriter;
use crate::client::{Capabilities, SizeLimit};
use relay_mail::dsn::{Addressee, MailDsn, RcptDsn};
use relay_mail::outcome::Asked;
use relay_mail::outcome::{Answer, Cause, Outcome};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::reply::{Enhanced, Reply};

/// X.6.7 of RFC 5248: non-ASCII addresses are not permitted.
const LACKS_SMTPUTF8: Enhanced = Enhanced(5, 6, 7);
/// X.6.1 of RFC 3463: media not supported.
const LACKS_BINARYMIME: Enhanced = Enhanced(5, 6, 1);
/// X.6.3 of RFC 3463: conversion required but not supported.
const LACKS_8BITMIME: Enhanced = Enhanced(5, 6, 3);
/// X.3.4 of RFC 3463: message too big for system.
const TOO_LARGE: Enhanced = Enhanced(5, 3, 4);

/// The envelope of a message and what it needs from the next hop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The argument of MAIL.
    pub sender: ReversePath,
    /// RET and ENVID of MAIL.
    pub dsn: MailDsn,
    /// The arguments of RCPT.
    pub recipients: Vec<Addressee>,
    /// The message as it is sent, in octets.
    pub size: u64,
    /// Its last line has no CRLF, so that DATA adds one.
    pub unterminated: bool,
    /// The message holds octets above 127.
    pub eight_bit: bool,
    /// The message holds what only a body declared BODY=BINARYMIME may (RFC 3030).
    pub binary: bool,
    /// The header section or the sender needs SMTPUTF8. Recipients that do are known by their
    /// addresses.
    pub smtputf8: bool,
}

/// A command of a transaction, by which its reply is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    Mail,
    Recipient(usize),
    Data,
}

/// What a reply leads to.
#[derive(Debug)]
pub(super) enum Step {
    /// More replies are awaited, or more commands are to be written.
    Wait,
    /// The message is wanted.
    SendMessage,
    /// The message is wanted though nobody would get it.
    SendNothing,
    /// Nothing is left to do but to clear the next hop's buffers.
    Reset,
    /// A reply whose code has no meaning here.
    Nonsense(Reply),
}

/// How far a transaction has come.
#[derive(Debug)]
pub(super) struct Progress {
    transaction: Transaction,
    unsent: VecDeque<Command>,
    /// Sent and not replied to, in order.
    awaited: VecDeque<Command>,
    /// One for each recipient that is settled.
    outcomes: Vec<Option<Outcome>>,
    /// The message goes by BDAT, once its recipients are known.
    in_chunks: bool,
    /// Chunks before the last that have not been replied to.
    awaited_chunks: usize,
    /// The next hop has DSN.
    passes_dsn_on: bool,
    /// A recipient got a positive reply.
    accepted_one: bool,
    /// The recipients whose outcome the end of data decides.
    at_end: Vec<usize>,
    /// The class of the replies to the end of data, while all are of one.
    end_class: Option<u16>,
    /// QUIT has been sent behind the message.
    quits: bool,
    /// More replies than commands have come.
    pub(super) has_surplus: bool,
    /// No message follows: the reply to RCPT is the outcome.
    is_question: bool,
    /// Commands were written behind others that waited for their replies.
    has_grouped: bool,
    /// How MAIL was refused, if it was.
    pub(super) refusal: Option<MailRefusal>,
}

/// What a refused MAIL is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailRefusal {
    /// The connection: see [`refuses_connection`].
    Connection,
    /// The message, or a connection that has served its time.
    Message,
}

impl Transaction {
    /// What the next hop would have to offer and does not.
    pub fn lacks(&self, capabilities: &Capabilities) -> Option<Cause> {
        let cause = |status, text: String| Some(Cause::Local { status, text });
        let needs_smtputf8 = self.smtputf8 || self.recipients.iter().all(needs_smtputf8);
        if needs_smtputf8 && !capabilities.smtputf8 {
            return Some(lacks_smtputf8());
        }
        if self.binary && !(capabilities.takes_chunks() && capabilities.binary_mime) {
            // RFC 3030 section 3: convert or return. Conversion would mean to rewrite MIME parts.
            let text = "the message needs BINARYMIME, which the next hop does not offer";
            return cause(LACKS_BINARYMIME, text.to_owned());
        }
        if self.eight_bit && !self.binary && !capabilities.eight_bit_mime {
            // RFC 6152 section 3: convert or return. A signature would not survive conversion.
            let text = "the message needs 8BITMIME, which the next hop does not offer";
            return cause(LACKS_8BITMIME, text.to_owned());
        }
        match capabilities.size {
            Some(SizeLimit::Octets(most)) if self.declared_size(capabilities) > most => {
                let text = format!(
                    "the message has {} octets, and the next hop takes {most} at most",
                    self.declared_size(capabilities)
                );
                cause(TOO_LARGE, text)
            }
            _ => None,
        }
    }

    /// Only BDAT carries it unchanged. Other messages go by DATA also where BDAT is offered, since
    /// no other command is replied to with 354: see [`super::answered`].
    fn needs_chunks(&self) -> bool {
        self.binary || self.unterminated
    }

    fn is_smtputf8(&self) -> bool {
        self.smtputf8 || self.recipients.iter().any(needs_smtputf8)
    }

    /// The value of SIZE: the octets of the message on the wire. Dots that are doubled do not count,
    /// nor does the end of data (RFC 1870 section 3).
    fn declared_size(&self, capabilities: &Capabilities) -> u64 {
        let added = self.unterminated && !capabilities.takes_chunks();
        self.size.saturating_add(if added { 2 } else { 0 })
    }

    fn mail(&self, capabilities: &Capabilities) -> String {
        let mut line = format!("MAIL FROM:<{}>", self.sender);
        let size = self.declared_size(capabilities);
        if capabilities.size.is_some() && size > 0 {
            line.push_str(&format!(" SIZE={size}"));
        }
        if self.binary {
            line.push_str(" BODY=BINARYMIME");
        } else if self.eight_bit {
            line.push_str(" BODY=8BITMIME");
        }
        if self.is_smtputf8() && capabilities.smtputf8 {
            line.push_str(" SMTPUTF8");
        }
        if capabilities.dsn {
            line.push_str(&self.dsn.to_string());
        }
        line
    }

    fn rcpt(&self, place: usize, capabilities: &Capabilities) -> String {
        let Addressee { path, dsn } = &self.recipients[place];
        let mut line = format!("RCPT TO:<{path}>");
        if capabilities.dsn {
            let original = dsn.original.as_ref();
            let original =
                original.map(|original| match capabilities.smtputf8 && self.is_smtputf8() {
                    true => original.clone(),
                    false => original.to_ascii(),
                });
            // Written in ASCII it may pass the limit of RFC 3461 section 4.2, by which servers
            // size their command lines. It is for reports only; the mail is worth more.
            let original = original.filter(|original| original.fits_parameter());
            line.push_str(&RcptDsn { original, ..dsn.clone() }.to_string());
        }
        line
    }
}

impl Progress {
    pub(super) fn new(transaction: Transaction, capabilities: &Capabilities) -> Self {
        let in_chunks = transaction.needs_chunks() && capabilities.takes_chunks();
        let can_be_named =
            |recipient: &Addressee| capabilities.smtputf8 || !needs_smtputf8(recipient);
        let mut unsent = VecDeque::from([Command::Mail]);
        let places = transaction.recipients.iter().enumerate();
        let named = places.filter(|(_, recipient)| can_be_named(recipient));
        unsent.extend(named.map(|(place, _)| Command::Recipient(place)));
        if !in_chunks {
            unsent.push_back(Command::Data);
        }
        let (awaited, outcomes) = (VecDeque::new(), vec![None; transaction.recipients.len()]);
        Self {
            transaction,
            unsent,
            awaited,
            outcomes,
            in_chunks,
            awaited_chunks: 0,
            passes_dsn_on: capabilities.dsn,
            accepted_one: false,
            at_end: Vec::new(),
            end_class: None,
            quits: false,
            has_surplus: false,
            is_question: false,
            has_grouped: false,
            refusal: None,
        }
    }

    /// Gives up the recipients that this next hop cannot be told of.
    pub(super) fn settle_unnamed(&mut self, hop: &str, capabilities: &Capabilities) {
        if capabilities.smtputf8 {
            return;
        }
        for (recipient, outcome) in self.transaction.recipients.iter().zip(&mut self.outcomes) {
            if needs_smtputf8(recipient) {
                let answer = Answer { hop: Some(hop.to_owned()), cause: lacks_smtputf8() };
                *outcome = Some(Outcome::Failed(answer));
            }
        }
    }

    /// Would mail for this recipient be taken? From the null sender, which nobody may refuse
    /// (RFC 5321 section 6.1) and which no report is sent to.
    pub(super) fn question(recipient: ForwardPath) -> Self {
        let smtputf8 = !recipient.is_ascii();
        let transaction = Transaction {
            sender: ReversePath::Null,
            dsn: MailDsn::default(),
            recipients: vec![Addressee::from(recipient)],
            size: 0,
            unterminated: false,
            eight_bit: false,
            binary: false,
            smtputf8,
        };
        // Nothing is sent, in whatever form, and nothing is relayed.
        let capabilities = Capabilities { chunking: false, dsn: true, ..Capabilities::default() };
        let mut progress = Self::new(transaction, &capabilities);
        progress.unsent.retain(|command| *command != Command::Data);
        progress.is_question = true;
        progress
    }

    /// Writes the message, after [`Step::SendMessage`].
    pub(super) fn body_writer(&self) -> BodyWriter {
        match self.in_chunks {
            true => BodyWriter::chunks(self.transaction.binary),
            false => BodyWriter::data(),
        }
    }

    /// Has a recipient got a positive reply, whatever came of it?
    pub(super) fn has_accepted_one(&self) -> bool {
        self.accepted_one
    }

    /// Does the message go by BDAT?
    pub(super) fn is_in_chunks(&self) -> bool {
        self.in_chunks
    }

    /// A chunk has gone out that is not the last.
    pub(super) fn await_chunk(&mut self) {
        self.awaited_chunks += 1;
    }

    /// Is the next reply that to a chunk which is not the last?
    pub(super) fn awaits_chunk(&self) -> bool {
        self.awaited_chunks > 0
    }

    /// The next hop has taken a chunk that is not the last.
    pub(super) fn chunk_taken(&mut self) {
        self.awaited_chunks = self.awaited_chunks.saturating_sub(1);
    }

    /// The command whose reply comes next.
    pub(super) fn awaited(&self) -> Option<Command> {
        self.awaited.front().copied()
    }

    /// Writes what may be written: everything with PIPELINING, else one command at a time.
    pub(super) fn write(&mut self, capabilities: &Capabilities, output: &mut Vec<u8>) {
        while capabilities.pipelining || self.awaited.is_empty() {
            let Some(command) = self.unsent.pop_front() else { return };
            let line = match command {
                Command::Mail => self.transaction.mail(capabilities),
                Command::Recipient(place) => self.transaction.rcpt(place, capabilities),
                Command::Data => "DATA".to_owned(),
            };
            output.extend_from_slice(line.as_bytes());
            output.extend_from_slice(b"\r\n");
            self.has_grouped |= !self.awaited.is_empty();
            self.awaited.push_back(command);
        }
    }

    /// Takes the reply to the command that comes next.
    pub(super) fn handle_reply(&mut self, hop: &str, reply: Reply) -> Step {
        let Some(command) = self.awaited.pop_front() else { return Step::Nonsense(reply) };
        match (command, reply.code / 100) {
            (_, 2) if is_of_another_command(reply.code) => {
                return self.misunderstand(command, reply);
            }
            (Command::Mail, 2) => {}
            (Command::Mail, 4 | 5) if self.is_question => {
                self.settle_rest(&Outcome::Deferred(Answer::reply(hop, reply, Asked::Mail)));
            }
            (Command::Recipient(place), 2) if self.is_question => {
                self.settle(place, hop, &reply, Asked::Rcpt);
            }
            (Command::Recipient(_), 2) => self.accepted_one = true,
            (Command::Recipient(place), 4 | 5)
                if self.accepted_one && says_too_many_recipients(&reply) =>
            {
                let answer = Answer::reply(hop, reply, Asked::Rcpt);
                self.settle_as(place, Outcome::Deferred(answer));
            }
            (Command::Mail, 4 | 5) => {
                self.refusal = Some(match refuses_connection(&reply) {
                    true => MailRefusal::Connection,
                    false => MailRefusal::Message,
                });
                self.settle_all(hop, &reply, Asked::Mail);
            }
            (Command::Recipient(place), 4 | 5) => self.settle(place, hop, &reply, Asked::Rcpt),
            (Command::Data, _) if reply.code == 354 => {
                return if self.has_accepted() { Step::SendMessage } else { Step::SendNothing };
            }
            (Command::Data, 4 | 5) => {
                self.settle_all(hop, &reply, Asked::Data);
                return Step::Reset;
            }
            _ => return self.misunderstand(command, reply),
        }
        // What is not on its way yet and would lead to nothing is not sent.
        let next_is_data = self.unsent.front() == Some(&Command::Data);
        if !self.has_accepted() && (command == Command::Mail || next_is_data) {
            self.unsent.clear();
        }
        match (self.unsent.is_empty() && self.awaited.is_empty(), self.has_accepted()) {
            (false, _) => Step::Wait,
            // With DATA the last reply is that to DATA, and nobody is left unsettled here.
            (true, true) if self.in_chunks => Step::SendMessage,
            (true, _) => Step::Reset,
        }
    }

    /// The reply to the end of data, for every recipient that was accepted.
    pub(super) fn finish(mut self, hop: &str, reply: Reply, to: Asked) -> Vec<Outcome> {
        self.settle_all(hop, &reply, to);
        self.outcomes(hop)
    }

    /// A code that this command cannot have. The recipients count as unsettled, also those that
    /// replies have settled: those may have been to other commands.
    fn misunderstand(&mut self, command: Command, reply: Reply) -> Step {
        self.awaited.push_front(command);
        if reply.is_positive() {
            self.forget_replies();
        }
        Step::Nonsense(reply)
    }

    fn forget_replies(&mut self) {
        for outcome in &mut self.outcomes {
            outcome.take_if(|outcome| matches!(outcome.answer().cause, Cause::Reply { .. }));
        }
    }

    /// No further reply will come. By their order alone are the replies to a group known (RFC 2920
    /// section 3.1): where one is missing, those that came may have been to other commands.
    pub(super) fn breaks_off(&mut self) {
        if self.has_grouped && !self.awaited.is_empty() {
            self.forget_replies();
        }
    }

    /// The whole message has been sent; it may have a reply for each recipient. Does QUIT follow?
    pub(super) fn begin_end(&mut self, one_by_one: bool) -> bool {
        let places = self.outcomes.iter().enumerate();
        self.at_end = places.filter(|(_, it)| it.is_none()).map(|(place, _)| place).collect();
        self.quits = self.in_chunks || one_by_one && self.at_end.len() > 1;
        self.quits
    }

    /// Has QUIT been sent behind the message?
    pub(super) fn quits(&self) -> bool {
        self.quits
    }

    /// A reply to the end of data: for all recipients that were accepted, or from an LMTP server for
    /// the next of them (RFC 2033 section 4.2). Are there more?
    pub(super) fn settle_end(&mut self, hop: &str, reply: &Reply, is_for_one: bool) -> bool {
        let class = reply.code / 100;
        let is_first = !self.at_end.iter().any(|&place| self.outcomes[place].is_some());
        self.end_class = self.end_class.filter(|&it| it == class).or(is_first.then_some(class));
        match self.outcomes.iter().position(Option::is_none) {
            Some(place) if is_for_one => self.settle(place, hop, reply, Asked::Message),
            _ => self.settle_all(hop, reply, Asked::Message),
        }
        self.has_accepted()
    }

    /// Does this reply, which came after those to the end of data, say something else than they do?
    /// Where no recipient is left for whom they count, that means nothing.
    pub(super) fn contradicts(&self, reply: &Reply) -> bool {
        let is_end = reply.code == 221 && self.quits;
        !self.at_end.is_empty() && !is_end && self.end_class != Some(reply.code / 100)
    }

    /// The replies to the end of data count no more.
    pub(super) fn forget_end(&mut self) {
        for &place in &self.at_end {
            self.outcomes[place] = None;
        }
    }

    /// Defers every recipient that is unsettled.
    pub(super) fn abandon(mut self, hop: &str, cause: Cause) -> Vec<Outcome> {
        let answer = Answer { hop: Some(hop.to_owned()), cause };
        self.settle_rest(&Outcome::Deferred(answer));
        self.outcomes(hop)
    }

    /// Gives up every recipient that is unsettled.
    pub(super) fn give_up(mut self, hop: &str, cause: Cause) -> Vec<Outcome> {
        let answer = Answer { hop: Some(hop.to_owned()), cause };
        self.settle_rest(&Outcome::Failed(answer));
        self.outcomes(hop)
    }

    /// One outcome for each recipient.
    pub(super) fn outcomes(self, hop: &str) -> Vec<Outcome> {
        let unsettled = || {
            let text = "the transaction ended without a reply for this recipient";
            Outcome::Deferred(Answer::local(Some(hop), Enhanced(4, 5, 0), text))
        };
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unsettled)).collect()
    }

    /// Are more replies than one awaited?
    pub(super) fn awaits_several(&self) -> bool {
        self.awaited.len() > 1
    }

    /// Is there a recipient that nothing has been said against?
    fn has_accepted(&self) -> bool {
        self.outcomes.iter().any(Option::is_none)
    }

    fn settle(&mut self, place: usize, hop: &str, reply: &Reply, to: Asked) {
        let answer = Answer::reply(hop, reply.clone(), to);
        let outcome = match reply.code / 100 {
            2 if self.passes_dsn_on => Outcome::Delivered(answer),
            2 => Outcome::Relayed(answer),
            5 if !is_about_us(reply) => Outcome::Failed(answer),
            _ => Outcome::Deferred(answer),
        };
        self.settle_as(place, outcome);
    }

    /// Recipients that are settled already stay as they are.
    fn settle_as(&mut self, place: usize, outcome: Outcome) {
        if let Some(unsettled @ None) = self.outcomes.get_mut(place) {
            *unsettled = Some(outcome);
        }
    }

    fn settle_all(&mut self, hop: &str, reply: &Reply, to: Asked) {
        for place in 0..self.outcomes.len() {
            self.settle(place, hop, reply, to);
        }
    }

    fn settle_rest(&mut self, outcome: &Outcome) {
        for place in self.outcomes.iter_mut().filter(|place| place.is_none()) {
            *place = Some(outcome.clone());
        }
    }
}

/// Does the reply to a RCPT, after others were accepted, mean only that the transaction has enough
/// of them? X.5.3 of RFC 3463 says so, whatever the code. Without an enhanced code, 452 does (RFC
/// 5321 section 4.5.3.1.10), and 552 from older servers. After 421 the connection is gone.
pub fn says_too_many_recipients(reply: &Reply) -> bool {
    match reply.enhanced {
        Some(Enhanced(_, subject, detail)) => (subject, detail) == (5, 3) && reply.code != 421,
        None => matches!(reply.code, 452 | 552),
    }
}

/// Does a refusal mean that we should have authenticated, or should have done so otherwise, or that
/// TLS is missing (RFC 4954 section 6, RFC 3207 section 4)? It says nothing about the message, and an
/// administrator can mend it.
fn is_about_us(reply: &Reply) -> bool {
    matches!(reply.code, 530 | 534 | 535 | 538)
}

/// Does the reply to MAIL mean that the next hop serves no further connection of ours? Some servers
/// say so here and not in place of their greeting: 450, 451 or 454 with X.7.n of RFC 3463, a matter
/// of policy.
pub(super) fn refuses_connection(reply: &Reply) -> bool {
    let is_policy =
        reply.enhanced.is_some_and(|Enhanced(class, subject, _)| (class, subject) == (4, 7));
    matches!(reply.code, 450 | 451 | 454) && is_policy
}

/// Is this the status of a failure for which [`Transaction`] needs what the next hop does not
/// offer? Another server may.
pub fn is_lack(status: Enhanced) -> bool {
    [LACKS_SMTPUTF8, LACKS_BINARYMIME, LACKS_8BITMIME, TOO_LARGE].contains(&status)
}

/// The next hop cannot be told of this recipient without SMTPUTF8.
fn needs_smtputf8(recipient: &Addressee) -> bool {
    !recipient.path.is_ascii()
}

fn lacks_smtputf8() -> Cause {
    // RFC 6531 section 3.5.
    let text = "the message needs SMTPUTF8, which the next hop does not offer";
    Cause::Local { status: LACKS_SMTPUTF8, text: text.to_owned() }
}
