//! A message on its way out, as the argument of DATA or as one chunk (RFC 3030).

use super::dot::{DotStuffer, UnsafeMessage};
use crate::smtp::data::{LineEndings, Violation};

/// Writes a message that comes in pieces.
#[derive(Debug)]
pub(super) enum BodyWriter {
    /// After BDAT: so many octets, not one of them changed.
    Chunk {
        remaining: u64,
        /// BODY=BINARYMIME was said, so that line endings are what they are.
        binary: bool,
        endings: LineEndings,
    },
    /// After 354.
    Data(DotStuffer),
}

impl BodyWriter {
    pub(super) fn data() -> Self {
        Self::Data(DotStuffer::new())
    }

    /// Begins a chunk that is the whole message.
    pub(super) fn chunk(size: u64, binary: bool, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(format!("BDAT {size} LAST\r\n").as_bytes());
        Self::Chunk { remaining: size, binary, endings: LineEndings::default() }
    }

    /// Appends a piece of the message to `out`.
    ///
    /// # Errors
    /// [`UnsafeMessage`]; the connection must then close before the message is complete.
    pub(super) fn write(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), UnsafeMessage> {
        match self {
            Self::Data(stuffer) => stuffer.stuff(piece, out),
            Self::Chunk { remaining, binary, endings } => {
                *remaining =
                    remaining.checked_sub(piece.len() as u64).ok_or(UnsafeMessage::Length)?;
                if !*binary {
                    endings.scan(piece);
                    // What it holds now is complete for the next hop, and a CR cannot be its end.
                    if *remaining == 0 {
                        endings.finish();
                    }
                    check(endings)?;
                }
                out.extend_from_slice(piece);
                Ok(())
            }
        }
    }

    /// Appends what ends the message.
    ///
    /// # Errors
    /// [`UnsafeMessage`], as [`BodyWriter::write`].
    pub(super) fn finish(self, out: &mut Vec<u8>) -> Result<(), UnsafeMessage> {
        match self {
            Self::Data(stuffer) => stuffer.finish(out),
            Self::Chunk { remaining: 0, .. } => Ok(()),
            Self::Chunk { .. } => Err(UnsafeMessage::Length),
        }
    }
}

fn check(endings: &LineEndings) -> Result<(), UnsafeMessage> {
    match endings.violation() {
        None => Ok(()),
        Some(Violation::BareCr(_)) => Err(UnsafeMessage::BareCr),
        Some(Violation::BareLf(_)) => Err(UnsafeMessage::BareLf),
        Some(Violation::Nul(_)) => Err(UnsafeMessage::Nul),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunked(pieces: &[&[u8]], binary: bool) -> Result<Vec<u8>, UnsafeMessage> {
        let mut out = Vec::new();
        let size = pieces.iter().map(|piece| piece.len() as u64).sum();
        let mut writer = BodyWriter::chunk(size, binary, &mut out);
        for piece in pieces {
            writer.write(piece, &mut out)?;
        }
        writer.finish(&mut out)?;
        Ok(out)
    }

    #[test]
    fn a_chunk_leaves_as_it_is() {
        let out = chunked(&[b"a\r\n.\r\n..b", b"\r\n.\r\n"], false).unwrap();
        assert_eq!(out, b"BDAT 14 LAST\r\na\r\n.\r\n..b\r\n.\r\n");
        assert_eq!(chunked(&[], false).unwrap(), b"BDAT 0 LAST\r\n");
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

    #[test]
    fn the_size_that_was_said_holds() {
        let mut out = Vec::new();
        let mut writer = BodyWriter::chunk(3, true, &mut out);
        assert_eq!(writer.write(b"abcd", &mut out), Err(UnsafeMessage::Length));
        let mut writer = BodyWriter::chunk(3, true, &mut out);
        writer.write(b"ab", &mut out).unwrap();
        assert_eq!(writer.finish(&mut out), Err(UnsafeMessage::Length));
    }
}
