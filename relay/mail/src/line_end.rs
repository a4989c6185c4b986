//! Where does a line end, and which octets must no line contain?
//!
//! Only CRLF ends a line (RFC 5321 section 2.3.8). A CR without an LF after it, an LF without a CR
//! before it, and a NUL are not allowed in a text line. If two servers disagree about one of them,
//! they disagree about the end of a message, and an attacker can hide a second message inside the
//! first. So all crates use this scanner, for receiving and for sending. Each user of the scanner
//! decides the consequences of a mark.

use memchr::memchr3;

/// An octet, or a pair of octets, that matters for line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineMark {
    /// CRLF: the line ends behind it.
    End,
    /// A CR that no LF follows.
    BareCr,
    /// An LF that no CR precedes.
    BareLf,
    /// A NUL.
    Nul,
}

/// The position of the next octet in its line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LinePosition {
    /// After CRLF, or before the first octet.
    #[default]
    Start,
    /// At any other position.
    Inside,
    /// After a CR; the next octet decides its meaning.
    AfterCr,
}

/// Finds the marks in octets that come in pieces. The marks depend on the octets only, never on the
/// borders of the pieces.
///
/// ```
/// use relay_mail::line_end::{LineMark, LinePosition, LineScanner};
///
/// let mut scanner = LineScanner::default();
/// // The CR at the end of a piece may be half of a CRLF.
/// assert_eq!(scanner.next(b"one\r"), None);
/// assert_eq!(scanner.position(), LinePosition::AfterCr);
/// assert_eq!(scanner.next(b"\ntwo"), Some((1, LineMark::End)));
/// // An LF alone ends no line.
/// assert_eq!(scanner.next(b"two\nthree"), Some((4, LineMark::BareLf)));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineScanner {
    position: LinePosition,
}

impl LineScanner {
    /// Reads up to the end of the next mark. Returns how many octets were read, and the mark; the
    /// caller continues with the rest. `None`: all octets were read and no further mark is certain.
    ///
    /// A bare CR is certain at the octet behind it, which is not read. So no octet is read if the
    /// CR was the last octet of the piece before.
    #[inline]
    pub fn next(&mut self, octets: &[u8]) -> Option<(usize, LineMark)> {
        if self.position == LinePosition::AfterCr {
            return match octets.first() {
                None => None,
                Some(b'\n') => self.mark(1, LineMark::End),
                Some(_) => self.mark(0, LineMark::BareCr),
            };
        }
        let Some(at) = memchr3(b'\r', b'\n', 0, octets) else {
            if !octets.is_empty() {
                self.position = LinePosition::Inside;
            }
            return None;
        };
        let read = at + 1;
        match (octets[at], octets.get(read)) {
            (b'\r', Some(b'\n')) => self.mark(read + 1, LineMark::End),
            (b'\r', Some(_)) => self.mark(read, LineMark::BareCr),
            (b'\r', None) => {
                self.position = LinePosition::AfterCr;
                None
            }
            (b'\n', _) => self.mark(read, LineMark::BareLf),
            (_, _) => self.mark(read, LineMark::Nul),
        }
    }

    /// Reads all octets, where only the position behind them matters.
    pub fn skip(&mut self, octets: &[u8]) {
        self.position = match octets {
            [] => return,
            [b'\n'] if self.position == LinePosition::AfterCr => LinePosition::Start,
            [.., b'\r', b'\n'] => LinePosition::Start,
            [.., b'\r'] => LinePosition::AfterCr,
            _ => LinePosition::Inside,
        };
    }

    /// No octet follows: a CR at the end is bare.
    pub fn finish(&mut self) -> Option<LineMark> {
        match self.position {
            LinePosition::AfterCr => self.mark(0, LineMark::BareCr).map(|(_, mark)| mark),
            LinePosition::Start | LinePosition::Inside => None,
        }
    }

    /// The position of the next octet.
    pub fn position(&self) -> LinePosition {
        self.position
    }

    /// Do the octets so far end with CRLF? True before the first octet too.
    pub fn is_at_line_start(&self) -> bool {
        self.position == LinePosition::Start
    }

    fn mark(&mut self, read: usize, mark: LineMark) -> Option<(usize, LineMark)> {
        self.position = match mark {
            LineMark::End => LinePosition::Start,
            LineMark::BareCr | LineMark::BareLf | LineMark::Nul => LinePosition::Inside,
        };
        Some((read, mark))
    }
}

/// The octets of the first line, its CRLF included. `None`: no CRLF is there.
pub fn first_line_octets(octets: &[u8]) -> Option<usize> {
    let (mut scanner, mut read) = (LineScanner::default(), 0);
    while let Some((more, mark)) = scanner.next(&octets[read..]) {
        read += more;
        if mark == LineMark::End {
            return Some(read);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::line_end::*;

    /// The marks, each with the octets before its end, and the position at the end.
    fn scan<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<(usize, LineMark)>, LinePosition) {
        let (mut scanner, mut marks, mut before) = (LineScanner::default(), Vec::new(), 0);
        for piece in pieces {
            let mut read = 0;
            while let Some((more, mark)) = scanner.next(&piece[read..]) {
                read += more;
                marks.push((before + read, mark));
            }
            before += piece.len();
        }
        let position = scanner.position();
        marks.extend(scanner.finish().map(|mark| (before, mark)));
        (marks, position)
    }

    /// The same, with all octets at hand.
    fn reference(octets: &[u8]) -> Vec<(usize, LineMark)> {
        let mark = |(at, &octet): (usize, &u8)| {
            let is_after_cr = at > 0 && octets[at - 1] == b'\r';
            let mark = match octet {
                b'\n' if is_after_cr => LineMark::End,
                b'\n' => LineMark::BareLf,
                b'\r' if octets.get(at + 1) != Some(&b'\n') => LineMark::BareCr,
                0 => LineMark::Nul,
                _ => return None,
            };
            Some((at + 1, mark))
        };
        octets.iter().enumerate().filter_map(mark).collect()
    }

    proptest! {
        #[test]
        fn the_marks_do_not_depend_on_the_pieces(
            octets in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(0), Just(b'.'), Just(b'a')], 0..16),
            piece in 1usize..5,
        ) {
            let (marks, position) = scan([&octets[..]].into_iter());
            prop_assert_eq!(&marks, &reference(&octets));
            prop_assert_eq!(&scan(octets.chunks(piece)), &(marks.clone(), position));
            let mut skipped = LineScanner::default();
            octets.chunks(piece).for_each(|piece| skipped.skip(piece));
            prop_assert_eq!(skipped.position(), position);
            let first = marks.iter().find(|(_, mark)| *mark == LineMark::End);
            prop_assert_eq!(first_line_octets(&octets), first.map(|(end, _)| *end));
        }
    }
}
