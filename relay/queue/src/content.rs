//! What the queue learns about the octets of a message while they pass.

use bytes::Bytes;
use relay_mail::envelope::BodyType;
use relay_mail::line_end::LineScanner;
use relay_message::outbound::is_of_organization;
use relay_message::section::{Part, SectionReader};
use relay_smtp::data::LineEndings;

/// The size of a message, and the positions of octets above 127.
///
/// If the header section has such octets, the next hop needs SMTPUTF8 (RFC 6531 section 3.2); if
/// only the body has them, 8BITMIME is enough. The header fields of MIME parts belong to the body.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) size: u64,
    /// Anywhere in the message.
    pub(super) eight_bit: bool,
    pub(super) eight_bit_header: bool,
    /// Octets of the fields that are sent only to next hops of our organization.
    pub(super) organization_octets: u64,
    /// Only for a body that was declared BODY=BINARYMIME; no other body may have such endings.
    endings: Option<LineEndings>,
    section: SectionReader,
    /// Is the current field one of those of our organization?
    in_organization: bool,
    /// The position behind the last octet.
    lines: LineScanner,
}

impl Content {
    /// Before the first octet. A message that begins with an empty line has no header section.
    pub(super) fn new(body: BodyType) -> Self {
        let endings = (body == BodyType::BinaryMime).then(LineEndings::default);
        Self {
            size: 0,
            eight_bit: false,
            eight_bit_header: false,
            organization_octets: 0,
            endings,
            section: SectionReader::default(),
            in_organization: false,
            lines: LineScanner::default(),
        }
    }

    /// Does it have something that DATA cannot carry: a bare CR, a bare LF, a NUL, or an end
    /// without CRLF?
    pub(super) fn is_binary(&self) -> bool {
        let cannot =
            |endings: &LineEndings| endings.violation().is_some() || !endings.is_at_line_start();
        self.endings.as_ref().is_some_and(cannot)
    }

    /// Does the last line lack CRLF? DATA adds it.
    pub(super) fn is_unterminated(&self) -> bool {
        !self.lines.is_at_line_start()
    }

    /// All of a message.
    pub(super) fn of(message: &Bytes) -> Self {
        let mut content = Self::new(BodyType::EightBitMime);
        content.add(message);
        content
    }

    /// Counts the next piece.
    pub(super) fn add(&mut self, piece: &Bytes) {
        if let Some(endings) = &mut self.endings {
            endings.scan(piece);
        }
        self.size += piece.len() as u64;
        self.eight_bit |= !piece.is_ascii();
        self.lines.skip(piece);
        let mut rest = piece.clone();
        while let Some(part) = self.section.next(&mut rest) {
            self.add_part(&part);
        }
    }

    /// Counts whole fields that are put before everything counted so far.
    pub(super) fn add_in_front(&mut self, fields: &[u8]) {
        self.size += fields.len() as u64;
        self.eight_bit |= !fields.is_ascii();
        self.eight_bit_header |= !fields.is_ascii();
    }

    fn add_part(&mut self, part: &Part) {
        let (Part::MboxLines(octets) | Part::Name(octets) | Part::Value(octets)) = part else {
            return;
        };
        self.eight_bit_header |= !octets.is_ascii();
        match part {
            Part::Name(name) => self.in_organization = is_of_organization(name),
            Part::MboxLines(_) => self.in_organization = false,
            _ => {}
        }
        if self.in_organization {
            self.organization_octets += octets.len() as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::content::*;

    fn pieces(message: &str, octets: usize) -> impl Iterator<Item = Bytes> {
        message.as_bytes().chunks(octets).map(Bytes::copy_from_slice)
    }

    #[test]
    fn octets_that_only_a_chunk_can_carry() {
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
            pieces(message, 1).for_each(|octet| content.add(&octet));
            assert_eq!(content.is_binary(), is_binary, "{message:?}");
        }
    }

    #[test]
    fn header_and_body_are_distinguished_for_any_cuts() {
        for (message, eight_bit_header, eight_bit) in [
            ("", false, false),
            ("A: b\r\n\r\nc\r\n", false, false),
            ("A: \u{e9}\r\n\r\nc\r\n", true, true),
            ("A: b\r\n\r\n\u{e9}\r\n", false, true),
            ("A: b\r\n \u{e9}", true, true),
            ("A: b\r\n\u{e9}\r\n", false, true),
            ("\u{e9}: b\r\n\r\n", false, true),
            ("\r\n\u{e9}\r\n", false, true),
            ("A: b\r\r\n\u{e9}\r\n\r\n", false, true),
            ("A: b\r\r\n \u{e9}\r\n\r\n", true, true),
            ("A: b\n \u{e9}\r\n", true, true),
        ] {
            for piece in [1, 2, 100] {
                let mut content = Content::new(BodyType::EightBitMime);
                pieces(message, piece).for_each(|piece| content.add(&piece));
                let found = (content.eight_bit_header, content.eight_bit, content.size);
                let expected = (eight_bit_header, eight_bit, message.len() as u64);
                assert_eq!(found, expected, "{message:?}");
            }
        }
    }

    #[test]
    fn the_size_as_sent_is_counted_in_advance() {
        for (message, organization_octets, is_unterminated) in [
            ("", 0, false),
            ("A: b", 0, true),
            ("A: b\r\n\r\nX-MS-Exchange-Forest-A: b\r\n", 0, false),
            ("X-MS-Exchange-Forest-A: b\r\n c\r\nD: e\r\n\r\nf\r", 31, true),
            ("D: e\r\nx-ms-exchange-organization-a : b\r\n", 34, false),
        ] {
            for piece in [1, 2, 100] {
                let mut content = Content::new(BodyType::EightBitMime);
                pieces(message, piece).for_each(|piece| content.add(&piece));
                let found = (content.organization_octets, content.is_unterminated());
                assert_eq!(found, (organization_octets, is_unterminated), "{message:?}");
            }
        }
    }
}
