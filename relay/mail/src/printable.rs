//! Text from outside, made safe for a terminal, a log line or a JSON document.
//!
//! This module decides which characters are always escaped: those that move a terminal's cursor,
//! begin a new line, change the direction of the surrounding text, or are invisible. They become
//! `\u` and four hexadecimal digits, as in JSON, so that one form is valid everywhere. Text on disk
//! and text sent by SMTP is not changed here.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// Is this character printed unchanged? Not printed are the controls (C0, DEL, C1), line and
/// paragraph separators, noncharacters, and the characters that Unicode calls format controls or
/// defines as blank (general category Cf, except the visible signs of Arabic; default ignorable
/// fillers).
pub const fn is_printable(character: char) -> bool {
    !matches!(
        character,
        '\0'..='\u{1f}'
            | '\u{7f}'..='\u{9f}'
            | '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
            | '\u{fdd0}'..='\u{fdef}'
    ) && (character as u32) & 0xfffe != 0xfffe
}

/// The text on one line, with every character that is not [`is_printable`] written as `\u001b`.
///
/// ```
/// use relay_mail::printable::printable;
///
/// // A name from outside can neither begin a line nor clear a terminal.
/// assert_eq!(printable("mx\u{1b}[2J\n.example"), "mx\\u001b[2J\\u000a.example");
/// assert_eq!(printable("b\u{fc}cher.example"), "b\u{fc}cher.example");
/// ```
pub fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        push(&mut out, character);
    }
    Cow::Owned(out)
}

/// Octets as [`printable`] text; octets that are not UTF-8 are written as `\xe9`.
pub fn printable_octets(octets: &[u8]) -> String {
    let mut out = String::with_capacity(octets.len());
    for chunk in octets.utf8_chunks() {
        out.push_str(&printable(chunk.valid()));
        for octet in chunk.invalid() {
            // Writing to a String does not fail.
            let _ = write!(out, "\\x{octet:02x}");
        }
    }
    out
}

fn push(out: &mut String, character: char) {
    if is_printable(character) {
        return out.push(character);
    }
    // Beyond the first plane JSON uses a pair of surrogates.
    for unit in character.encode_utf16(&mut [0; 2]) {
        // Writing to a String does not fail.
        let _ = write!(out, "\\u{unit:04x}");
    }
}

/// A writer that escapes its input. Line feeds and tabs belong to the program's own format and
/// pass; all else is escaped as by [`printable`]. Octets that are not UTF-8 become `\xe9`.
#[derive(Debug)]
pub struct PrintableWriter<W> {
    inner: W,
    /// The first octets of a character whose other octets have not been written yet.
    partial: Vec<u8>,
}

impl<W: Write> PrintableWriter<W> {
    /// Escaped text goes to `inner`.
    pub const fn new(inner: W) -> Self {
        Self { inner, partial: Vec::new() }
    }

    fn safe(&mut self, octets: &[u8]) -> String {
        let mut all = std::mem::take(&mut self.partial);
        all.extend_from_slice(octets);
        let mut out = String::with_capacity(all.len());
        let mut chunks = all.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            for character in chunk.valid().chars() {
                match character {
                    '\n' | '\t' => out.push(character),
                    other => push(&mut out, other),
                }
            }
            let is_cut = chunks.peek().is_none() && is_beginning(chunk.invalid());
            match is_cut {
                true => self.partial = chunk.invalid().to_vec(),
                false => out.push_str(&printable_octets(chunk.invalid())),
            }
        }
        out
    }
}

/// Could these octets be the beginning of a character?
fn is_beginning(octets: &[u8]) -> bool {
    let length = match octets.first() {
        Some(0xc2..=0xdf) => 2,
        Some(0xe0..=0xef) => 3,
        Some(0xf0..=0xf4) => 4,
        _ => return false,
    };
    octets.len() < length
}

impl<W: Write> Write for PrintableWriter<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let safe = self.safe(octets);
        self.inner.write_all(safe.as_bytes())?;
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let cut = std::mem::take(&mut self.partial);
        self.inner.write_all(printable_octets(&cut).as_bytes())?;
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(pieces: &[&[u8]]) -> String {
        let mut out = Vec::new();
        let mut writer = PrintableWriter::new(&mut out);
        for piece in pieces {
            writer.write_all(piece).unwrap();
        }
        writer.flush().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn terminal_control_characters_are_escaped() {
        for (text, expected) in [
            ("\u{1b}[2J\u{7}", "\\u001b[2J\\u0007"),
            ("a\r\nb\tc\u{b}", "a\\u000d\\u000ab\\u0009c\\u000b"),
            ("\u{7f}\u{85}\u{9b}31m", "\\u007f\\u0085\\u009b31m"),
            ("\u{202e}moc.live\u{2066}\u{200f}\u{61c}", "\\u202emoc.live\\u2066\\u200f\\u061c"),
            ("a\u{200b}b\u{feff}c\u{ad}d", "a\\u200bb\\ufeffc\\u00add"),
            ("\u{2028}\u{2029}", "\\u2028\\u2029"),
            ("\u{e0041}", "\\udb40\\udc41"),
        ] {
            assert_eq!(printable(text), expected);
            assert_eq!(printable(&printable(text)), expected, "escaped text is not escaped again");
        }
        for text in ["", "plain", "grün 日本語 שלום", "💌", "back\\slash"] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
        assert_eq!(printable_octets(b"caf\xe9 \xc3\xa9\x1b"), "caf\\xe9 é\\u001b");
    }

    #[test]
    fn escaped_json_is_still_json() {
        let value = "\u{9b}\u{202e}\u{e0041}\u{1b}";
        let text = serde_json::to_string(value).unwrap();
        let safe = printable(&text);
        assert!(safe.is_ascii(), "{safe}");
        assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), value);
    }

    #[test]
    fn the_writer_passes_lines_and_characters_written_in_pieces() {
        assert_eq!(written(&[b"a\tb\n", b"c\x1b\r\n"]), "a\tb\nc\\u001b\\u000d\n");
        assert_eq!(written(&[b"gr\xc3", b"\xbcn", b"\xe2\x80", b"\xae"]), "grün\\u202e");
        assert_eq!(written(&[b"\xc3"]), "\\xc3");
        assert_eq!(written(&[b"\xc3", b"x"]), "\\xc3x");
    }

    proptest! {
        #[test]
        fn no_unprintable_character_passes(octets in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert!(printable_octets(&octets).chars().all(is_printable));
            let (first, second) = octets.split_at(octets.len() / 2);
            let written = written(&[first, second]);
            prop_assert!(written.chars().all(|c| is_printable(c) || matches!(c, '\n' | '\t')));
        }
    }
}
