//! Do lines end correctly, in octets that stay unchanged?

use crate::data::Violation;
use relay_mail::line_end::{LineMark, LineScanner};

/// Looks for the first bare CR, bare LF or NUL in octets that arrive in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineEndings {
    lines: LineScanner,
    seen: u64,
    violation: Option<Violation>,
}

impl LineEndings {
    /// Looks at the next piece.
    pub fn scan(&mut self, piece: &[u8]) {
        let mut read = 0;
        while self.violation.is_none() {
            let Some((octets, mark)) = self.lines.next(&piece[read..]) else { break };
            read += octets;
            if mark != LineMark::End {
                self.violation = Violation::of(mark, self.seen + read as u64 - 1);
            }
        }
        // After the first violation only the end of the octets matters.
        if self.violation.is_some() {
            self.lines.skip(&piece[read..]);
        }
        self.seen += piece.len() as u64;
    }

    /// Nothing follows: a CR at the end is bare.
    pub fn finish(&mut self) {
        let mark = self.lines.finish();
        let violation = mark.and_then(|mark| Violation::of(mark, self.seen - 1));
        self.violation = self.violation.or(violation);
    }

    /// The first violation so far.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Do the octets so far end with CRLF? True if there are none.
    pub fn is_at_line_start(&self) -> bool {
        self.lines.is_at_line_start()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::data::endings::*;

    fn looked_at<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> LineEndings {
        let mut endings = LineEndings::default();
        pieces.for_each(|piece| endings.scan(piece));
        endings.finish();
        endings
    }

    proptest! {
        #[test]
        fn as_plainly_as_it_can_be_said(
            octets in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(0), Just(b'a')], 0..12),
            piece in 1usize..5,
        ) {
            let plain = octets.iter().enumerate().find_map(|(at, &octet)| {
                let place = at as u64;
                match octet {
                    b'\r' if octets.get(at + 1) != Some(&b'\n') => Some(Violation::BareCr(place)),
                    b'\n' if at == 0 || octets[at - 1] != b'\r' => Some(Violation::BareLf(place)),
                    0 => Some(Violation::Nul(place)),
                    _ => None,
                }
            });
            let at_line_start = octets.is_empty() || octets.ends_with(b"\r\n");
            for endings in [looked_at([&octets[..]].into_iter()), looked_at(octets.chunks(piece))] {
                prop_assert_eq!(endings.violation(), plain);
                prop_assert_eq!(endings.is_at_line_start(), at_line_start);
            }
        }
    }
}
