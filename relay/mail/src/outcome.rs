//! What one attempt to deliver came to for one recipient, and who said so.

use crate::reply::{Enhanced, Reply};

/// What one attempt came to for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility, reports included.
    Delivered(Answer),
    /// It was delivered and nobody after us tells of it: the next hop knows nothing of DSN, or it is
    /// a Maildir.
    Relayed(Answer),
    /// Try again later.
    Deferred(Answer),
    /// Give up.
    Failed(Answer),
}

impl Outcome {
    /// What it follows from.
    pub const fn answer(&self) -> &Answer {
        let (Self::Delivered(answer)
        | Self::Relayed(answer)
        | Self::Deferred(answer)
        | Self::Failed(answer)) = self;
        answer
    }
}

/// Who said what about a recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The next hop, as it was configured or found; none when no hop was asked.
    pub hop: Option<String>,
    /// What it said, or what we found without it.
    pub cause: Cause,
}

/// The reason of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The next hop's reply.
    Reply(Reply),
    /// We found it ourselves: no connection, no capability, no time left.
    Local {
        /// RFC 3463 code for the report.
        status: Enhanced,
        /// One sentence for the administrator.
        text: String,
    },
}

impl Answer {
    /// What we found without the help of a next hop.
    pub fn local(hop: Option<&str>, status: Enhanced, text: impl Into<String>) -> Self {
        Self { hop: hop.map(str::to_owned), cause: Cause::Local { status, text: text.into() } }
    }

    /// What `hop` replied.
    pub fn reply(hop: &str, reply: Reply) -> Self {
        Self { hop: Some(hop.to_owned()), cause: Cause::Reply(reply) }
    }
}

/// The reply or the sentence, on one line, for logs and lists.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            Cause::Reply(reply) => reply.fmt(f)?,
            Cause::Local { status, text } => write!(f, "{status} {text}")?,
        }
        match &self.hop {
            Some(hop) => write!(f, " ({hop})"),
            None => Ok(()),
        }
    }
}
