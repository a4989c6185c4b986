//! Writes a message as the argument of DATA or in chunks (RFC 3030).

use crate::client::dot::{DotStuffer, UnsafeMessage};
use crate::limits::CLIENT_CHUNK_OCTETS;
use relay_mail::line_end::LineScanner;

/// Writes a message that arrives in pieces.
#[derive(Debug)]
pub(super) enum BodyWriter {
    /// After BDAT: every octet is unchanged. The size is known only at the end, since fields may be
    /// removed before.
    Chunks {
        /// Octets that are not written yet.
        gathered: Vec<u8>,
        /// BODY=BINARYMIME was declared, so any line ending is allowed.
        binary: bool,
        lines: LineScanner,
    },
    /// After 354.
    Data(DotStuffer),
}

impl BodyWriter {
    pub(super) fn data() -> Self {
        Self::Data(DotStuffer::new())
    }

    pub(super) fn chunks(binary: bool) -> Self {
        Self::Chunks { gathered: Vec::new(), binary, lines: LineScanner::default() }
    }

    /// Appends a piece of the message to `out`, and returns whether it wrote a chunk that gets a
    /// reply.
    ///
    /// # Errors
    /// [`UnsafeMessage`]; the connection must then close before the message is complete.
    pub(super) fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<bool, UnsafeMessage> {
        match self {
            Self::Data(stuffer) => stuffer.stuff(piece, out).map(|()| false),
            Self::Chunks { gathered, binary, lines } => {
                if !*binary {
                    check(lines, piece)?;
                }
                gathered.extend_from_slice(piece);
                if gathered.len() < CLIENT_CHUNK_OCTETS {
                    return Ok(false);
                }
                write_chunk(gathered, "", out);
                gathered.clear();
                Ok(true)
            }
        }
    }

    /// Appends the end of the message.
    ///
    /// # Errors
    /// [`UnsafeMessage`], as [`BodyWriter::write`].
    pub(super) fn finish(self, out: &mut Vec<u8>) -> Result<(), UnsafeMessage> {
        match self {
            Self::Data(stuffer) => stuffer.finish(out),
            Self::Chunks { gathered, binary, mut lines } => {
                if !binary && let Some(error) = lines.finish().and_then(UnsafeMessage::of) {
                    return Err(error);
                }
                write_chunk(&gathered, " LAST", out);
                Ok(())
            }
        }
    }
}

fn write_chunk(octets: &[u8], marker: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("BDAT {}{marker}\r\n", octets.len()).as_bytes());
    out.extend_from_slice(octets);
}

fn check(lines: &mut LineScanner, piece: &[u8]) -> Result<(), UnsafeMessage> {
    let mut rest = piece;
    while let Some((octets, mark)) = lines.next(rest) {
        if let Some(error) = UnsafeMessage::of(mark) {
            return Err(error);
        }
        rest = &rest[octets..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::client::body::*;

    fn chunked(pieces: &[&[u8]], binary: bool) -> Result<(Vec<u8>, usize), UnsafeMessage> {
        let (mut out, mut replies) = (Vec::new(), 0);
        let mut writer = BodyWriter::chunks(binary);
        for piece in pieces {
            replies += usize::from(writer.write(piece, &mut out)?);
        }
        writer.finish(&mut out)?;
        Ok((out, replies))
    }

    #[test]
    fn a_small_message_is_one_chunk_and_leaves_as_it_is() {
        let (out, replies) = chunked(&[b"a\r\n.\r\n..b", b"\r\n.\r\n"], false).unwrap();
        assert_eq!(out, b"BDAT 14 LAST\r\na\r\n.\r\n..b\r\n.\r\n");
        assert_eq!(replies, 0);
        assert_eq!(chunked(&[], false).unwrap().0, b"BDAT 0 LAST\r\n");
    }

    #[test]
    fn a_large_message_is_several() {
        let line = b"0123456789abcd\r\n";
        let pieces = vec![&line[..]; CLIENT_CHUNK_OCTETS / line.len() * 2 + 1];
        let (out, replies) = chunked(&pieces, false).unwrap();
        assert_eq!(replies, 2);
        let first = format!("BDAT {CLIENT_CHUNK_OCTETS}\r\n");
        assert!(out.starts_with(first.as_bytes()));
        assert!(out.ends_with(b"BDAT 16 LAST\r\n0123456789abcd\r\n"));
        assert_eq!(out.len(), pieces.len() * 16 + 2 * first.len() + 14);
    }

    #[test]
    fn only_a_binary_body_may_hold_anything() {
        for (message, error) in [
            (&[&b"a\n"[..]][..], UnsafeMessage::BareLf),
            (&[b"a\r", b"b"], UnsafeMessage::BareCr),
            (&[b"a\r"], UnsafeMessage::BareCr),
            (&[b"a\0"], UnsafeMessage::Nul),
        ] {
            assert_eq!(chunked(message, false), Err(error));
            assert!(chunked(message, true).is_ok());
        }
    }
}
