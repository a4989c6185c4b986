//! Accepted mail, from the 250 until it is delivered or reported.
//!
//! The engine is behind [`Queue`], so that one shared by several hosts can take its place.

use crate::smtp::path::{ForwardPath, ReversePath};

/// How a message body is written on the wire (RFC 6152).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum BodyType {
    /// `BODY=8BITMIME`.
    EightBitMime,
    /// `BODY=7BIT`, and what holds without the parameter.
    #[default]
    SevenBit,
}

/// Sender, recipients and their parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The argument of MAIL.
    pub sender: ReversePath,
    /// The arguments of RCPT that got a 250, in order. Never empty once a message is begun.
    pub recipients: Vec<ForwardPath>,
    /// BODY of MAIL.
    pub body: BodyType,
    /// SMTPUTF8 of MAIL (RFC 6531).
    pub smtputf8: bool,
}
