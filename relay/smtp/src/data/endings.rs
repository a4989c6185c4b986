//! Do lines end correctly, in octets that stay unchanged?

use crate::data::Violation;
use memchr::memchr3;

/// Looks for the first bare CR, bare LF or NUL in octets that arrive in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LineEndings {
    /// The last octet was a CR.
    after_cr: bool,
    /// The last two octets were CRLF, or there were none.
    in_line: bool,
    seen: u64,
    violation: Option<Violation>,
}

impl LineEndings {
    /// Looks at the next piece.
    pub fn scan(&mut self, piece: &[u8]) {
        let mut read = 0;
        if self.after_cr {
            match piece.first() {
                None => return,
                Some(b'\n') => {
                    (self.after_cr, self.in_line) = (false, false);
                    read = 1;
                }
                Some(_) => self.finish(),
            }
        }
        while let Some(&first) = piece.get(read) {
            let (at, octet) = match memchr3(b'\r', b'\n', 0, &piece[read..]) {
                None => {
                    self.in_line = true;
                    break;
                }
                Some(found) => (read + found, piece[read + found]),
            };
            self.in_line |= at > read || first != b'\r';
            read = at + 1;
            let place = self.seen + at as u64;
            match octet {
                b'\r' => match piece.get(read) {
                    Some(b'\n') => {
                        self.in_line = false;
                        read += 1;
                    }
                    Some(_) => self.report(Violation::BareCr(place)),
                    None => self.after_cr = true,
                },
                b'\n' => self.report(Violation::BareLf(place)),
                _ => self.report(Violation::Nul(place)),
            }
        }
        self.seen += piece.len() as u64;
    }

    /// No octets follow: a CR at the end is bare.
    pub fn finish(&mut self) {
        if std::mem::take(&mut self.after_cr) {
            self.report(Violation::BareCr(self.seen - 1));
        }
    }

    /// The first violation so far.
    pub fn violation(&self) -> Option<Violation> {
        self.violation
    }

    /// Do the octets so far end with CRLF? True if there are none.
    pub fn is_at_line_start(&self) -> bool {
        !self.in_line && !self.after_cr
    }

    fn report(&mut self, violation: Violation) {
        self.in_line = true;
        self.violation.get_or_insert(violation);
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
