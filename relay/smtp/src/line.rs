//! Divides octets into command lines. A line ends in CRLF and in nothing else.
//!
//! This module finds the end of a line, checks for octets that no line may have, and decides after
//! which lines the session ends: lines whose end is not certain, or that never end.
//! [`crate::command`] parses a line, and [`crate::foreign`] recognizes whole lines of other
//! protocols.

use crate::command::begins_chunk;
use crate::limits::{AUTH_LINE_OCTETS, COMMAND_LINE_OCTETS, SKIPPED_LINE_OCTETS};
use bytes::{Buf, BytesMut};
use relay_mail::line_end::{LineMark, LineScanner};
use relay_mail::reply::{self, Reply};

/// Why a line gets an error before its words are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A CR that is not part of CRLF, or a NUL.
    #[error("the line has a bare CR or a NUL")]
    ForbiddenOctet,
    /// An LF that is not part of CRLF. No line follows.
    #[error("the line ends with LF alone, and not with CRLF")]
    BareLf,
    /// A BDAT command that cannot be read: how many octets follow it is not known. No line follows.
    #[error(
        "a BDAT command holds a forbidden octet or is longer than {COMMAND_LINE_OCTETS} octets"
    )]
    ChunkCommand,
    /// The first octet begins no command, so the client uses another protocol. No line follows.
    #[error("{}", describe(*.0))]
    NoCommand(u8),
    /// The line is longer than [`COMMAND_LINE_OCTETS`].
    #[error("the line is longer than {COMMAND_LINE_OCTETS} octets")]
    TooLong,
    /// A line of an AUTH exchange, or its AUTH command, is longer than [`AUTH_LINE_OCTETS`].
    #[error("the line of an AUTH exchange is longer than {AUTH_LINE_OCTETS} octets")]
    ResponseTooLong,
    /// The line has not ended after [`SKIPPED_LINE_OCTETS`]. No line follows.
    #[error("the line has not ended after {SKIPPED_LINE_OCTETS} octets")]
    Endless {
        /// It is a line of an AUTH exchange.
        in_exchange: bool,
    },
}

/// Takes command lines off the front of a buffer. The result depends on the octets only, never on
/// how they were cut into packets.
///
/// ```
/// use bytes::BytesMut;
/// use relay_smtp::line::{LineError, LineReader};
///
/// let (mut reader, mut input) = (LineReader::default(), BytesMut::from("NOOP\r"));
/// assert_eq!(reader.next_line(&mut input, false), None);
/// input.extend_from_slice(b"\nRSET\nQUIT\r\n");
/// assert_eq!(reader.next_line(&mut input, false).unwrap().unwrap(), "NOOP");
/// // LF alone ends no command, and what follows it is not read.
/// assert_eq!(reader.next_line(&mut input, false), Some(Err(LineError::BareLf)));
/// assert_eq!(reader.next_line(&mut input, false), None);
/// ```
#[derive(Debug, Default)]
pub struct LineReader {
    /// How far the unfinished line was searched, so that a slow client does not cause repeated
    /// searches.
    searched: usize,
    /// Octets of the unfinished line that were dropped because of the limit.
    dropped: usize,
    /// Which limit that is.
    too_long: Option<LineError>,
    /// Octets of the last line, without its end.
    length: usize,
    /// The unfinished line holds a bare CR or a NUL.
    is_forbidden: bool,
    /// No line follows.
    ended: bool,
}

impl LineError {
    /// The reply to the client.
    pub fn reply(self) -> Reply {
        match self {
            Self::ForbiddenOctet => reply::INVALID_CHARACTER,
            Self::BareLf => reply::BARE_LF,
            Self::ChunkCommand => reply::INVALID_ARGUMENTS,
            Self::NoCommand(_) => reply::OTHER_PROTOCOL,
            Self::TooLong | Self::Endless { in_exchange: false } => reply::LINE_TOO_LONG,
            Self::ResponseTooLong | Self::Endless { in_exchange: true } => reply::RESPONSE_TOO_LONG,
        }
    }

    /// Is this the last line? Then the session has nothing more to read.
    pub fn is_last(self) -> bool {
        matches!(
            self,
            Self::BareLf | Self::ChunkCommand | Self::NoCommand(_) | Self::Endless { .. }
        )
    }
}

impl LineReader {
    /// The next line without its CRLF. `None` while its end has not arrived, and always after an
    /// error that [`LineError::is_last`]. Every line `in_exchange` belongs to an AUTH exchange.
    pub fn next_line(
        &mut self,
        input: &mut BytesMut,
        in_exchange: bool,
    ) -> Option<Result<BytesMut, LineError>> {
        if self.ended {
            input.clear();
            return None;
        }
        let is_begun = self.dropped > 0;
        if !in_exchange
            && !is_begun
            && let Some(octet) = begins_no_command(input)
        {
            return Some(Err(self.end(input, LineError::NoCommand(octet))));
        }
        let in_exchange = match self.too_long {
            Some(error) => in_exchange || error == LineError::ResponseTooLong,
            None => in_exchange || begins_exchange(input),
        };
        // Once a part of the line was dropped, `too_long` remembers how it began. A client that
        // ignores replies may send BDAT where a response is expected.
        let is_chunk = !is_begun && begins_chunk(input);
        let (most, too_long) = match in_exchange {
            true => (AUTH_LINE_OCTETS, LineError::ResponseTooLong),
            false => (COMMAND_LINE_OCTETS, LineError::TooLong),
        };
        let too_long = if is_chunk { LineError::ChunkCommand } else { too_long };
        let endless = LineError::Endless { in_exchange };
        let from = self.searched.min(input.len());
        let Some((next, mark)) = self.find_end(input, from) else {
            // A CR at the end may be half of the CRLF.
            let keep = usize::from(input.last() == Some(&b'\r'));
            if self.dropped + input.len() - keep >= SKIPPED_LINE_OCTETS {
                return Some(Err(self.end(input, endless)));
            }
            if is_begun || input.len() >= most {
                self.too_long.get_or_insert(too_long);
                self.dropped += input.len() - keep;
                input.advance(input.len() - keep);
            }
            self.searched = input.len();
            return None;
        };
        let end_octets = if mark == LineMark::End { 2 } else { 1 };
        self.length = self.dropped + next - end_octets;
        if self.length >= SKIPPED_LINE_OCTETS {
            return Some(Err(self.end(input, endless)));
        }
        // RFC 5321 section 2.3.8: nothing but CRLF ends a line. Were a bare LF taken for an end,
        // an address with an LF in it, passed on by a careless client, could begin a command of
        // its own. It is no octet of a command either, so nothing that follows it is read.
        if mark == LineMark::BareLf {
            return Some(Err(self.end(input, LineError::BareLf)));
        }
        self.searched = 0;
        self.dropped = 0;
        let line = input.split_to(next - end_octets);
        input.advance(end_octets);
        let is_forbidden = std::mem::take(&mut self.is_forbidden);
        let skipped = self.too_long.take();
        let forbidden = if is_chunk { LineError::ChunkCommand } else { LineError::ForbiddenOctet };
        let error =
            skipped.or((next > most).then_some(too_long)).or(is_forbidden.then_some(forbidden));
        match error {
            Some(LineError::ChunkCommand) => Some(Err(self.end(input, LineError::ChunkCommand))),
            Some(error) => Some(Err(error)),
            None => Some(Ok(line)),
        }
    }

    /// Octets of the last line, without its end.
    pub fn length(&self) -> usize {
        self.length
    }

    /// The octets up to the first LF, and whether it belongs to a CRLF. The octets before `from` were
    /// searched already.
    fn find_end(&mut self, input: &[u8], from: usize) -> Option<(usize, LineMark)> {
        // The position comes from the octets that are still there, not from a memory of others: only
        // a CR in the buffer can be half of a CRLF.
        let (mut scanner, mut read) = (LineScanner::default(), from);
        scanner.skip(&input[..from]);
        loop {
            let (octets, mark) = scanner.next(&input[read..])?;
            read += octets;
            match mark {
                LineMark::End | LineMark::BareLf => return Some((read, mark)),
                LineMark::BareCr | LineMark::Nul => self.is_forbidden = true,
            }
        }
    }

    fn end(&mut self, input: &mut BytesMut, error: LineError) -> LineError {
        self.ended = true;
        input.clear();
        error
    }
}

/// The part of the line in which the verb is searched. It does not depend on how many octets have
/// arrived.
fn verb_on(line: &[u8]) -> &[u8] {
    line[..line.len().min(COMMAND_LINE_OCTETS)].trim_ascii_start()
}

/// Is this the AUTH command? RFC 4954 section 4 allows a longer line, because of its initial
/// response.
fn begins_exchange(line: &[u8]) -> bool {
    let verb = verb_on(line).get(..5);
    verb.is_some_and(|verb| verb[..4].eq_ignore_ascii_case(b"AUTH") && b" \t".contains(&verb[4]))
}

/// The first octet that is no blank, unless it can begin a command or an empty line ends there. It
/// is known before the line ends; in a protocol of records a line may never end.
fn begins_no_command(line: &[u8]) -> Option<u8> {
    let blanks = line.iter().take_while(|octet| b" \t".contains(octet)).count();
    let first = line.get(blanks).filter(|_| blanks < COMMAND_LINE_OCTETS)?;
    (!first.is_ascii_alphabetic() && !b"\r\n".contains(first)).then_some(*first)
}

fn describe(first: u8) -> String {
    let guess = match first {
        // The content type of a TLS record with a handshake (RFC 8446 section 5.1).
        0x16 => ", perhaps a TLS handshake without STARTTLS",
        _ => "",
    };
    format!("a line begins with the octet 0x{first:02X}, which begins no command{guess}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::line::*;

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
        assert_eq!(lines(b"NOOP\rQUIT\r\n"), [Err(ForbiddenOctet)]);
        assert_eq!(lines(b"NOOP\r\r\n"), [Err(ForbiddenOctet)]);
        assert_eq!(lines(b"NO\0OP\r\n"), [Err(ForbiddenOctet)]);
    }

    #[test]
    fn nothing_follows_a_bare_lf() {
        use LineError::BareLf;
        assert_eq!(lines(b"NOOP\n"), [Err(BareLf)]);
        assert_eq!(lines(b"\nNOOP\r\n"), [Err(BareLf)]);
        assert_eq!(lines(b"NOOP\r\nNO\rOP\nQUIT\r\n"), [Ok(b"NOOP".to_vec()), Err(BareLf)]);
        let long = [b"A".repeat(2 * COMMAND_LINE_OCTETS), b"\nNOOP\r\n".to_vec()].concat();
        assert_eq!(lines(&long), [Err(BareLf)]);
    }

    #[test]
    fn nothing_follows_what_begins_no_command() {
        use LineError::NoCommand;
        assert_eq!(lines(b"\x16\x03\x01\x02"), [Err(NoCommand(0x16))]);
        assert_eq!(lines(b"NOOP\r\n \t{\"a\": 1"), [Ok(b"NOOP".to_vec()), Err(NoCommand(b'{'))]);
        for octets in [&b"\0"[..], b"*1\r\n$4\r\nPING\r\n", b"250 OK\r\n", b"<xml>", b"\xff\xfb"] {
            assert_eq!(lines(octets), [Err(NoCommand(octets[0]))]);
        }
        // A line of an exchange begins with any octet of base64.
        let mut reader = LineReader::default();
        let line = reader.next_line(&mut BytesMut::from(&b"+/==\r\n"[..]), true);
        assert!(line.unwrap().is_ok());
        // Blanks beyond the limit are a line that is too long, in any division.
        let blanks = [b" ".repeat(COMMAND_LINE_OCTETS), b"{\r\n".to_vec()].concat();
        assert_eq!(lines(&blanks), [Err(LineError::TooLong)]);
    }

    #[test]
    fn a_line_without_end_is_given_up() {
        for (begin, in_exchange) in [(&b"NOOP "[..], false), (b"AUTH PLAIN ", true)] {
            let fill = |octets: usize| [begin, &b"A".repeat(octets - begin.len())].concat();
            let most = [fill(SKIPPED_LINE_OCTETS - 1), b"\r\nNOOP\r\n".to_vec()].concat();
            let too_long =
                if in_exchange { LineError::ResponseTooLong } else { LineError::TooLong };
            let after = [Err(too_long), Ok(b"NOOP".to_vec())];
            let endless = fill(SKIPPED_LINE_OCTETS);
            let ended = [&endless[..], b"\r\nNOOP\r\n"].concat();
            for chunk in [1, 4096, 16_384, usize::MAX] {
                let cut = |octets: &[u8]| {
                    read(&octets.chunks(chunk.min(octets.len())).collect::<Vec<_>>()).0
                };
                assert_eq!(cut(&most), after);
                assert_eq!(cut(&endless), [Err(LineError::Endless { in_exchange })]);
                assert_eq!(cut(&ended), [Err(LineError::Endless { in_exchange })]);
            }
        }
    }

    #[test]
    fn a_long_line_is_answered_once_when_it_ends() {
        let longest = [b"A".repeat(COMMAND_LINE_OCTETS - 2), b"\r\n".to_vec()].concat();
        assert!(lines(&longest)[0].is_ok());
        let longer = [b"A".repeat(COMMAND_LINE_OCTETS - 1), b"\r\nNOOP\r\n".to_vec()].concat();
        assert_eq!(lines(&longer), [Err(LineError::TooLong), Ok(b"NOOP".to_vec())]);

        // Nothing of it is kept while its end is awaited.
        let part = b"A".repeat(5 * COMMAND_LINE_OCTETS);
        let (lines, rest) = read(&[&part, &part, b"\r", b"\nNOOP\r\n"]);
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
