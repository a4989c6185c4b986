//! The facts that a decision needs and that neither the session nor the policy can find: they need
//! a network, a disk, or long computations.
//!
//! A function of this crate returns [`DecisionOrInquiry::Needs`] at the check that lacks its fact,
//! and is called again with the [`InquiryAnswer`]. So the order of the checks is written once, no
//! inquiry is made after an earlier check has refused, and a decision stays a pure function.
//! `server` performs inquiries; the session waits meanwhile, see `relay_session::inquiry`.

use crate::{Decision, RecipientLookup};
use relay_mail::path::Mailbox;
use relay_mail::user_name::UserName;
use relay_message::finding::{MessageFinding, SenderFinding};
use relay_message::question::{MessageQuestion, SenderQuestion};
use relay_users::password::PasswordCheck;

/// A decision, or the fact that it still needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecisionOrInquiry {
    /// Nothing is missing.
    Decided(Decision),
    /// The next check needs this fact.
    Needs(Inquiry),
}

/// A question to another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// What do the checks find about a message that was received completely?
    Message(MessageQuestion),
    /// Is this the right password?
    Password(PasswordCheck),
    /// Has this client sent too many messages recently? If not, one more is counted.
    MessageRate {
        /// `message_rate_limit`: messages a minute.
        limit: u32,
        /// The payers.
        payers: MessageRatePayers,
    },
    /// Does the server that owns the domain know this recipient?
    Recipient {
        /// The recipient.
        mailbox: Mailbox,
        /// The server to ask.
        lookup: RecipientLookup,
    },
    /// What do the checks find about client and sender?
    Sender(SenderQuestion),
}

/// The answer to an [`Inquiry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InquiryAnswer {
    /// To [`Inquiry::Message`].
    Message(MessageFinding),
    /// To [`Inquiry::Password`].
    Password(PasswordFinding),
    /// To [`Inquiry::MessageRate`].
    MessageRate(MessageRateFinding),
    /// To [`Inquiry::Recipient`].
    Recipient(RecipientFinding),
    /// To [`Inquiry::Sender`].
    Sender(SenderFinding),
}

/// The result of a client's proof to be a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PasswordFinding {
    /// It is right.
    Right,
    /// It is wrong; why, in a sentence.
    Wrong(String),
    /// Not asked: an explanation continues as if the proof were right.
    NotAsked,
    /// It could not be compared; why, in a sentence.
    Unavailable(String),
}

/// The result for a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientFinding {
    /// The server accepts mail for it.
    Known,
    /// Not asked: an explanation continues as if the recipient were known.
    NotAsked,
    /// No reply, or none that decides; the reason, in a sentence.
    Unavailable(String),
    /// The server refuses it permanently; its reply on one line.
    Unknown(String),
}

/// The facts that have been found for the decision at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// About the message.
    pub message: Option<MessageFinding>,
    /// About the client's password.
    pub password: Option<PasswordFinding>,
    /// About the client's rate.
    pub message_rate: Option<MessageRateFinding>,
    /// About the recipient.
    pub recipient: Option<RecipientFinding>,
    /// About client and sender.
    pub sender: Option<SenderFinding>,
}

impl Findings {
    /// Keeps an answer.
    pub fn insert(&mut self, finding: InquiryAnswer) {
        match finding {
            InquiryAnswer::Message(finding) => self.message = Some(finding),
            InquiryAnswer::Password(finding) => self.password = Some(finding),
            InquiryAnswer::MessageRate(finding) => self.message_rate = Some(finding),
            InquiryAnswer::Recipient(finding) => self.recipient = Some(finding),
            InquiryAnswer::Sender(finding) => self.sender = Some(finding),
        }
    }
}

impl Inquiry {
    /// The answer if none arrived in time.
    pub fn without_answer(&self) -> InquiryAnswer {
        const WHY: &str = "no answer in time";
        match self {
            Self::Message(question) => {
                InquiryAnswer::Message(MessageFinding::Found(question.unavailable(WHY)))
            }
            Self::Password(_) => {
                let why = "the comparison did not end in time".to_owned();
                InquiryAnswer::Password(PasswordFinding::Unavailable(why))
            }
            Self::MessageRate { .. } => InquiryAnswer::MessageRate(MessageRateFinding::Exceeded),
            Self::Recipient { .. } => {
                InquiryAnswer::Recipient(RecipientFinding::Unavailable(WHY.to_owned()))
            }
            Self::Sender(question) => {
                InquiryAnswer::Sender(SenderFinding::Found(question.unavailable(WHY)))
            }
        }
    }

    /// The answer of an explanation, which asks no server.
    pub fn not_asked(&self) -> InquiryAnswer {
        match self {
            Self::Message(_) => InquiryAnswer::Message(MessageFinding::NotAsked),
            Self::Password(_) => InquiryAnswer::Password(PasswordFinding::NotAsked),
            Self::MessageRate { .. } => InquiryAnswer::MessageRate(MessageRateFinding::NotAsked),
            Self::Recipient { .. } => InquiryAnswer::Recipient(RecipientFinding::NotAsked),
            Self::Sender(_) => InquiryAnswer::Sender(SenderFinding::NotAsked),
        }
    }
}

/// The payers of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRatePayers {
    /// The source of the connection.
    pub source: bool,
    /// The user who authenticated.
    pub user: Option<UserName>,
}

/// The finding about a client's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageRateFinding {
    /// It has used its messages up.
    Exceeded,
    /// Not counted: an explanation sends nothing.
    NotAsked,
    /// A message was left, and is counted now.
    Within,
}
