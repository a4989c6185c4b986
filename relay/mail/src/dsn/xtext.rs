//! How are values encoded in parameters of DSN: xtext (RFC 3461 section 4) and its form for UTF-8
//! (RFC 6533 section 3)?

use std::fmt::Write;

/// `utf-8-addr-xtext` of RFC 6533 section 3 for one character.
pub fn push_escaped(text: &mut String, character: char) {
    // Writing to a String does not fail.
    let _ = write!(text, "\\x{{{:02X}}}", u32::from(character));
}

/// xtext in which each bare `=` is encoded as RFC 3461 section 4 requires. Programs that insert an
/// address without encoding leave `=` bare, and it cannot be misread.
pub(super) fn with_written_equals(text: &str) -> String {
    text.replace('=', "+3D")
}

/// Decodes xtext (RFC 3461 section 4). `None` unless the result is printable ASCII, spaces
/// included.
pub fn decode_xtext(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'+' => {
                let mut digit = || match octets.next()? {
                    digit @ b'0'..=b'9' => Some(digit - b'0'),
                    digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
                    _ => None,
                };
                digit()? * 16 + digit()?
            }
            b'=' => return None,
            _ if octet.is_ascii_graphic() => octet,
            _ => return None,
        };
        if !matches!(octet, b' '..=b'~') {
            return None;
        }
        decoded.push(char::from(octet));
    }
    Some(decoded)
}
