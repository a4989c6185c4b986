//! Bytes become command lines. A line ends in CRLF and in nothing else.
//!
//! This module decides where a line ends and which octets no line may hold. What a line means is
//! for [`crate::smtp::command`].

use bytes::{Buf, BytesMut};
use memchr::{memchr3, memmem};

use crate::limits::{AUTH_LINE_OCTETS, COMMAND_LINE_OCTETS};
use crate::smtp::reply::{self, Reply};

/// Why a line is answered with an error before anybody looks at its words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A CR or an LF that is not part of CRLF, or a NUL.
    #[error("the line holds a bare CR, a bare LF or a NUL")]
    ForbiddenOctet,
    /// The line is longer than [`COMMAND_LINE_OCTETS`].
    #[error("the line is longer than {COMMAND_LINE_OCTETS} octets")]
    TooLong,
    /// A line of an AUTH exchange, the first included, is longer than [`AUTH_LINE_OCTETS`].
    #[error("the line of an AUTH exchange is longer than {AUTH_LINE_OCTETS} octets")]
    ResponseTooLong,
}

/// Takes command lines off the front of a buffer. The result depends on the octets only, never on
/// how they were cut into packets.
#[derive(Debug, Default)]
pub struct LineReader {
    /// How far the unfinished line was searched already, so that a drip costs no second search.
    searched: usize,
    /// The line is over the limit already, which is this error; its end is still to come.
    skipping: Option<LineError>,
}

impl LineError {
    /// What the client is told.
    pub fn reply(self) -> Reply {
        match self {
            Self::ForbiddenOctet => reply::INVALID_CHARACTER,
            Self::TooLong => reply::LINE_TOO_LONG,
            Self::ResponseTooLong => reply::RESPONSE_TOO_LONG,
        }
    }
}

impl LineReader {
    /// The next line without its CRLF. `None` while its end is still to come. Every line
    /// `in_exchange` is one of an AUTH exchange.
    pub fn next_line(
        &mut self,
        input: &mut BytesMut,
        in_exchange: bool,
    ) -> Option<Result<BytesMut, LineError>> {
        let (most, too_long) = if in_exchange || begins_exchange(input) {
            (AUTH_LINE_OCTETS, LineError::ResponseTooLong)
        } else {
            (COMMAND_LINE_OCTETS, LineError::TooLong)
        };
        // The octet before the searched part may be a CR whose LF has just arrived.
        let from = self.searched.saturating_sub(1);
        // RFC 5321 section 2.3.8: nothing but CRLF ends a line. Were a bare LF taken for an end,
        // even of a line that is refused, an address with an LF in it, passed on by a careless
        // client, could begin a command of its own.
        let Some(end) = memmem::find(&input[from..], b"\r\n").map(|end| from + end) else {
            if self.skipping.is_some() || input.len() >= most {
                self.skipping.get_or_insert(too_long);
                // A CR at the end may be half of the CRLF.
                let keep = usize::from(input.last() == Some(&b'\r'));
                input.advance(input.len() - keep);
            }
            self.searched = input.len();
            return None;
        };
        self.searched = 0;
        let line = input.split_to(end);
        input.advance(2);
        let skipped = self.skipping.take();
        if let Some(error) = skipped.or((end + 2 > most).then_some(too_long)) {
            return Some(Err(error));
        }
        if memchr3(b'\r', b'\n', 0, &line).is_some() {
            return Some(Err(LineError::ForbiddenOctet));
        }
        Some(Ok(line))
    }
}

/// Is this the AUTH command? RFC 4954 section 4 gives it, with its initial response, more room.
fn begins_exchange(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|verb| verb.eq_ignore_ascii_case(b"AUTH "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Lines = Vec<Result<Vec<u8>, LineError>>;

    fn read(chunks: &[&[u8]]) -> (Lines, Vec<u8>) {
        let mut reader = LineReader::default();
        let mut input = BytesMut::new();
        let mut lines = Vec::new();
        for chunk in chunks {
            input.extend_from_slice(chunk);
            while let Some(line) = reader.next_line(&mut input, false) {
                lines.push(line.map(|line| line.to_vec()));
            }
        }
        (lines, input.to_vec())
    }

    fn lines(input: &[u8]) -> Lines {
        read(&[input]).0
    }

    #[test]
    fn only_crlf_ends_a_line() {
        use LineError::ForbiddenOctet;
        assert_eq!(lines(b"NOOP\r\nQUIT\r\n"), [Ok(b"NOOP".to_vec()), Ok(b"QUIT".to_vec())]);
        assert_eq!(lines(b"\r\n"), [Ok(vec![])]);
        assert_eq!(lines(b"NOOP\nQUIT\r\n"), [Err(ForbiddenOctet)]);
        assert_eq!(lines(b"NOOP\rQUIT\r\n"), [Err(ForbiddenOctet)]);
        assert_eq!(lines(b"NOOP\r\r\n"), [Err(ForbiddenOctet)]);
        assert_eq!(lines(b"NO\0OP\r\n"), [Err(ForbiddenOctet)]);
        assert_eq!(lines(b"NOOP\n"), []);
    }

    #[test]
    fn a_long_line_is_answered_once_when_it_ends() {
        let longest = [b"A".repeat(COMMAND_LINE_OCTETS - 2), b"\r\n".to_vec()].concat();
        assert!(lines(&longest)[0].is_ok());
        let longer = [b"A".repeat(COMMAND_LINE_OCTETS - 1), b"\r\nNOOP\r\n".to_vec()].concat();
        assert_eq!(lines(&longer), [Err(LineError::TooLong), Ok(b"NOOP".to_vec())]);

        // Nothing of it is kept while its end is awaited.
        let endless = b"A".repeat(20 * COMMAND_LINE_OCTETS);
        let (lines, rest) = read(&[&endless, &endless, b"\r", b"\nNOOP\r\n"]);
        assert_eq!(lines, [Err(LineError::TooLong), Ok(b"NOOP".to_vec())]);
        assert_eq!(rest, b"");
    }

    #[test]
    fn an_exchange_has_longer_lines() {
        let auth = |octets| [b"AUTH ".to_vec(), b"A".repeat(octets - 7), b"\r\n".to_vec()].concat();
        assert!(lines(&auth(AUTH_LINE_OCTETS))[0].is_ok());
        assert_eq!(lines(&auth(AUTH_LINE_OCTETS + 1)), [Err(LineError::ResponseTooLong)]);
        let endless = auth(5 * AUTH_LINE_OCTETS);
        let chunks: Vec<_> = endless.chunks(1000).collect();
        assert_eq!(read(&chunks).0, [Err(LineError::ResponseTooLong)]);

        let mut reader = LineReader::default();
        let mut input = BytesMut::from(&auth(AUTH_LINE_OCTETS)[5..]);
        assert!(reader.next_line(&mut input.clone(), false).unwrap().is_err());
        assert!(reader.next_line(&mut input, true).unwrap().is_ok());
    }

    proptest! {
        #[test]
        fn chunks_do_not_matter(
            input in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(0), Just(b'A')], 0..60),
            cuts in proptest::collection::vec(0usize..60, 0..6),
            padding in 0usize..3,
        ) {
            // Around the limit as well as far from it.
            let mut bytes = b"A".repeat(padding * (COMMAND_LINE_OCTETS - 30) / 2);
            let offset = bytes.len();
            bytes.extend(input);
            let mut cuts: Vec<_> =
                cuts.iter().map(|cut| (offset + cut).min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let chunks: Vec<_> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            let single: Vec<_> = bytes.chunks(1).collect();
            let expected = lines(&bytes);
            prop_assert_eq!(&read(&chunks).0, &expected);
            prop_assert_eq!(&read(&single).0, &expected);
        }
    }
}
