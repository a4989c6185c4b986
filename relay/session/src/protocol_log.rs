//! The lines that a session sends and receives, for the protocol log of connectors that have one
//! (`ProtocolLoggingLevel`).
//!
//! This module decides what a record contains and what it leaves out: it never contains
//! authentication data, from either side of an exchange, or the octets of messages. The driver
//! fetches the records and writes them. For other connectors nothing is recorded.

use std::fmt::{Display, Write as _};

use crate::Session;
use crate::limits::{PROTOCOL_LOG_LINE_OCTETS, PROTOCOL_LOG_OCTETS};
use relay_connector::ProtocolLoggingLevel;
use relay_mail::reply;
use relay_smtp::command::{Command, CommandError};
use relay_smtp::line::LineError;
use relay_smtp::sasl::Mechanism;

/// Replaces data that would allow a reader to authenticate.
const AUTHENTICATION_DATA: &str = "<authentication data>";

/// One line of the protocol log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProtocolRecord {
    /// The side that speaks.
    pub event: ProtocolEvent,
    /// The text: one printable line of at most [`PROTOCOL_LOG_LINE_OCTETS`].
    pub data: String,
}

/// The side that speaks in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolEvent {
    /// `*`: neither side; an event of the session.
    Information,
    /// `<`: the client.
    Received,
    /// `>`: we.
    Sent,
}

/// The records of a session that have not been fetched.
#[derive(Debug, Default)]
pub(super) struct ProtocolRecords {
    /// `None` if the connector has no such log.
    noted: Option<Box<Noted>>,
}

#[derive(Debug, Default)]
struct Noted {
    records: Vec<ProtocolRecord>,
    octets: usize,
    /// Records for which there was no room.
    left_out: u64,
    /// The last command was AUTH, or could not be parsed. A client that ignores replies continues
    /// with the messages of an exchange that has not begun: an unknown command may be a password.
    hides_unknown: bool,
}

impl ProtocolEvent {
    /// Exchange's sign for it.
    pub const fn sign(self) -> &'static str {
        match self {
            Self::Information => "*",
            Self::Received => "<",
            Self::Sent => ">",
        }
    }
}

impl ProtocolRecords {
    pub(super) fn new(level: ProtocolLoggingLevel) -> Self {
        match level {
            ProtocolLoggingLevel::None => Self { noted: None },
            ProtocolLoggingLevel::Verbose => Self { noted: Some(Box::default()) },
        }
    }

    /// An event. `what` is called only if it is recorded.
    pub(super) fn information<D: Display>(&mut self, what: impl FnOnce() -> D) {
        if let Some(noted) = &mut self.noted {
            noted.push(ProtocolEvent::Information, what().to_string().as_bytes());
        }
    }

    /// A command line, and its parsed form.
    pub(super) fn command(&mut self, line: &[u8], understood: &Result<Command, CommandError>) {
        let Some(noted) = &mut self.noted else { return };
        let is_command = !matches!(understood, Err(CommandError::Verb | CommandError::NotUtf8));
        // As in the command parser, blanks may precede the verb and may repeat.
        let words = line.trim_ascii_start();
        let is_auth = if is_command { begins_with(words, b"AUTH") } else { holds_auth(line) };
        noted.hides_unknown = is_auth || (noted.hides_unknown && !is_command);
        if is_auth {
            noted.push(ProtocolEvent::Received, &auth(line));
        } else if noted.hides_unknown {
            noted.push(ProtocolEvent::Received, AUTHENTICATION_DATA.as_bytes());
        } else if begins_with(words, b"XCLIENT") {
            noted.push(ProtocolEvent::Received, &without_login(line));
        } else {
            noted.push(ProtocolEvent::Received, line);
        }
    }

    /// A line with forbidden octets, or too long.
    pub(super) fn no_line(&mut self, error: LineError) {
        if let Some(noted) = &mut self.noted {
            noted.hides_unknown = true;
        }
        self.received(|| error);
    }

    /// A line of an AUTH exchange.
    pub(super) fn response(&mut self) {
        if let Some(noted) = &mut self.noted {
            noted.hides_unknown = true;
            noted.push(ProtocolEvent::Received, AUTHENTICATION_DATA.as_bytes());
        }
    }

    /// Octets of the client that must not be readable here.
    pub(super) fn received<D: Display>(&mut self, what: impl FnOnce() -> D) {
        if let Some(noted) = &mut self.noted {
            noted.push(ProtocolEvent::Received, format!("<{}>", what()).as_bytes());
        }
    }

    /// A reply as it is sent to the client.
    pub(super) fn reply(&mut self, code: u16, encoded: &[u8]) {
        let Some(noted) = &mut self.noted else { return };
        // A reader of a whole SCRAM exchange without the proof could test passwords with it.
        if code == reply::CHALLENGE.code {
            let challenge = format!("{code} {AUTHENTICATION_DATA}");
            return noted.push(ProtocolEvent::Sent, challenge.as_bytes());
        }
        for line in encoded.split(|&octet| octet == b'\n').filter(|line| !line.is_empty()) {
            noted.push(ProtocolEvent::Sent, line.strip_suffix(b"\r").unwrap_or(line));
        }
    }

    /// Octets of records that wait to be fetched.
    pub(super) fn octets(&self) -> usize {
        self.noted.as_ref().map_or(0, |noted| noted.octets)
    }

    /// Must the records be fetched now, so that none are left out?
    pub(super) fn is_full(&self) -> bool {
        self.noted.as_ref().is_some_and(|noted| noted.octets >= PROTOCOL_LOG_OCTETS / 2)
    }

    fn take(&mut self) -> Vec<ProtocolRecord> {
        let Some(noted) = &mut self.noted else { return Vec::new() };
        noted.octets = 0;
        let mut records = std::mem::take(&mut noted.records);
        let left_out = std::mem::take(&mut noted.left_out);
        if left_out > 0 {
            let data = format!("{left_out} records left out");
            records.push(ProtocolRecord { event: ProtocolEvent::Information, data });
        }
        records
    }
}

impl Noted {
    fn push(&mut self, event: ProtocolEvent, octets: &[u8]) {
        let record = ProtocolRecord { event, data: printable(octets) };
        let size = size_of::<ProtocolRecord>() + record.data.len();
        // After one record is left out, all later ones are too, until the gap can be recorded at
        // its position.
        if self.left_out > 0 || self.octets + size > PROTOCOL_LOG_OCTETS {
            self.left_out += 1;
            return;
        }
        self.octets += size;
        self.records.push(record);
    }
}

impl Session {
    /// The records since the last call, in order, for the protocol log. Call this before each
    /// action is performed, and again when there is none; it is empty unless the connector's
    /// `protocol_logging_level` is Verbose.
    pub fn take_protocol_records(&mut self) -> Vec<ProtocolRecord> {
        self.output.protocol.take()
    }

    /// The identity of the client from now on.
    pub(super) fn note_principal(&mut self) {
        let peer = &self.context.peer;
        self.output.protocol.information(|| match peer.user_name() {
            Some(user) => format!("authenticated: {user}, principal {}", peer.principal),
            None => format!("principal {}", peer.principal),
        });
    }
}

/// The octets as one printable line: a client cannot write a second one. Octets that are not UTF-8
/// are shown as numbers.
fn printable(octets: &[u8]) -> String {
    let mut line = String::with_capacity(octets.len().min(PROTOCOL_LOG_LINE_OCTETS));
    let rest = format!("… {} octets", octets.len());
    let room = PROTOCOL_LOG_LINE_OCTETS - rest.len();
    // Where the line ends if not all of it has room.
    let mut end = 0;
    let fits = octets.utf8_chunks().all(|chunk| {
        chunk.valid().chars().all(|character| {
            match character {
                '"' | '\'' => line.push(character),
                _ => line.extend(character.escape_debug()),
            }
            end = if line.len() <= room { line.len() } else { end };
            line.len() <= PROTOCOL_LOG_LINE_OCTETS
        }) && chunk.invalid().iter().all(|octet| {
            let _ = write!(line, "\\x{octet:02x}");
            end = if line.len() <= room { line.len() } else { end };
            line.len() <= PROTOCOL_LOG_LINE_OCTETS
        })
    });
    if !fits {
        line.truncate(end);
        line.push_str(&rest);
    }
    line
}

fn begins_with(line: &[u8], verb: &[u8]) -> bool {
    line.get(..verb.len()).is_some_and(|start| start.eq_ignore_ascii_case(verb))
}

/// Could a line that is no command have been meant as AUTH, or as a header field of HTTP?
fn holds_auth(line: &[u8]) -> bool {
    line.windows(4).any(|part| part.eq_ignore_ascii_case(b"AUTH"))
}

/// AUTH with the name of its mechanism, without the rest of the line. An unknown mechanism may be a
/// password.
fn auth(line: &[u8]) -> Vec<u8> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (verb, mechanism, rest) = (words.next(), words.next(), words.next());
    let mechanism = mechanism.filter(|name| {
        let is_known = str::from_utf8(name).is_ok_and(|name| Mechanism::of_name(name).is_some());
        // RFC 4422 section 3.1. In lower case it could be anything.
        let is_name = (1..=20).contains(&name.len())
            && name.iter().all(|octet| matches!(octet, b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_'));
        is_known || is_name
    });
    match (verb, mechanism, rest) {
        (Some(verb), Some(mechanism), rest) if verb.eq_ignore_ascii_case(b"AUTH") => {
            let rest = rest.map(|_| AUTHENTICATION_DATA.as_bytes());
            [Some(verb), Some(mechanism), rest]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(&b' ')
        }
        _ => format!("AUTH {AUTHENTICATION_DATA}").into_bytes(),
    }
}

/// XCLIENT without the user name that the client has used at the proxy.
fn without_login(line: &[u8]) -> Vec<u8> {
    let attributes = line.split(u8::is_ascii_whitespace).map(|attribute| {
        match begins_with(attribute, b"LOGIN=") {
            true => format!("LOGIN={AUTHENTICATION_DATA}").into_bytes(),
            false => attribute.to_vec(),
        }
    });
    attributes.collect::<Vec<_>>().join(&b' ')
}

#[cfg(test)]
mod tests;
