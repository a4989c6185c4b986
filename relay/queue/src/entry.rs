//! The queue's knowledge of one message, without its octets.

use std::time::SystemTime;

use crate::content::Content;
use relay_mail::dsn::{Addressee, MailDsn, RcptDsn};
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::outcome::{Cause, Outcome, OutcomeReason};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Enhanced;
use relay_message::outbound::Audience;

/// One accepted message: its envelope and the state of its delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name that the 250 gave to the client.
    pub id: QueueId,
    /// The argument of MAIL.
    pub sender: ReversePath,
    /// RET and ENVID of MAIL.
    pub dsn: MailDsn,
    /// The recipients in the order of their RCPT. Never empty.
    pub recipients: Vec<Recipient>,
    /// BODY of MAIL.
    pub body: BodyType,
    /// SMTPUTF8 of MAIL.
    pub smtputf8: bool,
    /// The message has octets above 127, independent of BODY.
    pub eight_bit: bool,
    /// Some of them are in its header section.
    pub eight_bit_header: bool,
    /// The message was declared BODY=BINARYMIME and has something that DATA cannot carry.
    pub binary: bool,
    /// Octets of the stored message, without the end of data.
    pub size: u64,
    /// Of these, octets that are sent only to a next hop of our organization.
    pub organization_octets: u64,
    /// Its last line has no CRLF.
    pub unterminated: bool,
    /// Fields that precede the octets of a message's own file. They are stored here because their
    /// values were not known when the file was written. Empty for a message in the database.
    pub(super) fields_before_file: String,
    /// When the message was committed.
    pub arrived: SystemTime,
    /// Attempts so far.
    pub attempts: u32,
    /// When it is tried next.
    pub due: SystemTime,
    /// An administrator stopped its delivery.
    pub held: bool,
    /// The sender has got the report of a delay, which is sent once.
    pub warned: bool,
}

/// The recipients of an attempt, by their index in [`Entry::recipients`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct AttemptedRecipients {
    /// Recipients that waited before the attempt, in order, tried or not.
    pub(super) was_pending: Vec<usize>,
    /// Of these, the recipients that were tried.
    pub(super) all: Vec<usize>,
    /// Recipients that were given up because their lifetime has passed.
    pub(super) expired: Vec<usize>,
    /// Recipients whose next hop will not report the delivery.
    pub(super) relayed: Vec<usize>,
}

/// One recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipient {
    /// The argument of RCPT.
    pub path: ForwardPath,
    /// NOTIFY and ORCPT of RCPT.
    pub dsn: RcptDsn,
    /// The state of its delivery.
    pub state: RecipientState,
}

/// The state of the delivery to one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientState {
    /// Still to be delivered; with the reason of its last deferral, if it was deferred.
    Pending(Option<OutcomeReason>),
    /// A next hop accepted it.
    Delivered(OutcomeReason),
    /// It never will be.
    Failed(OutcomeReason),
}

impl Entry {
    /// A message that has just arrived, due at once.
    pub(super) fn new(id: QueueId, envelope: Envelope, content: Content, now: SystemTime) -> Self {
        let pending =
            |Addressee { path, dsn }| Recipient { path, dsn, state: RecipientState::Pending(None) };
        Self {
            id,
            sender: envelope.sender,
            dsn: envelope.dsn,
            recipients: envelope.recipients.into_iter().map(pending).collect(),
            body: envelope.body,
            smtputf8: envelope.smtputf8,
            eight_bit: content.eight_bit,
            eight_bit_header: content.eight_bit_header,
            binary: content.is_binary(),
            size: content.size,
            organization_octets: content.organization_octets,
            unterminated: content.is_unterminated(),
            fields_before_file: String::new(),
            arrived: now,
            attempts: 0,
            due: now,
            held: false,
            warned: false,
        }
    }

    /// Octets of the message as it is sent.
    pub fn size_as_sent(&self, audience: Audience) -> u64 {
        let left_out = match audience {
            Audience::Organization => 0,
            Audience::Outside => self.organization_octets,
        };
        self.size.saturating_sub(left_out)
    }

    /// Octets of the message's own file, if it has one.
    pub(super) fn file_octets(&self) -> u64 {
        self.size.saturating_sub(self.fields_before_file.len() as u64)
    }

    /// The recipients that still wait, with their index in [`Entry::recipients`].
    pub fn pending(&self) -> impl Iterator<Item = (usize, &ForwardPath)> {
        let waits = |recipient: &Recipient| matches!(recipient.state, RecipientState::Pending(_));
        let all = self.recipients.iter().enumerate();
        all.filter(move |(_, recipient)| waits(recipient))
            .map(|(i, recipient)| (i, &recipient.path))
    }

    /// Does the message need SMTPUTF8 for every recipient (RFC 6531 section 3.6)? It does if it was
    /// declared so and the sender or the header section is beyond ASCII. A body does not need it.
    pub fn message_needs_smtputf8(&self) -> bool {
        self.smtputf8 && (self.eight_bit_header || !self.sender.is_ascii())
    }

    /// Enters outcomes, and returns their recipients.
    pub(super) fn apply_all(&mut self, outcomes: Vec<(usize, Outcome)>) -> AttemptedRecipients {
        let was_pending = self.pending().map(|(place, _)| place).collect();
        let mut tried = AttemptedRecipients { was_pending, ..AttemptedRecipients::default() };
        for (place, outcome) in outcomes {
            if tried.was_pending.binary_search(&place).is_ok() {
                tried.all.push(place);
                if matches!(outcome, Outcome::Relayed(_)) {
                    tried.relayed.push(place);
                }
            }
            self.apply(place, outcome);
        }
        tried
    }

    /// Enters one outcome. Recipients with a final outcome stay as they are.
    pub(super) fn apply(&mut self, recipient: usize, outcome: Outcome) {
        let Some(recipient) = self.recipients.get_mut(recipient) else { return };
        if matches!(recipient.state, RecipientState::Pending(_)) {
            recipient.state = match outcome {
                Outcome::Delivered(answer) | Outcome::Relayed(answer) => {
                    RecipientState::Delivered(answer)
                }
                Outcome::Deferred(answer) => RecipientState::Pending(Some(answer)),
                Outcome::Failed(answer) => RecipientState::Failed(answer),
            };
        }
    }

    /// Gives up every recipient that still waits, because the lifetime has passed.
    pub(super) fn expire(&mut self) {
        for recipient in &mut self.recipients {
            if let RecipientState::Pending(last) = &recipient.state {
                let last = last.as_ref().map_or_else(String::new, |last| format!(": {last}"));
                let text = format!("delivery time expired{last}");
                // X.4.7 of RFC 3463; a failure is reported with class 5.
                let answer = OutcomeReason::local(None, Enhanced(5, 4, 7), text);
                recipient.state = RecipientState::Failed(answer);
            }
        }
    }

    /// The waiting recipients for a report of a delay, unless the sender has got one. The null
    /// sender gets no report (RFC 3461 section 6.1).
    pub(super) fn recipients_for_delay_report(&self) -> impl Iterator<Item = usize> {
        let is_unneeded = self.warned || self.sender == ReversePath::Null;
        let waiting = self.recipients.iter().enumerate().filter(move |(_, recipient)| {
            let waits = matches!(recipient.state, RecipientState::Pending(_));
            !is_unneeded && waits && recipient.dsn.wants_delay()
        });
        waiting.map(|(place, _)| place)
    }

    /// Of these recipients, those for which the sender wants a report (RFC 3461 section 4.1).
    pub(super) fn recipients_for_report(&self, failed: &[usize], relayed: &[usize]) -> Vec<usize> {
        let wanted = |place: &usize, wants: fn(&RcptDsn) -> bool| {
            self.recipients.get(*place).is_some_and(|recipient| wants(&recipient.dsn))
        };
        let failed = failed.iter().filter(|place| wanted(place, RcptDsn::wants_failure));
        let relayed = relayed.iter().filter(|place| wanted(place, RcptDsn::wants_success));
        failed.chain(relayed).copied().collect()
    }

    /// Was the recipient at this index given up?
    pub(super) fn has_failed(&self, place: usize) -> bool {
        let recipient = self.recipients.get(place);
        recipient.is_some_and(|recipient| matches!(recipient.state, RecipientState::Failed(_)))
    }

    /// Was the recipient at this index given up because the next hop lacks 8BITMIME, BINARYMIME or
    /// SMTPUTF8? A report that needs the same extension would fail there too.
    pub(super) fn failed_because_of_content(&self, place: usize) -> bool {
        let state = self.recipients.get(place).map(|recipient| &recipient.state);
        let Some(RecipientState::Failed(answer)) = state else { return false };
        matches!(answer.cause, Cause::Local { status: Enhanced(5, 6, 1 | 3 | 7), .. })
    }
}

impl Recipient {
    /// The argument of RCPT and its parameters.
    pub fn addressee(&self) -> Addressee {
        Addressee { path: self.path.clone(), dsn: self.dsn.clone() }
    }
}
