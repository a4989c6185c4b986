//! A stored message, and its printed form.

use std::fmt;
use std::net::SocketAddr;

/// One message as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// The client's address and port.
    pub client: SocketAddr,
    /// The client's name in HELO or EHLO.
    pub helo: String,
    /// The argument of MAIL FROM; its address is empty for a report.
    pub sender: Path,
    /// The arguments of those RCPT TO that were not refused.
    pub recipients: Vec<Path>,
    /// The content in octets, dots unstuffed, with its last CRLF.
    pub content: Vec<u8>,
}

impl Message {
    /// The content as text, for tests that look for a line in it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }
}

/// An address as the client wrote it, and its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Path {
    /// The text between the angle brackets.
    pub address: String,
    /// The text after them: `SIZE=512 BODY=8BITMIME`.
    pub parameters: String,
}

impl Path {
    /// Splits `<address> parameters`; any other text is not a path.
    pub fn parse(argument: &str) -> Option<Self> {
        let (address, parameters) = argument.trim().strip_prefix('<')?.split_once('>')?;
        Some(Self { address: address.to_owned(), parameters: parameters.trim().to_owned() })
    }
}

impl fmt::Display for Path {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = format!("<{}> {}", self.address, self.parameters);
        formatter.write_str(&printable(line.trim_end()))
    }
}

impl fmt::Display for Message {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "---- message from {} ({})", self.client, printable(&self.helo))?;
        writeln!(formatter, "MAIL FROM:{}", self.sender)?;
        for recipient in &self.recipients {
            writeln!(formatter, "RCPT TO:{recipient}")?;
        }
        writeln!(formatter)?;
        for line in self.text().split_terminator("\r\n") {
            writeln!(formatter, "{}", printable(line))?;
        }
        writeln!(formatter, "---- end of message, {} octets", self.content.len())
    }
}

/// Text that is safe on a terminal: control characters are written as escapes.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\t' => character.to_string(),
            _ if character.is_control() => character.escape_default().to_string(),
            _ => character.to_string(),
        })
        .collect()
}
