//! The outcome of one attempt to deliver for one recipient, and its cause.

use crate::reply::{Enhanced, Reply};

/// The outcome of one attempt for one recipient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The next hop took responsibility, including for reports.
    Delivered(OutcomeReason),
    /// Delivered, but no later server reports it: the next hop lacks DSN, or it is a Maildir.
    Relayed(OutcomeReason),
    /// Try again later.
    Deferred(OutcomeReason),
    /// Give up.
    Failed(OutcomeReason),
}

impl Outcome {
    /// The reason of the outcome.
    pub const fn answer(&self) -> &OutcomeReason {
        let (Self::Delivered(answer)
        | Self::Relayed(answer)
        | Self::Deferred(answer)
        | Self::Failed(answer)) = self;
        answer
    }
}

/// The reason of an outcome, and the next hop that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutcomeReason {
    /// The next hop, as configured or resolved; none if the attempt reached no next hop.
    pub hop: Option<String>,
    /// The next hop's reply, or the cause that this host found.
    pub cause: Cause,
}

/// The command to which a next hop replied. `451 try later` may be about the connection, the
/// sender, one recipient or the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnsweredCommand {
    /// The connection: the reply replaces the greeting.
    Connection,
    /// EHLO, HELO or LHLO.
    Hello,
    /// STARTTLS.
    StartTls,
    /// AUTH or one of its responses.
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
    /// None: the reply came without a command.
    Nothing,
}

/// The end of a reason, as in `451 4.3.0 Not now, to RCPT`.
impl std::fmt::Display for AnsweredCommand {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connection => "instead of a greeting",
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
        /// Its reply.
        reply: Reply,
        /// The command; none if an older version recorded the reply.
        to: Option<AnsweredCommand>,
    },
    /// A cause that this host found: no connection, a missing extension, no time left.
    Local {
        /// RFC 3463 code for the report.
        status: Enhanced,
        /// One sentence for the administrator.
        text: String,
    },
}

impl OutcomeReason {
    /// A cause that this host found without a next hop.
    pub fn local(hop: Option<&str>, status: Enhanced, text: impl Into<String>) -> Self {
        Self { hop: hop.map(str::to_owned), cause: Cause::Local { status, text: text.into() } }
    }

    /// The reply of `hop` to a command.
    pub fn reply(hop: &str, reply: Reply, to: AnsweredCommand) -> Self {
        Self { hop: Some(hop.to_owned()), cause: Cause::Reply { reply, to: Some(to) } }
    }
}

/// The reply or the sentence, on one line, for logs and lists.
impl std::fmt::Display for OutcomeReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.cause {
            Cause::Reply { reply, to } => {
                reply.fmt(f)?;
                // A positive reply always covers the whole command.
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
