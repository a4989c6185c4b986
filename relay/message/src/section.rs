//! Finds the end of a message's header section, for reception, storage, sending and reports.
//!
//! The section is a run of fields: lines that begin with a name and a colon, each with its
//! continuation lines. It ends before the first line that is not a field. A name is octets 33 to
//! 126 (RFC 5322 section 2.2): readers differ about a line with another octet before its colon; in
//! the body it has no meaning. If the first line that is not a field is not the empty line of RFC
//! 5322 section 2.1, an empty line must be added, because otherwise another reader may find another
//! end. Lines of an mbox file (`From ` or `>From `) are skipped before the first field.
//!
//! Only CRLF ends a line. The message arrives in pieces of any size; only a possible name is held
//! back.

#[cfg(test)]
mod tests;

use crate::limits::{FIELD_NAME_OCTETS, MBOX_LINES_OCTETS, PIECE_OCTETS};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use relay_mail::line_end::{LineMark, LineScanner};

/// The kind of the next octets of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Lines of an mbox file, before the first field.
    MboxLines(Bytes),
    /// A field begins: its name and the colon.
    Name(Bytes),
    /// More of the field: of its value, line ends included.
    Value(Bytes),
    /// The section has ended. Returned once.
    End {
        /// The body begins with an empty line, or nothing follows.
        is_separated: bool,
    },
    /// The empty line, if there is one, and the body.
    Body(Bytes),
}

/// Reads a message up to the end of its header section.
#[derive(Debug)]
pub struct SectionReader {
    place: Place,
    lines: LineScanner,
    /// Octets that can still turn out to be a name or to be body.
    held: BytesMut,
    /// Octets of `held` that are whole mbox lines.
    mbox_lines: usize,
    has_fields: bool,
    /// The part before the next octets.
    ready: Option<Part>,
}

/// The position of the next octet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In a line that may or may not be a field.
    Undecided(Line),
    Value,
    Body,
}

/// The progress of an undecided line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Start,
    /// A CR at its start.
    Cr,
    Name,
    /// In white space after the name (RFC 5322 section 4.5).
    Blank,
    /// In a line of an mbox file.
    Mbox,
}

/// The effect of an octet on an undecided line.
enum Step {
    Undecided(Line),
    /// The name of a field has ended.
    Field,
    /// The line continues a field.
    Continued,
    Empty,
    NoField,
}

impl Default for SectionReader {
    fn default() -> Self {
        Self {
            place: Place::Undecided(Line::Start),
            lines: LineScanner::default(),
            held: BytesMut::new(),
            mbox_lines: 0,
            has_fields: false,
            ready: None,
        }
    }
}

impl SectionReader {
    /// The next part of the message, taken from the piece. `None` if the piece is used up.
    pub fn next(&mut self, piece: &mut Bytes) -> Option<Part> {
        if let Some(part) = self.ready.take() {
            return Some(part);
        }
        match self.place {
            Place::Undecided(line) => self.decide(line, piece),
            Place::Value if !piece.is_empty() => Some(self.value(piece)),
            Place::Body if !self.held.is_empty() => Some(Part::Body(self.held.split().freeze())),
            Place::Body if !piece.is_empty() => Some(Part::Body(std::mem::take(piece))),
            Place::Value | Place::Body => None,
        }
    }

    /// The rest after the message has ended. Call this until it returns `None`.
    pub fn finish(&mut self) -> Option<Part> {
        match self.place {
            Place::Undecided(_) | Place::Value if self.ready.is_none() => {
                self.place = Place::Body;
                Some(Part::End { is_separated: self.held.is_empty() })
            }
            _ => self.next(&mut Bytes::new()),
        }
    }

    /// Octets that are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    fn decide(&mut self, mut line: Line, piece: &mut Bytes) -> Option<Part> {
        for at in 0..piece.len() {
            let mark = self.lines.next(&piece[at..=at]).map(|(_, mark)| mark);
            match self.step(line, piece[at], mark) {
                Step::Undecided(next) => line = next,
                decided => {
                    self.held.put_u8(piece[at]);
                    piece.advance(at + 1);
                    return Some(self.decided(decided));
                }
            }
            self.held.put_u8(piece[at]);
            if line == Line::Start {
                self.mbox_lines = self.held.len();
            }
        }
        piece.clear();
        self.place = Place::Undecided(line);
        None
    }

    /// The effect of the next octet on an undecided line.
    fn step(&self, line: Line, octet: u8, mark: Option<LineMark>) -> Step {
        match (line, mark) {
            (Line::Mbox, Some(LineMark::End)) => return Step::Undecided(Line::Start),
            // Any other line with a CR in it was decided at the CR.
            (_, Some(LineMark::End)) => return Step::Empty,
            (_, Some(LineMark::BareCr | LineMark::BareLf | LineMark::Nul)) => return Step::NoField,
            (_, None) => {}
        }
        let so_far = &self.held[self.mbox_lines..];
        match (line, octet) {
            (Line::Start, b' ' | b'\t') if self.has_fields => Step::Continued,
            (Line::Start, b' ' | b'\t' | b':') => Step::NoField,
            (Line::Start, b'\r') => Step::Undecided(Line::Cr),
            (Line::Mbox, _) if self.held.len() >= MBOX_LINES_OCTETS => Step::NoField,
            (Line::Mbox, _) => Step::Undecided(Line::Mbox),
            (Line::Name | Line::Blank, b':') => Step::Field,
            (_, _) if so_far.len() >= FIELD_NAME_OCTETS => Step::NoField,
            (Line::Name | Line::Blank, b' ' | b'\t') => Step::Undecided(Line::Blank),
            (Line::Blank, _) if !self.has_fields && is_mbox_line(so_far) => {
                Step::Undecided(Line::Mbox)
            }
            (Line::Start | Line::Name, _) if octet.is_ascii_graphic() => {
                Step::Undecided(Line::Name)
            }
            (Line::Start | Line::Cr | Line::Name | Line::Blank, _) => Step::NoField,
        }
    }

    /// The kind of the line is known, including the octets held back.
    fn decided(&mut self, step: Step) -> Part {
        match step {
            Step::Field => {
                self.place = Place::Value;
                self.has_fields = true;
                let mbox_lines = self.held.split_to(std::mem::take(&mut self.mbox_lines));
                let name = Part::Name(self.held.split().freeze());
                if mbox_lines.is_empty() {
                    return name;
                }
                self.ready = Some(name);
                Part::MboxLines(mbox_lines.freeze())
            }
            Step::Continued => {
                self.place = Place::Value;
                Part::Value(self.held.split().freeze())
            }
            Step::Empty | Step::NoField | Step::Undecided(_) => {
                self.place = Place::Body;
                // After mbox lines without a field, the empty line is within the body.
                let is_separated = matches!(step, Step::Empty) && self.mbox_lines == 0;
                Part::End { is_separated }
            }
        }
    }

    /// As much of the field as the piece holds.
    fn value(&mut self, piece: &mut Bytes) -> Part {
        match field_end(&mut self.lines, piece) {
            Some(end) => {
                self.place = Place::Undecided(Line::Start);
                Part::Value(piece.split_to(end))
            }
            None => Part::Value(std::mem::take(piece)),
        }
    }
}

/// The octets of a field up to its end: a CRLF that no blank follows, as far as these octets show.
/// `None`: its last line has no end here.
pub(crate) fn field_end(lines: &mut LineScanner, octets: &[u8]) -> Option<usize> {
    let mut read = 0;
    while let Some((more, mark)) = lines.next(&octets[read..]) {
        read += more;
        if mark == LineMark::End && !matches!(octets.get(read), Some(b' ' | b'\t')) {
            return Some(read);
        }
    }
    None
}

/// The octets of the header section of a whole message, without the empty line.
///
/// ```
/// use relay_message::section::section_octets;
///
/// // A folded line belongs to its field.
/// assert_eq!(section_octets(b"Subject: a\r\n b\r\n\r\nbody\r\n"), 16);
/// // A line that is no field ends the section, even without an empty line.
/// assert_eq!(section_octets(b"Subject: a\r\nno field\r\nTo: b\r\n"), 12);
/// // An LF alone ends no line, so the second name is part of the first value.
/// assert_eq!(section_octets(b"Subject: a\nTo: b\r\n\r\n"), 18);
/// ```
pub fn section_octets(message: &[u8]) -> usize {
    let (mut reader, mut octets) = (SectionReader::default(), 0);
    for piece in message.chunks(PIECE_OCTETS) {
        let mut piece = Bytes::copy_from_slice(piece);
        while let Some(part) = reader.next(&mut piece) {
            match part {
                Part::MboxLines(part) | Part::Name(part) | Part::Value(part) => {
                    octets += part.len();
                }
                Part::End { .. } | Part::Body(_) => return octets,
            }
        }
    }
    octets
}

/// Does a line begin like the line before each message of an mbox file?
fn is_mbox_line(line: &[u8]) -> bool {
    let quotes = line.iter().take_while(|&&octet| octet == b'>').count();
    line[quotes..].starts_with(b"From ")
}
