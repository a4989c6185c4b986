//! Which extensions does a message need from its next hop, and how are its commands written?

use crate::client::{Capabilities, SizeLimit};
use relay_mail::dsn::{Addressee, MailDsn, RcptDsn};
use relay_mail::outcome::Cause;
use relay_mail::path::ReversePath;
use relay_mail::reply::{Enhanced, Reply};

/// X.6.7 of RFC 5248: non-ASCII addresses are not permitted.
const LACKS_SMTPUTF8: Enhanced = Enhanced(5, 6, 7);
/// X.6.1 of RFC 3463: media not supported.
const LACKS_BINARYMIME: Enhanced = Enhanced(5, 6, 1);
/// X.6.3 of RFC 3463: conversion required but not supported.
const LACKS_8BITMIME: Enhanced = Enhanced(5, 6, 3);
/// X.3.4 of RFC 3463: message too big for system.
const TOO_LARGE: Enhanced = Enhanced(5, 3, 4);

/// The envelope of a message and the extensions that it needs from the next hop.
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
    /// Its last line has no CRLF, so DATA adds one.
    pub unterminated: bool,
    /// The message has octets above 127.
    pub eight_bit: bool,
    /// The message has octets that only a body declared BODY=BINARYMIME may have (RFC 3030).
    pub binary: bool,
    /// The header section or the sender needs SMTPUTF8. The addresses of recipients show whether
    /// they need it.
    pub smtputf8: bool,
}

/// The reason of a refused MAIL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailRefusal {
    /// The connection: see [`refuses_connection`].
    Connection,
    /// The message, or a connection that has served its time.
    Message,
}

impl Transaction {
    /// The needed extension that the next hop does not offer.
    pub fn missing_extension(&self, capabilities: &Capabilities) -> Option<Cause> {
        let cause = |status, text: String| Some(Cause::Local { status, text });
        let needs_smtputf8 = self.smtputf8 || self.recipients.iter().all(needs_smtputf8);
        if needs_smtputf8 && !capabilities.smtputf8 {
            return Some(lacks_smtputf8());
        }
        if self.binary && !(capabilities.takes_chunks() && capabilities.binary_mime) {
            // RFC 3030 section 3: convert or return. Conversion would have to rewrite MIME parts.
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

    /// Only BDAT sends it unchanged. Other messages are sent by DATA even if BDAT is offered, since
    /// no other command is replied to with 354: see [`super::answered`].
    pub(super) fn needs_chunks(&self) -> bool {
        self.binary || self.unterminated
    }

    fn is_smtputf8(&self) -> bool {
        self.smtputf8 || self.recipients.iter().any(needs_smtputf8)
    }

    /// The value of SIZE: the octets of the message on the wire. Doubled dots do not count, nor
    /// does the end of data (RFC 1870 section 3).
    pub(super) fn declared_size(&self, capabilities: &Capabilities) -> u64 {
        let added = self.unterminated && !capabilities.takes_chunks();
        self.size.saturating_add(if added { 2 } else { 0 })
    }

    pub(super) fn mail(&self, capabilities: &Capabilities) -> String {
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

    pub(super) fn rcpt(&self, place: usize, capabilities: &Capabilities) -> String {
        let Addressee { path, dsn } = &self.recipients[place];
        let mut line = format!("RCPT TO:<{path}>");
        if capabilities.dsn {
            let original = dsn.original.as_ref();
            let original =
                original.map(|original| match capabilities.smtputf8 && self.is_smtputf8() {
                    true => original.clone(),
                    false => original.to_ascii(),
                });
            // In ASCII it may exceed the limit of RFC 3461 section 4.2, on which servers base the
            // size of their command lines. It is for reports only; the mail is more important.
            let original = original.filter(|original| original.fits_parameter());
            line.push_str(&RcptDsn { original, ..dsn.clone() }.to_string());
        }
        line
    }
}

/// Does the reply to a RCPT, after others were accepted, only mean that the transaction has enough
/// recipients? X.5.3 of RFC 3463 means it, with any code. Without an enhanced code, 452 means it
/// (RFC 5321 section 4.5.3.1.10), and 552 from older servers. A 421 ends the connection.
pub fn says_too_many_recipients(reply: &Reply) -> bool {
    match reply.enhanced {
        Some(Enhanced(_, subject, detail)) => (subject, detail) == (5, 3) && reply.code != 421,
        None => matches!(reply.code, 452 | 552),
    }
}

/// Does the reply to MAIL mean that the next hop serves no further connection of ours? Some servers
/// say so here and not in their greeting: 450, 451 or 454 with X.7.n of RFC 3463, a matter of
/// policy.
pub(super) fn refuses_connection(reply: &Reply) -> bool {
    let is_policy =
        reply.enhanced.is_some_and(|Enhanced(class, subject, _)| (class, subject) == (4, 7));
    matches!(reply.code, 450 | 451 | 454) && is_policy
}

/// Is this the status of a failure because the next hop lacks an extension that the [`Transaction`]
/// needs? Another server may have it.
pub fn is_missing_extension(status: Enhanced) -> bool {
    [LACKS_SMTPUTF8, LACKS_BINARYMIME, LACKS_8BITMIME, TOO_LARGE].contains(&status)
}

/// This recipient cannot be sent to a next hop without SMTPUTF8.
pub(super) fn needs_smtputf8(recipient: &Addressee) -> bool {
    !recipient.path.is_ascii()
}

pub(super) fn lacks_smtputf8() -> Cause {
    // RFC 6531 section 3.5.
    let text = "the message needs SMTPUTF8, which the next hop does not offer";
    Cause::Local { status: LACKS_SMTPUTF8, text: text.to_owned() }
}
