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
/// assert_eq!(section_octets(b"Subject: a\nTo: b\r\n\r\n"), 19);
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::section::*;

    /// The section, the body, and whether an empty line is between them.
    fn read(message: &[u8], piece: usize) -> (Vec<Part>, Vec<u8>, bool) {
        let mut reader = SectionReader::default();
        let (mut section, mut body, mut end) = (Vec::<Part>::new(), Vec::new(), None);
        let mut take = |part| match (part, section.last_mut()) {
            (Part::Value(more), Some(Part::Value(value))) => {
                *value = [&value[..], &more[..]].concat().into();
            }
            (Part::Body(octets), _) => body.extend_from_slice(&octets),
            (Part::End { is_separated }, _) => assert_eq!(end.replace(is_separated), None),
            (part, _) => section.push(part),
        };
        for piece in message.chunks(piece.max(1)) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(part) = reader.next(&mut piece) {
                take(part);
            }
            assert!(piece.is_empty() && reader.held() <= MBOX_LINES_OCTETS + FIELD_NAME_OCTETS);
        }
        while let Some(part) = reader.finish() {
            take(part);
        }
        (section, body, end.unwrap())
    }

    fn octets(section: &[Part]) -> Vec<u8> {
        let octets = |part: &Part| match part {
            Part::MboxLines(octets) | Part::Name(octets) | Part::Value(octets) => octets.to_vec(),
            other => panic!("{other:?} is not of a section"),
        };
        section.iter().flat_map(octets).collect()
    }

    /// The rule again, line by line, with the whole message available: the octets before the end of
    /// the section.
    fn plainly(message: &[u8]) -> usize {
        let lines: Vec<&[u8]> = {
            let (mut lines, mut from) = (Vec::new(), 0);
            while let Some(at) = memchr::memmem::find(&message[from..], b"\r\n") {
                lines.push(&message[from..from + at + 2]);
                from += at + 2;
            }
            lines.push(&message[from..]);
            lines
        };
        let (mut end, mut fields, mut mbox) = (0, 0, 0);
        for line in lines {
            let name = line.split(|&octet| octet == b':').next().unwrap();
            let trimmed = name.trim_ascii_end();
            let blank = &name[trimmed.len()..];
            let is_name = name.len() < line.len()
                && !trimmed.is_empty()
                && trimmed.iter().all(u8::is_ascii_graphic)
                && blank.iter().all(|octet| b" \t".contains(octet));
            if is_name {
                fields += 1;
                end += mbox + line.len();
                mbox = 0;
            } else if fields > 0 && (line.starts_with(b" ") || line.starts_with(b"\t")) {
                end += line.len();
            } else if fields == 0
                && is_mbox_line(line)
                && line.ends_with(b"\r\n")
                && !line[..line.len() - 2].iter().any(|octet| b"\r\n\0".contains(octet))
            {
                mbox += line.len();
            } else {
                break;
            }
        }
        end
    }

    #[test]
    fn it_ends_before_the_first_line_that_is_no_field() {
        for (section, body, is_separated) in [
            ("", "", true),
            ("A: b\r\n", "", true),
            ("A: b", "", true),
            ("A: b\r\n", "\r\nbody\r\n", true),
            ("", "\r\nA: b\r\n\r\n", true),
            ("A: b\r\n c\r\n \r\n\td\r\nE :f\r\n", "\r\n", true),
            ("", "    From: app@host.example\r\n\r\nx\r\n", false),
            ("", "\tx\r\n", false),
            ("", "Disk is full\r\n", false),
            ("", "Disk is full: yes\r\n", false),
            ("A: b\r\n", "Disk is full\r\nC: d\r\n\r\n", false),
            ("A: b\r\n", "c", false),
            ("A: b\r\n", ": c\r\n", false),
            ("A: b\r\n", "\rC: d\r\n", false),
            ("A: b\r\n", "\r", false),
            ("A: b\n\r\n", "\r\n", true),
            ("A: b\r\r\n", "c\r\n", false),
            ("A: b\r\n", "C\u{b}: d\r\nE: f\r\n", false),
            ("A: b\r\n", "\u{feff}From: c@d\r\n\r\n", false),
            ("A: b\r\n", "E\u{e9} :f\r\n", false),
            ("A: b\r\n", "Alerte\u{a0}: x\r\n", false),
            ("", "C\u{b}: d\r\nE: f\r\n", false),
            ("", "Gr\u{f6}\u{df}e: 5\r\n", false),
            ("From a Mon Jan  1\r\nA: b\r\n", "\r\n", true),
            (">>From a\r\n>From b\r\nA: b\r\n", "c\r\n", false),
            ("From : a@b\r\n", "\r\n", true),
            ("", "From today on\r\nwe are closed\r\n", false),
            ("", "From today on\r\n\r\nwe are closed\r\n", false),
            ("", "From today on", false),
            ("", "From a\r\n b\r\n", false),
            ("A: b\r\n", "From a\r\nC: d\r\n", false),
        ] {
            let message = [section, body].concat();
            for piece in [1, 2, 3, 7, 1000] {
                let (found, rest, separated) = read(message.as_bytes(), piece);
                let found = octets(&found);
                let found = (&found[..], &rest[..], separated);
                assert_eq!(
                    found,
                    (section.as_bytes(), body.as_bytes(), is_separated),
                    "{message:?}"
                );
            }
            assert_eq!(plainly(message.as_bytes()), section.len(), "{message:?}");
        }
    }

    #[test]
    fn a_name_has_an_end() {
        for (octets, is_name) in [(FIELD_NAME_OCTETS, true), (FIELD_NAME_OCTETS + 1, false)] {
            let message = format!("{}: x\r\n", "n".repeat(octets));
            let (_, body, _) = read(message.as_bytes(), 100);
            assert_eq!(body.is_empty(), is_name, "{octets}");
        }
        let endless = format!("From {}", "x".repeat(3 * MBOX_LINES_OCTETS));
        assert_eq!(read(endless.as_bytes(), 100).1, endless.as_bytes());
    }

    #[test]
    fn fields_and_mbox_lines_are_told_apart() {
        let (parts, ..) = read(b"From a\r\nA: b\r\n c\r\nD :\r\n", 1000);
        let part = |octets: &'static str| Bytes::from_static(octets.as_bytes());
        let expected = [
            Part::MboxLines(part("From a\r\n")),
            Part::Name(part("A:")),
            Part::Value(part(" b\r\n c\r\n")),
            Part::Name(part("D :")),
            Part::Value(part("\r\n")),
        ];
        assert_eq!(parts, expected);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter_and_nothing_is_lost(
            text in "([AB: \t\r\n>\x0b\u{e9}\0]|\r\n|From |A: b\r\n|>From a\r\n){0,20}",
            piece in 1usize..9,
        ) {
            let message = text.as_bytes();
            let whole = read(message, message.len());
            prop_assert_eq!(&read(message, piece), &whole);
            let (section, body, is_separated) = whole;
            let section = octets(&section);
            prop_assert_eq!(section.len(), plainly(message));
            prop_assert_eq!([&section[..], &body[..]].concat(), message);
            prop_assert_eq!(is_separated, body.is_empty() || body.starts_with(b"\r\n"));
        }
    }
}
