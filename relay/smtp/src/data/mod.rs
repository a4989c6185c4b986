//! The octets after DATA: where the message ends, dots taken out, bare line endings found.
//!
//! This module decides what belongs to the message and where it ends. After DATA it ends at
//! CRLF.CRLF and at nothing else, and there is no setting that would make it end elsewhere. After
//! BDAT, in [`ChunkReader`], nothing ends it but its size. What violates the rules of lines is found
//! here in both cases; what follows from it is for `policy`.

mod chunk;
mod endings;

#[cfg(test)]
mod tests;

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use relay_mail::line_end::{LineMark, LineScanner};

pub use crate::data::chunk::{ChunkEvent, ChunkReader, skip};
pub use crate::data::endings::LineEndings;

/// An octet that makes a message unfit to be passed on: another server might see a line end, and
/// so an end of data, where we see none.
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
    /// What a mark violates; `place` is the number of octets before its octet. `None`: a line ends
    /// as it must.
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

/// What comes next in the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DataEvent {
    /// Octets of the message.
    Content(Bytes),
    /// The end of data. What is left of the input are commands.
    End,
}

/// Takes the message off the front of a buffer. The result depends on the octets only, never on
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
    /// Octets taken off the input so far, to say where a violation stands.
    taken: u64,
}

impl Default for DataReader {
    fn default() -> Self {
        Self::new()
    }
}

impl DataReader {
    /// A reader that stands right after the reply 354.
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

    /// The next part of the message: all that the input holds of it. `None` when more input is
    /// needed; up to two octets may then be left, a dot and a CR whose meaning depends on what
    /// follows.
    ///
    /// Content is a slice of the input. Only where a dot was taken out is what follows it moved, so
    /// that a message made of dots comes in as few parts as any other.
    pub fn next_event(&mut self, input: &mut BytesMut) -> Option<DataEvent> {
        // The input before `read` is understood. The content of it is its first `kept` octets and
        // what stands from `run` to `read`.
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

/// Moves a run of content to the end of the `kept` octets before it; says how many these are now.
fn close_up(input: &mut [u8], kept: usize, run: Range<usize>) -> usize {
    let octets = run.len();
    if kept != run.start {
        input.copy_within(run, kept);
    }
    kept + octets
}
