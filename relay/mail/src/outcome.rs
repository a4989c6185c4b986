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

/// What a next hop replied to. `451 try later` may be about the connection, the sender, one recipient
/// or the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// The connection: the reply stands in place of a greeting.
    Connection,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH or a response of it.
    Auth,
    /// MAIL.
    Mail,
    /// RCPT.
    Rcpt,
    /// DATA.
    Data,
    /// The end of the message, or octets of it.
    Message,
    /// RSET.
    Reset,
    /// Nothing: it came unasked.
    Nothing,
}

/// As a reason ends with it: `451 4.3.0 Not now, to RCPT`.
impl std::fmt::Display for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connection => "in place of a greeting",
            Self::Hello => "to EHLO or HELO",
            Self::StartTls => "to STARTTLS",
            Self::Auth => "to AUTH",
            Self::Mail => "to MAIL",
            Self::Rcpt => "to RCPT",
            Self::Data => "to DATA",
            Self::Message => "to the message",
            Self::Reset => "to RSET",
            Self::Nothing => "unasked",
        })
    }
}

/// The reason of an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The next hop's reply.
    Reply {
        /// What it said.
        reply: Reply,
        /// To what; none where a version before this one recorded it.
        to: Option<Asked>,
    },
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

    /// What `hop` replied to what it was asked.
    pub fn reply(hop: &str, reply: Reply, to: Asked) -> Self {
        Self { hop: Some(hop.to_owned()), cause: Cause::Reply { reply, to: Some(to) } }
    }
}

/// The reply or the sentence, on one line, for logs and lists.
impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            Cause::Reply { reply, to } => {
                reply.fmt(f)?;
                // What was taken, was taken whole.
                if let Some(to) = to.filter(|_| !reply.is_positive()) {
                    write!(f, ", {to}")?;
                }
            }
            Cause::Local { status, text } => write!(f, "{status} {text}")?,
        }
        match &self.hop {
            Some(hop) => write!(f, " ({hop})"),
            None => Ok(()),
        }
    }
}
