//! Reads the octets after DATA: finds the end of the message, removes dots, and reports bare line
//! endings.
//!
//! This module decides which octets belong to the message and where it ends. After DATA it ends at
//! CRLF.CRLF only, and no setting changes that. After BDAT, in [`ChunkReader`], only its size ends
//! it. Violations of line endings are found here in both cases; `policy` decides their
//! consequences.

mod chunk;
mod endings;

#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use relay_mail::line_end::{LineMark, LineScanner};

pub use crate::data::chunk::{ChunkEvent, ChunkReader, skip};
pub use crate::data::endings::LineEndings;

/// An octet with which a message must not be relayed: another server might see a line end, and so
/// an end of data, that we do not see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A CR that no LF follows.
    #[error("bare CR at octet {0}")]
    BareCr(u64),
    /// An LF that no CR precedes.
    #[error("bare LF at octet {0}")]
    BareLf(u64),
    /// A NUL.
    #[error("NUL at octet {0}")]
    Nul(u64),
}

impl Violation {
    /// The violation of a mark; `place` is the number of octets before its octet. `None`: the line
    /// ends correctly.
    pub(crate) const fn of(mark: LineMark, place: u64) -> Option<Self> {
        match mark {
            LineMark::End => None,
            LineMark::BareCr => Some(Self::BareCr(place)),
            LineMark::BareLf => Some(Self::BareLf(place)),
            LineMark::Nul => Some(Self::Nul(place)),
        }
    }

    /// Octets of the message before it.
    pub const fn place(self) -> u64 {
        match self {
            Self::BareCr(place) | Self::BareLf(place) | Self::Nul(place) => place,
        }
    }
}

/// The next part of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataEvent {
    /// Octets of the message.
    Content(Bytes),
    /// The end of data. The rest of the input is commands.
    End,
}

/// Reads the message from the front of a buffer. The result depends on the octets only, never on
/// how they were cut into packets.
///
/// ```
/// use bytes::BytesMut;
/// use relay_smtp::data::{DataEvent, DataReader, Violation};
///
/// let (mut reader, mut input) = (DataReader::new(), BytesMut::from("..a\r\nb\n.\r\nc\r\n.\r\nQUIT\r\n"));
/// // The added dot is taken out. LF, dot, CRLF is no end of data, but the LF is a violation.
/// let content = DataEvent::Content(".a\r\nb\n.\r\nc\r\n".into());
/// assert_eq!(reader.next_event(&mut input), Some(content));
/// assert_eq!(reader.next_event(&mut input), Some(DataEvent::End));
/// assert_eq!(reader.violation(), Some(Violation::BareLf(6)));
/// assert_eq!(input, "QUIT\r\n");
/// ```
#[derive(Debug)]
pub struct DataReader {
    lines: LineScanner,
    violation: Option<Violation>,
    /// Octets removed from the input so far, for the position of a violation.
    taken: u64,
}

impl Default for DataReader {
    fn default() -> Self {
        Self::new()
    }
}

impl DataReader {
    /// A reader right after the reply 354.
    pub fn new() -> Self {
        // RFC 5321 section 4.1.1.4: the CRLF of the DATA line counts, so that `.` on the first
        // line is the end of an empty message. The first line is then like every other.
        let lines = LineScanner::default();
        Self { lines, violation: None, taken: 0 }
    }

    /// The first violation so far.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// The next part of the message, as long as the input allows. `None` if more input is needed;
    /// then up to two octets may stay in the input, a dot and a CR whose meaning depends on the
    /// next octets.
    ///
    /// Content is a slice of the input. Octets are moved only after a removed dot, so that a
    /// message of many dots needs no more parts than any other.
    pub fn next_event(&mut self, input: &mut BytesMut) -> Option<DataEvent> {
        // The input before `read` is parsed. Its content is its first `kept` octets and the octets
        // from `run` to `read`.
        let mut read = 0;
        let mut kept = 0;
        let mut run = 0;
        loop {
            if self.lines.is_at_line_start() {
                match &input[read..] {
                    [] | b"." | b".\r" => break,
                    // The reader stays at the line start; the next call finds the end first.
                    [b'.', b'\r', b'\n', ..] if read > 0 => break,
                    [b'.', b'\r', b'\n', ..] => {
                        self.take(input, 3);
                        return Some(DataEvent::End);
                    }
                    // RFC 5321 section 4.5.2: a dot that is not alone on its line was added.
                    [b'.', ..] => {
                        kept = close_up(input, kept, run..read);
                        read += 1;
                        run = read;
                    }
                    _ => {}
                }
            }
            let Some((octets, mark)) = self.lines.next(&input[read..]) else {
                read = input.len();
                break;
            };
            read += octets;
            // A bare CR may have gone out with an earlier part of the message.
            if let Some(violation) = Violation::of(mark, self.taken + read as u64 - 1) {
                self.violation.get_or_insert(violation);
            }
        }
        let kept = close_up(input, kept, run..read);
        let mut content = self.take(input, read);
        content.truncate(kept);
        (kept > 0).then(|| DataEvent::Content(content.freeze()))
    }

    fn take(&mut self, input: &mut BytesMut, octets: usize) -> BytesMut {
        self.taken += octets as u64;
        input.split_to(octets)
    }
}

/// Moves a run of content to the end of the `kept` octets before it; returns their new number.
fn close_up(input: &mut [u8], kept: usize, run: Range<usize>) -> usize {
    let octets = run.len();
    if kept != run.start {
        input.copy_within(run, kept);
    }
    kept + octets
}
