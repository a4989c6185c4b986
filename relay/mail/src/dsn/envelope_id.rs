//! ENVID of MAIL: by which name does the sender know this message?

use std::fmt;

use crate::dsn::xtext::{decode_xtext, with_written_equals};
use crate::heap::HeapOctets;
use crate::limits::ENVELOPE_ID_CHARACTERS;

/// The value of ENVID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeId(String);

impl HeapOctets for EnvelopeId {
    fn heap_octets(&self) -> usize {
        self.0.heap_octets()
    }
}

impl EnvelopeId {
    /// Parses the value of ENVID: xtext of at most [`ENVELOPE_ID_CHARACTERS`] (RFC 3461 section
    /// 4.4). An unencoded `=` is accepted.
    pub fn parse(value: &str) -> Option<Self> {
        let value = with_written_equals(value);
        let fits = !value.is_empty() && value.len() <= ENVELOPE_ID_CHARACTERS;
        (fits && decode_xtext(&value).is_some()).then_some(Self(value))
    }

    /// The decoded value: printable ASCII.
    pub fn decoded(&self) -> String {
        decode_xtext(&self.0).unwrap_or_default()
    }
}

/// The value as the client wrote it.
impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
