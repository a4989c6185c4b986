//! How far is the transaction, and which outcome has each recipient?

use std::collections::VecDeque;

use relay_mail::dsn::{Addressee, MailDsn};
use relay_mail::outcome::{AnsweredCommand, Cause, Outcome, OutcomeReason};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::reply::{Enhanced, Reply};

use super::Capabilities;
use super::body::BodyWriter;
use super::reply::is_of_another_command;
use super::transaction::{
    MailRefusal, Transaction, lacks_smtputf8, needs_smtputf8, refuses_connection,
    says_too_many_recipients,
};

/// A command of a transaction, by which its reply is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientCommand {
    Mail,
    Recipient(usize),
    Data,
}

/// The step after a reply.
#[derive(Debug)]
pub(super) enum TransactionStep {
    /// More replies are awaited, or more commands must be written.
    Wait,
    /// The message can be sent.
    SendMessage,
    /// The next hop expects the message although no recipient was accepted.
    SendNothing,
    /// Only the next hop's buffers must be cleared.
    Reset,
    /// A reply whose code has no meaning here.
    Nonsense(Reply),
}

/// The progress of a transaction.
#[derive(Debug)]
pub(super) struct TransactionProgress {
    transaction: Transaction,
    unsent: VecDeque<ClientCommand>,
    /// Sent and not replied to, in order.
    awaited: VecDeque<ClientCommand>,
    /// One for each recipient; none while it is open.
    outcomes: Vec<Option<Outcome>>,
    /// The message is sent by BDAT, after the replies to its recipients.
    in_chunks: bool,
    /// Chunks before the last that have not been replied to.
    awaited_chunks: usize,
    /// The next hop has DSN.
    passes_dsn_on: bool,
    /// A recipient got a positive reply.
    accepted_one: bool,
    /// The recipients whose outcome the end of data decides.
    at_end: Vec<usize>,
    /// The class of the replies to the end of data, while all are of one class.
    end_class: Option<u16>,
    /// QUIT was sent after the message.
    quits: bool,
    /// More replies than commands have arrived.
    pub(super) has_surplus: bool,
    /// No message follows: the reply to RCPT is the outcome.
    is_question: bool,
    /// Commands were written after others that waited for their replies.
    has_grouped: bool,
    /// How MAIL was refused, if it was.
    pub(super) refusal: Option<MailRefusal>,
}

impl TransactionProgress {
    pub(super) fn new(transaction: Transaction, capabilities: &Capabilities) -> Self {
        let in_chunks = transaction.needs_chunks() && capabilities.takes_chunks();
        let can_be_named =
            |recipient: &Addressee| capabilities.smtputf8 || !needs_smtputf8(recipient);
        let mut unsent = VecDeque::from([ClientCommand::Mail]);
        let places = transaction.recipients.iter().enumerate();
        let named = places.filter(|(_, recipient)| can_be_named(recipient));
        unsent.extend(named.map(|(place, _)| ClientCommand::Recipient(place)));
        if !in_chunks {
            unsent.push_back(ClientCommand::Data);
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

    /// Fails the recipients that cannot be sent to this next hop.
    pub(super) fn fail_unsendable_recipients(&mut self, hop: &str, capabilities: &Capabilities) {
        if capabilities.smtputf8 {
            return;
        }
        for (recipient, outcome) in self.transaction.recipients.iter().zip(&mut self.outcomes) {
            if needs_smtputf8(recipient) {
                let answer = OutcomeReason { hop: Some(hop.to_owned()), cause: lacks_smtputf8() };
                *outcome = Some(Outcome::Failed(answer));
            }
        }
    }

    /// Would mail for this recipient be accepted? The sender is null, which a server must not
    /// refuse (RFC 5321 section 6.1) and which gets no reports.
    pub(super) fn recipient_verification(recipient: ForwardPath) -> Self {
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
        // No message is sent, and nothing is relayed.
        let capabilities = Capabilities { chunking: false, dsn: true, ..Capabilities::default() };
        let mut progress = Self::new(transaction, &capabilities);
        progress.unsent.retain(|command| *command != ClientCommand::Data);
        progress.is_question = true;
        progress
    }

    /// Writes the message, after [`TransactionStep::SendMessage`].
    pub(super) fn body_writer(&self) -> BodyWriter {
        match self.in_chunks {
            true => BodyWriter::chunks(self.transaction.binary),
            false => BodyWriter::data(),
        }
    }

    /// Has a recipient got a positive reply, even if it failed later?
    pub(super) fn has_accepted_one(&self) -> bool {
        self.accepted_one
    }

    /// Does the message go by BDAT?
    pub(super) fn is_in_chunks(&self) -> bool {
        self.in_chunks
    }

    /// A chunk was sent that is not the last.
    pub(super) fn await_chunk(&mut self) {
        self.awaited_chunks += 1;
    }

    /// Is the next reply that to a chunk which is not the last?
    pub(super) fn awaits_chunk(&self) -> bool {
        self.awaited_chunks > 0
    }

    /// The next hop has accepted a chunk that is not the last.
    pub(super) fn chunk_taken(&mut self) {
        self.awaited_chunks = self.awaited_chunks.saturating_sub(1);
    }

    /// The command whose reply is next.
    pub(super) fn awaited(&self) -> Option<ClientCommand> {
        self.awaited.front().copied()
    }

    /// Writes the allowed commands: all with PIPELINING, otherwise one at a time.
    pub(super) fn write(&mut self, capabilities: &Capabilities, output: &mut Vec<u8>) {
        while capabilities.pipelining || self.awaited.is_empty() {
            let Some(command) = self.unsent.pop_front() else { return };
            let line = match command {
                ClientCommand::Mail => self.transaction.mail(capabilities),
                ClientCommand::Recipient(place) => self.transaction.rcpt(place, capabilities),
                ClientCommand::Data => "DATA".to_owned(),
            };
            output.extend_from_slice(line.as_bytes());
            output.extend_from_slice(b"\r\n");
            self.has_grouped |= !self.awaited.is_empty();
            self.awaited.push_back(command);
        }
    }

    /// Handles the reply to the next command.
    pub(super) fn handle_reply(&mut self, hop: &str, reply: Reply) -> TransactionStep {
        let Some(command) = self.awaited.pop_front() else {
            return TransactionStep::Nonsense(reply);
        };
        match (command, reply.code / 100) {
            (_, 2) if is_of_another_command(reply.code) => {
                return self.misunderstand(command, reply);
            }
            (ClientCommand::Mail, 2) => {}
            (ClientCommand::Mail, 4 | 5) if self.is_question => {
                self.settle_rest(&Outcome::Deferred(OutcomeReason::reply(
                    hop,
                    reply,
                    AnsweredCommand::Mail,
                )));
            }
            (ClientCommand::Recipient(place), 2) if self.is_question => {
                self.settle(place, hop, &reply, AnsweredCommand::Rcpt);
            }
            (ClientCommand::Recipient(_), 2) => self.accepted_one = true,
            (ClientCommand::Recipient(place), 4 | 5)
                if self.accepted_one && says_too_many_recipients(&reply) =>
            {
                let answer = OutcomeReason::reply(hop, reply, AnsweredCommand::Rcpt);
                self.settle_as(place, Outcome::Deferred(answer));
            }
            (ClientCommand::Mail, 4 | 5) => {
                self.refusal = Some(match refuses_connection(&reply) {
                    true => MailRefusal::Connection,
                    false => MailRefusal::Message,
                });
                self.settle_all(hop, &reply, AnsweredCommand::Mail);
            }
            (ClientCommand::Recipient(place), 4 | 5) => {
                self.settle(place, hop, &reply, AnsweredCommand::Rcpt)
            }
            (ClientCommand::Data, _) if reply.code == 354 => {
                return if self.has_accepted() {
                    TransactionStep::SendMessage
                } else {
                    TransactionStep::SendNothing
                };
            }
            (ClientCommand::Data, 4 | 5) => {
                self.settle_all(hop, &reply, AnsweredCommand::Data);
                return TransactionStep::Reset;
            }
            _ => return self.misunderstand(command, reply),
        }
        // A command that is not sent yet and would have no effect is dropped.
        let next_is_data = self.unsent.front() == Some(&ClientCommand::Data);
        if !self.has_accepted() && (command == ClientCommand::Mail || next_is_data) {
            self.unsent.clear();
        }
        match (self.unsent.is_empty() && self.awaited.is_empty(), self.has_accepted()) {
            (false, _) => TransactionStep::Wait,
            // With DATA the last reply is that to DATA, and every recipient has an outcome here.
            (true, true) if self.in_chunks => TransactionStep::SendMessage,
            (true, _) => TransactionStep::Reset,
        }
    }

    /// Handles the reply to the end of data, for every recipient that was accepted.
    pub(super) fn finish(mut self, hop: &str, reply: Reply, to: AnsweredCommand) -> Vec<Outcome> {
        self.settle_all(hop, &reply, to);
        self.outcomes(hop)
    }

    /// Handles a code that this command cannot have. All recipients lose their outcomes: the
    /// replies may belong to other commands.
    fn misunderstand(&mut self, command: ClientCommand, reply: Reply) -> TransactionStep {
        self.awaited.push_front(command);
        if reply.is_positive() {
            self.forget_replies();
        }
        TransactionStep::Nonsense(reply)
    }

    fn forget_replies(&mut self) {
        for outcome in &mut self.outcomes {
            outcome.take_if(|outcome| matches!(outcome.answer().cause, Cause::Reply { .. }));
        }
    }

    /// No further reply will arrive. Replies to a group are known by their order only (RFC 2920
    /// section 3.1): if one is missing, the others may belong to other commands.
    pub(super) fn handle_end_of_replies(&mut self) {
        if self.has_grouped && !self.awaited.is_empty() {
            self.forget_replies();
        }
    }

    /// The whole message was sent; it may have a reply for each recipient. Does QUIT follow?
    pub(super) fn begin_end(&mut self, one_by_one: bool) -> bool {
        let places = self.outcomes.iter().enumerate();
        self.at_end = places.filter(|(_, it)| it.is_none()).map(|(place, _)| place).collect();
        self.quits = self.in_chunks || one_by_one && self.at_end.len() > 1;
        self.quits
    }

    /// Was QUIT sent after the message?
    pub(super) fn sends_quit_with_message(&self) -> bool {
        self.quits
    }

    /// Handles a reply to the end of data: for all recipients that were accepted, or from an LMTP
    /// server for the next of them (RFC 2033 section 4.2). Are there more?
    pub(super) fn settle_end(&mut self, hop: &str, reply: &Reply, is_for_one: bool) -> bool {
        let class = reply.code / 100;
        let is_first = !self.at_end.iter().any(|&place| self.outcomes[place].is_some());
        self.end_class = self.end_class.filter(|&it| it == class).or(is_first.then_some(class));
        match self.outcomes.iter().position(Option::is_none) {
            Some(place) if is_for_one => self.settle(place, hop, reply, AnsweredCommand::Message),
            _ => self.settle_all(hop, reply, AnsweredCommand::Message),
        }
        self.has_accepted()
    }

    /// Does this reply, which arrived after those to the end of data, contradict them? If no
    /// recipient depends on them, it does not.
    pub(super) fn contradicts(&self, reply: &Reply) -> bool {
        let is_end = reply.code == 221 && self.quits;
        !self.at_end.is_empty() && !is_end && self.end_class != Some(reply.code / 100)
    }

    /// The replies to the end of data count no more.
    pub(super) fn discard_result(&mut self) {
        for &place in &self.at_end {
            self.outcomes[place] = None;
        }
    }

    /// Defers every recipient that is unsettled.
    pub(super) fn abandon(mut self, hop: &str, cause: Cause) -> Vec<Outcome> {
        let answer = OutcomeReason { hop: Some(hop.to_owned()), cause };
        self.settle_rest(&Outcome::Deferred(answer));
        self.outcomes(hop)
    }

    /// Gives up every recipient that is unsettled.
    pub(super) fn give_up(mut self, hop: &str, cause: Cause) -> Vec<Outcome> {
        let answer = OutcomeReason { hop: Some(hop.to_owned()), cause };
        self.settle_rest(&Outcome::Failed(answer));
        self.outcomes(hop)
    }

    /// One outcome for each recipient.
    pub(super) fn outcomes(self, hop: &str) -> Vec<Outcome> {
        let unsettled = || {
            let text = "the transaction ended without a reply for this recipient";
            Outcome::Deferred(OutcomeReason::local(Some(hop), Enhanced(4, 5, 0), text))
        };
        self.outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(unsettled)).collect()
    }

    /// Is more than one reply awaited?
    pub(super) fn awaits_several(&self) -> bool {
        self.awaited.len() > 1
    }

    /// Is there a recipient that nothing has been said against?
    fn has_accepted(&self) -> bool {
        self.outcomes.iter().any(Option::is_none)
    }

    fn settle(&mut self, place: usize, hop: &str, reply: &Reply, to: AnsweredCommand) {
        let answer = OutcomeReason::reply(hop, reply.clone(), to);
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

    fn settle_all(&mut self, hop: &str, reply: &Reply, to: AnsweredCommand) {
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

/// Does a refusal mean that authentication is missing or wrong, or that TLS is missing (RFC 4954
/// section 6, RFC 3207 section 4)? It says nothing about the message, and an administrator can
/// correct it.
fn is_about_us(reply: &Reply) -> bool {
    matches!(reply.code, 530 | 534 | 535 | 538)
}
