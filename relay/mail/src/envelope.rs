//! Sender and recipients of one message, with the parameters of MAIL and RCPT.

use crate::dsn::{Addressee, MailDsn};
use crate::heap::HeapOctets;
use crate::path::ReversePath;

/// The encoding of a message body on the wire (RFC 6152 and RFC 3030).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BodyType {
    /// `BODY=BINARYMIME`: any octets, in lines of any length or without lines.
    BinaryMime,
    /// `BODY=8BITMIME`.
    EightBitMime,
    /// `BODY=7BIT`, also the default without the parameter.
    #[default]
    SevenBit,
}

/// Sender, recipients and their parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The argument of MAIL.
    pub sender: ReversePath,
    /// The arguments of RCPT that got a 250, in order. Never empty after a message has begun.
    pub recipients: Vec<Addressee>,
    /// BODY of MAIL.
    pub body: BodyType,
    /// SMTPUTF8 of MAIL (RFC 6531).
    pub smtputf8: bool,
    /// RET and ENVID of MAIL (RFC 3461).
    pub dsn: MailDsn,
}

impl HeapOctets for Envelope {
    fn heap_octets(&self) -> usize {
        self.sender.heap_octets() + self.recipients.heap_octets() + self.dsn.heap_octets()
    }
}
