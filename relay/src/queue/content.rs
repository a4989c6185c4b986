//! What is known of a message's octets, counted as they pass.

use super::BodyType;
use crate::smtp::data::LineEndings;

/// The size of a message, and where it holds octets above 127.
///
/// A header section that does needs SMTPUTF8 of the next hop (RFC 6531 section 3.2), a body only
/// 8BITMIME. Header fields within the body, those of MIME parts, count as the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    pub(super) size: u64,
    /// Anywhere in the message.
    pub(super) eight_bit: bool,
    pub(super) eight_bit_header: bool,
    /// Looked at in a body that was declared BODY=BINARYMIME; no other may hold what it finds.
    endings: Option<LineEndings>,
    place: Place,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many octets of the CRLFCRLF that ends the section have just been seen.
    Header(u8),
    Body,
}

impl Content {
    /// Nothing yet. A message that begins with an empty line has no header section.
    pub(super) fn new(body: BodyType) -> Self {
        let endings = (body == BodyType::BinaryMime).then(LineEndings::default);
        let place = Place::Header(2);
        Self { size: 0, eight_bit: false, eight_bit_header: false, endings, place }
    }

    /// Does it hold what DATA cannot carry: a bare CR, a bare LF, a NUL, or an end without CRLF?
    pub(super) fn is_binary(&self) -> bool {
        let cannot =
            |endings: &LineEndings| endings.violation().is_some() || !endings.is_at_line_start();
        self.endings.as_ref().is_some_and(cannot)
    }

    /// All of a message.
    pub(super) fn of(message: &[u8]) -> Self {
        let mut content = Self::new(BodyType::EightBitMime);
        content.add(message);
        content
    }

    /// Counts the next piece.
    pub(super) fn add(&mut self, piece: &[u8]) {
        let header = &piece[..self.header_octets(piece)];
        if let Some(endings) = &mut self.endings {
            endings.scan(piece);
        }
        self.size += piece.len() as u64;
        self.eight_bit |= !piece.is_ascii();
        self.eight_bit_header |= !header.is_ascii();
    }

    /// Counts whole fields that go before everything counted so far.
    pub(super) fn add_in_front(&mut self, fields: &[u8]) {
        self.size += fields.len() as u64;
        self.eight_bit |= !fields.is_ascii();
        self.eight_bit_header |= !fields.is_ascii();
    }

    /// How much of the next piece belongs to the header section.
    fn header_octets(&mut self, piece: &[u8]) -> usize {
        let Place::Header(mut seen) = self.place else { return 0 };
        for (place, &octet) in piece.iter().enumerate() {
            seen = match (seen, octet) {
                (0 | 2, b'\r') | (1 | 3, b'\n') => seen + 1,
                (_, b'\r') => 1,
                _ => 0,
            };
            if seen == 4 {
                self.place = Place::Body;
                return place + 1;
            }
        }
        self.place = Place::Header(seen);
        piece.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_a_chunk_can_carry() {
        for (message, is_binary) in [
            ("A: b\r\n\r\nc\r\n", false),
            ("", false),
            ("A: b\r\n\r\nc", true),
            ("A: b\r\n\r\nc\n", true),
            ("A: b\r\n\r\nc\rd\r\n", true),
            ("A: b\r\n\r\nc\r", true),
            ("A: b\r\n\r\n\0\r\n", true),
        ] {
            let mut content = Content::new(BodyType::BinaryMime);
            message.as_bytes().chunks(1).for_each(|octet| content.add(octet));
            assert_eq!(content.is_binary(), is_binary, "{message:?}");
        }
    }

    #[test]
    fn header_and_body_are_told_apart_however_they_are_cut() {
        for (message, eight_bit_header, eight_bit) in [
            ("", false, false),
            ("A: b\r\n\r\nc\r\n", false, false),
            ("A: \u{e9}\r\n\r\nc\r\n", true, true),
            ("A: b\r\n\r\n\u{e9}\r\n", false, true),
            ("A: b\r\n \u{e9}", true, true),
            ("\r\n\u{e9}\r\n", false, true),
            ("A: b\r\r\n\u{e9}\r\n\r\n", true, true),
            ("A: b\n\r\n\u{e9}", true, true),
        ] {
            let whole = Content::of(message.as_bytes());
            let found = (whole.eight_bit_header, whole.eight_bit, whole.size);
            assert_eq!(found, (eight_bit_header, eight_bit, message.len() as u64), "{message:?}");
            let mut octet_by_octet = Content::new(BodyType::EightBitMime);
            message.as_bytes().chunks(1).for_each(|octet| octet_by_octet.add(octet));
            assert_eq!(octet_by_octet, whole, "{message:?}");
        }
    }
}
