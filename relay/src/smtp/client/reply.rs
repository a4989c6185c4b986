//! What a next hop replies, read strictly and within limits (RFC 5321 section 4.2).

use std::borrow::Cow;

use crate::limits;
use crate::smtp::reply::{Enhanced, Reply};

/// Why bytes are no reply. The connection has lost its step and is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// A line without three digits and a space or a hyphen.
    #[error("a reply line does not begin with a code from 200 to 599")]
    NoCode,
    /// Lines of one reply with different codes.
    #[error("the lines of one reply have different codes")]
    CodeChanges,
    /// A bare CR or a bare LF.
    #[error("a reply line holds a bare CR or a bare LF")]
    LineEnding,
    /// A line over [`limits::CLIENT_REPLY_LINE_OCTETS`].
    #[error("a reply line is longer than {} octets", limits::CLIENT_REPLY_LINE_OCTETS)]
    LineTooLong,
    /// More lines than [`limits::CLIENT_REPLY_LINES`].
    #[error("a reply has more than {} lines", limits::CLIENT_REPLY_LINES)]
    TooManyLines,
    /// A text over [`limits::CLIENT_REPLY_OCTETS`].
    #[error("a reply is longer than {} octets", limits::CLIENT_REPLY_OCTETS)]
    TooLong,
}

/// Collects bytes, however they are cut, and gives replies.
#[derive(Debug, Default)]
pub struct ReplyParser {
    line: Vec<u8>,
    code: Option<u16>,
    text: String,
    lines: usize,
}

impl ReplyParser {
    /// Takes bytes up to the end of the next reply and leaves the rest in `bytes`. None when
    /// more are needed.
    ///
    /// # Errors
    /// [`ReplyError`]; nothing that follows can be understood.
    pub fn parse(&mut self, bytes: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        while let Some((&octet, rest)) = bytes.split_first() {
            *bytes = rest;
            match (octet, self.line.last()) {
                (b'\n', Some(b'\r')) => {
                    self.line.pop();
                    let line = std::mem::take(&mut self.line);
                    if let Some(reply) = self.line(&line)? {
                        return Ok(Some(reply));
                    }
                }
                (b'\n', _) | (_, Some(b'\r')) => return Err(ReplyError::LineEnding),
                _ if self.line.len() + 2 > limits::CLIENT_REPLY_LINE_OCTETS => {
                    return Err(ReplyError::LineTooLong);
                }
                _ => self.line.push(octet),
            }
        }
        Ok(None)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let (code, more, text) = match line {
            [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
                let digit = |octet: &u8| u16::from(octet - b'0');
                let code = digit(a) * 100 + digit(b) * 10 + digit(c);
                match rest {
                    [b'-', text @ ..] => (code, true, text),
                    [b' ', text @ ..] => (code, false, text),
                    // RFC 5321 section 4.2.1: a client should accept a code without a text.
                    [] => (code, false, rest),
                    _ => return Err(ReplyError::NoCode),
                }
            }
            _ => return Err(ReplyError::NoCode),
        };
        if self.code.is_some_and(|first| first != code) {
            return Err(ReplyError::CodeChanges);
        }
        if self.lines == limits::CLIENT_REPLY_LINES {
            return Err(ReplyError::TooManyLines);
        }
        if self.text.len() + text.len() > limits::CLIENT_REPLY_OCTETS {
            return Err(ReplyError::TooLong);
        }
        if self.lines > 0 {
            self.text.push('\n');
        }
        self.text.push_str(&String::from_utf8_lossy(text));
        self.lines += 1;
        self.code = Some(code);
        if more {
            return Ok(None);
        }
        let text = std::mem::take(&mut self.text);
        *self = Self::default();
        let (enhanced, text) = split_enhanced(code, text);
        Ok(Some(Reply { code, enhanced, text: Cow::Owned(text) }))
    }
}

/// Takes the enhanced status code from the beginning of each line (RFC 2034 section 4), if its
/// class is that of the code.
fn split_enhanced(code: u16, text: String) -> (Option<Enhanced>, String) {
    let mut found = None;
    let lines: Vec<_> = text
        .split('\n')
        .map(|line| match parse_enhanced(line) {
            Some((status, rest)) if u16::from(status.0) == code / 100 => {
                found.get_or_insert(status);
                rest
            }
            _ => line,
        })
        .collect();
    let text = lines.join("\n");
    (found, text)
}

fn parse_enhanced(line: &str) -> Option<(Enhanced, &str)> {
    let (status, rest) = line.split_once(' ').unwrap_or((line, ""));
    let mut numbers = status.split('.');
    let mut number = |most_digits: usize| {
        let text = numbers.next()?;
        let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
        if is_number && text.len() <= most_digits { text.parse::<u16>().ok() } else { None }
    };
    let (class, subject, detail) = (number(1)?, number(3)?, number(3)?);
    if numbers.next().is_some() {
        return None;
    }
    Some((Enhanced(u8::try_from(class).ok()?, subject, detail), rest))
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Reply>, ReplyError> {
        in_pieces([bytes])
    }

    fn in_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Reply>, ReplyError> {
        let mut parser = ReplyParser::default();
        let mut replies = Vec::new();
        for mut piece in pieces {
            while let Some(reply) = parser.parse(&mut piece)? {
                replies.push(reply);
            }
        }
        Ok(replies)
    }

    fn reply(code: u16, enhanced: Option<Enhanced>, text: &'static str) -> Reply {
        Reply::new(code, enhanced, text)
    }

    #[test]
    fn one_line_and_several() {
        assert_eq!(all(b"250 OK\r\n"), Ok(vec![reply(250, None, "OK")]));
        assert_eq!(all(b"250\r\n"), Ok(vec![reply(250, None, "")]));
        assert_eq!(
            all(b"250-mx\r\n250-SIZE 10\r\n250 HELP\r\n221 bye\r\n"),
            Ok(vec![reply(250, None, "mx\nSIZE 10\nHELP"), reply(221, None, "bye")])
        );
    }

    #[test]
    fn enhanced_codes() {
        let refused = Some(Enhanced(5, 1, 1));
        assert_eq!(
            all(b"550-5.1.1 no\r\n550 5.1.1 such user\r\n"),
            Ok(vec![reply(550, refused, "no\nsuch user")])
        );
        // Of another class, or not one at all: part of the text.
        assert_eq!(all(b"450 5.1.1 no\r\n"), Ok(vec![reply(450, None, "5.1.1 no")]));
        for text in ["5.1 no", "5.1.1.1 no", "5..1 no", "5.1.1000 no", "5.1.1no", "55.1.1 no"] {
            let replies = all(format!("550 {text}\r\n").as_bytes()).unwrap();
            assert_eq!((replies[0].enhanced, &*replies[0].text), (None, text));
        }
    }

    #[test]
    fn a_reply_has_a_largest_size() {
        let line = [b"250-".as_slice(), &[b'x'; 2000], b"\r\n"].concat();
        let lines = limits::CLIENT_REPLY_OCTETS / 2000 + 1;
        assert!(lines < limits::CLIENT_REPLY_LINES);
        assert_eq!(all(&line.repeat(lines)), Err(ReplyError::TooLong));
    }

    #[test]
    fn what_is_no_reply() {
        let long = [b"250 ".as_slice(), &[b'x'; limits::CLIENT_REPLY_LINE_OCTETS]].concat();
        let endless = b"250-x\r\n".repeat(limits::CLIENT_REPLY_LINES + 1);
        for (bytes, error) in [
            (b"hello\r\n".as_slice(), ReplyError::NoCode),
            (b"\r\n", ReplyError::NoCode),
            (b"25 OK\r\n", ReplyError::NoCode),
            (b"2500 OK\r\n", ReplyError::NoCode),
            (b"150 OK\r\n", ReplyError::NoCode),
            (b"650 OK\r\n", ReplyError::NoCode),
            (b"250-a\r\n251 b\r\n", ReplyError::CodeChanges),
            (b"250 OK\n", ReplyError::LineEnding),
            (b"250 O\rK\r\n", ReplyError::LineEnding),
            (&long, ReplyError::LineTooLong),
            (&endless, ReplyError::TooManyLines),
        ] {
            assert_eq!(all(bytes), Err(error), "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            lines in vec("(2[0-9]{2}[- ][ -~]{0,20}\r\n|[ -~\r\n]{0,8})", 0..6),
            cuts in vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let bytes = lines.concat().into_bytes();
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]);
            prop_assert_eq!(in_pieces(pieces), all(&bytes));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..200)) {
            let _ = all(&bytes);
        }
    }
}
