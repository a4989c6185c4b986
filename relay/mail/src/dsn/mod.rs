//! Which reports a client requests for its message (RFC 3461): the parameters of MAIL and RCPT.
//!
//! A value is stored as the client wrote it, so that the next hop gets it unchanged. A value exists
//! only if it decodes to one line of printable text, so decoded text can begin no header field and
//! no command. The queue decides who gets which report.

mod envelope_id;
mod notify;
mod original_recipient;
mod xtext;

#[cfg(test)]
mod tests;

use std::fmt;

pub use crate::dsn::envelope_id::EnvelopeId;
pub use crate::dsn::notify::Notify;
pub use crate::dsn::original_recipient::OriginalRecipient;
pub use crate::dsn::xtext::{decode_xtext, push_escaped};
use crate::heap::HeapOctets;
use crate::path::ForwardPath;

/// RET and ENVID of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailDsn {
    /// RET: the part of the message that a report returns.
    pub ret: Option<Ret>,
    /// ENVID: the sender's name for this message.
    pub envelope_id: Option<EnvelopeId>,
    /// The sender's address is not verified: our report returns the header section, even without
    /// RET. The next hop does not see this flag (RFC 3461 section 5.2.1).
    pub is_unproven: bool,
}

/// RET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`: the message.
    Full,
    /// `HDRS`: its header section.
    Headers,
}

/// A recipient, and the reports that the client requests for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The path of RCPT.
    pub path: ForwardPath,
    /// Its parameters.
    pub dsn: RcptDsn,
}

/// NOTIFY and ORCPT of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptDsn {
    /// NOTIFY; `None` leaves the choice to us, which is FAILURE and DELAY.
    pub notify: Option<Notify>,
    /// ORCPT: the address to which the message was first sent.
    pub original: Option<OriginalRecipient>,
}

impl HeapOctets for MailDsn {
    fn heap_octets(&self) -> usize {
        self.envelope_id.heap_octets()
    }
}

impl HeapOctets for Addressee {
    fn heap_octets(&self) -> usize {
        self.path.heap_octets() + self.dsn.original.heap_octets()
    }
}

impl Ret {
    /// Parses the value of RET.
    pub fn parse(value: &str) -> Option<Self> {
        match value.to_ascii_uppercase().as_str() {
            "FULL" => Some(Self::Full),
            "HDRS" => Some(Self::Headers),
            _ => None,
        }
    }
}

impl RcptDsn {
    /// Adds the requests of another RCPT for the same recipient: the sender gets the reports that
    /// either of them requested. The first ORCPT remains.
    pub fn merge(&mut self, other: Self) {
        self.notify = match (self.notify, other.notify) {
            (Some(one), Some(other)) => Some(Notify {
                success: one.success || other.success,
                failure: one.failure || other.failure,
                delay: one.delay || other.delay,
            }),
            (Some(asked), None) | (None, Some(asked)) if asked.success => {
                Some(Notify { success: true, failure: true, delay: true })
            }
            _ => None,
        };
        self.original = self.original.take().or(other.original);
    }

    /// Does the sender want a report of a failure? By default it does (RFC 3461 section 4.1).
    pub fn wants_failure(&self) -> bool {
        self.notify.is_none_or(|notify| notify.failure)
    }

    /// Does the sender want a report of a delay? Without NOTIFY the choice is ours (RFC 3461
    /// section 4.1), and we send one.
    pub fn wants_delay(&self) -> bool {
        self.notify.is_none_or(|notify| notify.delay)
    }

    /// Did the sender request a report of success?
    pub fn wants_success(&self) -> bool {
        self.notify.is_some_and(|notify| notify.success)
    }
}

impl From<ForwardPath> for Addressee {
    /// A recipient without DSN parameters.
    fn from(path: ForwardPath) -> Self {
        Self { path, dsn: RcptDsn::default() }
    }
}

impl Addressee {
    /// May the recipient be sent without SMTPUTF8, parameters included?
    pub fn is_ascii(&self) -> bool {
        self.path.is_ascii() && self.dsn.original.as_ref().is_none_or(OriginalRecipient::is_ascii)
    }
}

/// The path, without angle brackets.
impl fmt::Display for Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// The parameters in the form that follows the path of MAIL, each with a space before it.
impl fmt::Display for MailDsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ret) = self.ret {
            write!(f, " RET={ret}")?;
        }
        if let Some(id) = &self.envelope_id {
            write!(f, " ENVID={id}")?;
        }
        Ok(())
    }
}

/// The parameters in the form that follows the path of RCPT, each with a space before it.
impl fmt::Display for RcptDsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notify) = self.notify {
            write!(f, " NOTIFY={notify}")?;
        }
        if let Some(original) = &self.original {
            write!(f, " ORCPT={original}")?;
        }
        Ok(())
    }
}
