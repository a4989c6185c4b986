//! What a decision needs to know and neither session nor policy can find out: it takes a network,
//! a disk, or long arithmetic.
//!
//! A function of this module's parent returns [`Judgement::Needs`] at the check that lacks its
//! fact, and is asked again with the [`Finding`]. So the order of the checks is written once, what
//! an earlier check refuses is never inquired after, and a decision stays a pure function.
//! Who performs an inquiry is for [`crate::server`]; that the session waits meanwhile, for
//! [`crate::smtp::session`].

use super::{Decision, RecipientLookup};
use crate::smtp::path::Mailbox;

/// A decision, or what is missing for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Nothing is missing.
    Decided(Decision),
    /// The next check needs this fact.
    Needs(Inquiry),
}

/// A question to somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inquiry {
    /// Does the server that owns the domain know this recipient?
    Recipient {
        /// The recipient.
        mailbox: Mailbox,
        /// Where to ask.
        lookup: RecipientLookup,
    },
}

/// The answer to an [`Inquiry`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// To [`Inquiry::Recipient`].
    Recipient(RecipientFinding),
}

/// What is known of a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecipientFinding {
    /// The server takes mail for it.
    Known,
    /// Nobody was asked: an explanation goes on as if it were known.
    NotAsked,
    /// No answer, or none that settles it; why, in a sentence.
    Unavailable(String),
    /// The server refuses it for good; its reply on one line.
    Unknown(String),
}

/// The facts that have been found for the decision at hand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// About the recipient.
    pub recipient: Option<RecipientFinding>,
}

impl Findings {
    /// Keeps an answer.
    pub fn insert(&mut self, finding: Finding) {
        match finding {
            Finding::Recipient(finding) => self.recipient = Some(finding),
        }
    }
}

impl Inquiry {
    /// The answer when none came in time.
    pub fn unanswered(&self) -> Finding {
        match self {
            Self::Recipient { .. } => {
                let why = "the question was not answered in time".to_owned();
                Finding::Recipient(RecipientFinding::Unavailable(why))
            }
        }
    }

    /// The answer of an explanation, which asks nobody.
    pub fn not_asked(&self) -> Finding {
        match self {
            Self::Recipient { .. } => Finding::Recipient(RecipientFinding::NotAsked),
        }
    }
}
