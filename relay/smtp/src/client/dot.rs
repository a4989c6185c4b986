//! Writes a message as the argument of DATA (RFC 5321 section 4.5.2).
//!
//! A dot at the beginning of a line is doubled; every other octet is unchanged. A bare CR, a bare
//! LF or a NUL ends the attempt before it is sent: if two servers disagree about line endings, an
//! attacker can hide a second message inside the first.

use relay_mail::line_end::{LineMark, LinePosition, LineScanner};

/// Why a message must not be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsafeMessage {
    /// A CR without a LF after it.
    #[error("the message has a bare CR")]
    BareCr,
    /// A LF without a CR before it.
    #[error("the message has a bare LF")]
    BareLf,
    /// A NUL, which RFC 5321 section 4.5.2 forbids and at which other programs may stop.
    #[error("the message has a NUL")]
    Nul,
}

/// Doubles dots, independent of the pieces of the message.
///
/// ```
/// use relay_smtp::client::{DotStuffer, UnsafeMessage};
///
/// let (mut stuffer, mut out) = (DotStuffer::new(), Vec::new());
/// stuffer.stuff(b"one\r\n.two", &mut out).unwrap();
/// stuffer.finish(&mut out).unwrap();
/// assert_eq!(out, b"one\r\n..two\r\n.\r\n");
/// // Another server might see an end of data behind the LF.
/// let smuggled = DotStuffer::new().stuff(b"one\n.\r\nMAIL FROM:<>\r\n", &mut out);
/// assert_eq!(smuggled, Err(UnsafeMessage::BareLf));
/// ```
#[derive(Debug, Default)]
pub struct DotStuffer {
    lines: LineScanner,
}

impl UnsafeMessage {
    /// The violation of a mark, for a message that must not be sent with bare line ends. `None`:
    /// the line ends correctly.
    pub(super) const fn of(mark: LineMark) -> Option<Self> {
        match mark {
            LineMark::End => None,
            LineMark::BareCr => Some(Self::BareCr),
            LineMark::BareLf => Some(Self::BareLf),
            LineMark::Nul => Some(Self::Nul),
        }
    }
}

impl DotStuffer {
    /// Begins a message, at the beginning of a line.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a piece of the message to `out`.
    ///
    /// # Errors
    /// [`UnsafeMessage`]; then neither the piece nor an end of data may be sent.
    pub fn stuff(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), UnsafeMessage> {
        out.reserve(piece.len() + piece.len() / 64);
        let mut rest = piece;
        while !rest.is_empty() {
            if self.lines.is_at_line_start() && rest.starts_with(b".") {
                out.push(b'.');
            }
            let Some((octets, mark)) = self.lines.next(rest) else {
                out.extend_from_slice(rest);
                break;
            };
            if let Some(error) = UnsafeMessage::of(mark) {
                return Err(error);
            }
            out.extend_from_slice(&rest[..octets]);
            rest = &rest[octets..];
        }
        Ok(())
    }

    /// Appends the end of data. If the last line has no CRLF, one is added, since the end of data
    /// needs it.
    ///
    /// # Errors
    /// [`UnsafeMessage::BareCr`] if the message ends with a CR.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), UnsafeMessage> {
        match self.lines.position() {
            LinePosition::AfterCr => return Err(UnsafeMessage::BareCr),
            LinePosition::Inside => out.extend_from_slice(b"\r\n"),
            LinePosition::Start => {}
        }
        out.extend_from_slice(b".\r\n");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::client::dot::*;

    fn stuffed<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<u8>, UnsafeMessage> {
        let mut stuffer = DotStuffer::new();
        let mut out = Vec::new();
        for piece in pieces {
            stuffer.stuff(piece, &mut out)?;
        }
        stuffer.finish(&mut out)?;
        Ok(out)
    }

    /// The argument of DATA as a receiver reads it, in the simplest code: line by line, a lone dot
    /// ends the message, and any other dot at the beginning of a line is removed. Returns the
    /// message and the rest.
    fn unstuffed(data: &[u8]) -> Option<(Vec<u8>, &[u8])> {
        let mut message = Vec::new();
        let mut rest = data;
        loop {
            let end = rest.windows(2).position(|pair| pair == b"\r\n")? + 2;
            let (line, next) = rest.split_at(end);
            if line == b".\r\n" {
                return Some((message, next));
            }
            message.extend_from_slice(line.strip_prefix(b".").unwrap_or(line));
            rest = next;
        }
    }

    #[test]
    fn dots_and_ends() {
        for (message, data) in [
            ("", ".\r\n"),
            (".\r\n", "..\r\n.\r\n"),
            ("..\r\n", "...\r\n.\r\n"),
            ("a.\r\n.b\r\n", "a.\r\n..b\r\n.\r\n"),
            ("a", "a\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("\r\n.\r\n", "\r\n..\r\n.\r\n"),
        ] {
            assert_eq!(stuffed([message.as_bytes()]).unwrap(), data.as_bytes(), "{message:?}");
        }
    }

    #[test]
    fn messages_that_must_not_be_sent() {
        for (message, error) in [
            ("a\n", UnsafeMessage::BareLf),
            ("\n.\r\n", UnsafeMessage::BareLf),
            ("a\r\n\n", UnsafeMessage::BareLf),
            ("a\rb\r\n", UnsafeMessage::BareCr),
            ("a\r\r\n", UnsafeMessage::BareCr),
            ("a\r", UnsafeMessage::BareCr),
            ("a\0b\r\n", UnsafeMessage::Nul),
        ] {
            assert_eq!(stuffed([message.as_bytes()]), Err(error), "{message:?}");
            let octets: Vec<_> = message.bytes().map(|octet| [octet]).collect();
            let octets = octets.iter().map(<[u8; 1]>::as_slice);
            assert_eq!(stuffed(octets), Err(error), "{message:?}, octet by octet");
        }
    }

    proptest! {
        #[test]
        fn a_receiver_reads_what_was_sent(
            lines in vec("[.a\u{e9}]{0,4}\r\n", 0..12),
            cuts in vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let message = lines.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(message.len() + 1)).collect();
            cuts.extend([0, message.len()]);
            cuts.sort_unstable();
            let data = stuffed(cuts.windows(2).map(|pair| &message[pair[0]..pair[1]])).unwrap();
            prop_assert_eq!(unstuffed(&data), Some((message, b"".as_slice())));
        }

        #[test]
        fn no_ambiguous_message_is_sent(
            message in "[.\r\na\0]{0,12}",
            cut: prop::sample::Index,
        ) {
            let (left, right) = message.as_bytes().split_at(cut.index(message.len() + 1));
            let whole = stuffed([message.as_bytes()]);
            prop_assert_eq!(stuffed([left, right]), whole.clone());
            if let Ok(data) = whole {
                let text = String::from_utf8(data).unwrap().replace("\r\n", "");
                prop_assert!(!text.contains(['\r', '\n', '\0']));
            }
        }
    }
}
