//! Reads the replies of a next hop (RFC 5321 section 4.2), within limits.
//!
//! Tolerant in form, since refusals of real servers matter more than their syntax: a line may end
//! in a bare LF, lack its space, be long, or lack its code within a reply of several lines. The
//! last line's code counts, as with other clients. Strict if an outcome depends on it: a reply that
//! is positive in one line and negative in another is invalid. The text is kept for logs and
//! reports, safe to print, even if it is no reply: [`ReplyParser::received_text`].

use std::borrow::Cow;

use relay_mail::printable::printable_octets;
use relay_mail::reply::{Enhanced, Reply};

use crate::limits;

/// Why octets are no reply. The connection is closed, since it is unknown to which commands the
/// following replies belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplyError {
    /// The first line has no code.
    #[error("a reply line does not begin with a code from 200 to 599")]
    NoCode,
    /// Lines of one reply with codes of different kinds.
    #[error("the lines of one reply have codes that contradict each other")]
    CodeChanges,
    /// More than [`limits::CLIENT_REPLY_OCTETS`].
    #[error("a reply is longer than {} octets", limits::CLIENT_REPLY_OCTETS)]
    TooLong,
}

/// Collects octets, however they are cut, and gives replies.
#[derive(Debug, Default)]
pub struct ReplyParser {
    /// The line so far, without its end; not more than is kept.
    line: Vec<u8>,
    /// The code of the last line that had one.
    code: Option<u16>,
    text: String,
    lines: usize,
    /// Octets of the reply so far.
    octets: usize,
    /// The beginning of the reply, as received.
    raw: Vec<u8>,
}

/// The beginning of a reply line.
enum Start<'l> {
    Code { code: u16, more: bool, text: &'l [u8] },
    NoCode,
}

impl ReplyParser {
    /// Reads octets up to the end of the next reply and leaves the rest in `bytes`. None if more
    /// are needed.
    ///
    /// # Errors
    /// [`ReplyError`]; later octets cannot be understood.
    pub fn parse(&mut self, bytes: &mut &[u8]) -> Result<Option<Reply>, ReplyError> {
        while let Some((&octet, rest)) = bytes.split_first() {
            *bytes = rest;
            self.octets += 1;
            if self.raw.len() < limits::ANSWER_OCTETS {
                self.raw.push(octet);
            }
            if self.octets > limits::CLIENT_REPLY_OCTETS {
                return Err(ReplyError::TooLong);
            }
            if octet == b'\n' {
                let line = std::mem::take(&mut self.line);
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                if let Some(reply) = self.line(line)? {
                    return Ok(Some(reply));
                }
            } else if self.line.len() < limits::CLIENT_REPLY_KEPT_OCTETS {
                self.line.push(octet);
            }
        }
        Ok(None)
    }

    /// The text of an incomplete or invalid reply: on one line, safe to print, with at most about
    /// [`limits::ANSWER_OCTETS`]. `None` if there is none.
    pub fn received_text(&self) -> Option<String> {
        let lines = self.raw.split(|&octet| octet == b'\n');
        let lines = lines.map(|line| line.trim_ascii()).filter(|line| !line.is_empty());
        let text = lines.map(printable_octets).collect::<Vec<_>>().join(" ");
        (!text.is_empty()).then_some(text)
    }

    fn line(&mut self, line: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let (code, more, text) = match (start(line), self.code) {
            (Start::Code { code, more, text }, _) => (code, more, text),
            // Text with a line end in it, from servers that do not check their quotes.
            (Start::NoCode, Some(code)) => (code, true, line),
            (Start::NoCode, None) => return Err(ReplyError::NoCode),
        };
        if self.code.is_some_and(|earlier| !agree(earlier, code)) {
            return Err(ReplyError::CodeChanges);
        }
        let room = limits::CLIENT_REPLY_KEPT_OCTETS.saturating_sub(self.text.len());
        if room > 0 && self.lines < limits::CLIENT_REPLY_LINES {
            if self.lines > 0 {
                self.text.push('\n');
            }
            self.text.push_str(&printable_octets(&text[..text.len().min(room)]));
        }
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

fn start(line: &[u8]) -> Start<'_> {
    let [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] = line else {
        return Start::NoCode;
    };
    let digit = |octet: &u8| u16::from(octet - b'0');
    let code = digit(a) * 100 + digit(b) * 10 + digit(c);
    match rest {
        [b'-', text @ ..] => Start::Code { code, more: true, text },
        [b' ' | b'\t', text @ ..] => Start::Code { code, more: false, text },
        // A longer number is no code.
        [b'0'..=b'9', ..] => Start::NoCode,
        // RFC 5321 section 4.2.1: a client should accept a code without a text. Some servers omit
        // only the space.
        text => Start::Code { code, more: false, text },
    }
}

/// May two lines of one reply have these codes? Refusals of either kind agree: the last decides.
/// Positive codes must be of one class.
const fn agree(one: u16, other: u16) -> bool {
    one / 100 == other / 100 || (one >= 400 && other >= 400)
}

/// Removes the enhanced status code from the beginning of each line (RFC 2034 section 4), if its
/// class matches the code. The last one counts, as for codes.
fn split_enhanced(code: u16, text: String) -> (Option<Enhanced>, String) {
    let mut found = None;
    let lines: Vec<_> = text
        .split('\n')
        .map(|line| match parse_enhanced(line) {
            Some((status, rest)) if u16::from(status.0) == code / 100 => {
                found = Some(status);
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

/// Is this the code of a greeting, a help text, QUIT or AUTH (RFC 5321 section 4.2.3, RFC 4954
/// section 6)? Then it is no reply to a command of a transaction, nor to a message.
pub(super) const fn is_of_another_command(code: u16) -> bool {
    matches!(code, 211 | 214 | 220 | 221 | 235)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::client::reply::*;

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
        // Of another class, or no enhanced code: part of the text.
        assert_eq!(all(b"450 5.1.1 no\r\n"), Ok(vec![reply(450, None, "5.1.1 no")]));
        for text in ["5.1 no", "5.1.1.1 no", "5..1 no", "5.1.1000 no", "5.1.1no", "55.1.1 no"] {
            let replies = all(format!("550 {text}\r\n").as_bytes()).unwrap();
            assert_eq!((replies[0].enhanced, &*replies[0].text), (None, text));
        }
    }

    #[test]
    fn a_reply_has_a_largest_size_and_less_is_kept() {
        let line = [b"550-".as_slice(), &[b'x'; 2000], b"\r\n"].concat();
        let endless = line.repeat(limits::CLIENT_REPLY_OCTETS / line.len() + 1);
        assert_eq!(all(&endless), Err(ReplyError::TooLong));
        let unended = [b"550 ".as_slice(), &vec![b'x'; limits::CLIENT_REPLY_OCTETS]].concat();
        assert_eq!(all(&unended), Err(ReplyError::TooLong));
        // Below that the refusal counts, and its beginning is kept.
        let long = [&line.repeat(60)[..], b"550 5.1.1 end\r\n", b"250 ok\r\n"].concat();
        let replies = all(&long).unwrap();
        assert_eq!((replies[0].code, &replies[1]), (550, &reply(250, None, "ok")));
        assert!(
            (30_000..limits::CLIENT_REPLY_KEPT_OCTETS + limits::CLIENT_REPLY_LINES)
                .contains(&replies[0].text.len())
        );
        let one_line = [b"550 ".as_slice(), &[b'x'; 60_000], b"\r\n"].concat();
        assert_eq!(all(&one_line).unwrap()[0].code, 550);
    }

    #[test]
    fn refusals_of_servers_that_bend_the_syntax() {
        for (bytes, expected) in [
            (&b"550-5.1.1 no\r\n554 5.7.1 really\r\n"[..], reply(554, None, "no\nreally")),
            (b"550-no\r\n450 4.2.1 later\r\n", reply(450, None, "no\nlater")),
            (b"250-a\r\n251 b\r\n", reply(251, None, "a\nb")),
            (b"550 bare\n", reply(550, None, "bare")),
            (b"550-bare\n550 again\r\n", reply(550, None, "bare\nagain")),
            (b"550Blocked\r\n", reply(550, None, "Blocked")),
            (b"550\tBlocked\r\n", reply(550, None, "Blocked")),
            (b"550-one\r\nof us\r\n550 two\r\n", reply(550, None, "one\nof us\ntwo")),
            (b"550 ferm\xe9 \xc3\xa9\r\n", reply(550, None, "ferm\\xe9 é")),
            (b"550 a\rb\x1b[2J\xc2\x9b\r\n", reply(550, None, "a\\u000db\\u001b[2J\\u009b")),
        ] {
            let found = all(bytes).unwrap();
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(found.len(), 1, "{shown}");
            assert_eq!((found[0].code, &found[0].text), (expected.code, &expected.text), "{shown}");
        }
    }

    #[test]
    fn an_invalid_reply_is_quoted() {
        for (bytes, error) in [
            (b"hello\r\n".as_slice(), ReplyError::NoCode),
            (b"\r\n", ReplyError::NoCode),
            (b"25 OK\r\n", ReplyError::NoCode),
            (b"2500 OK\r\n", ReplyError::NoCode),
            (b"150 OK\r\n", ReplyError::NoCode),
            (b"650 OK\r\n", ReplyError::NoCode),
            (b"250-a\r\n550 b\r\n", ReplyError::CodeChanges),
            (b"550-a\r\n250 b\r\n", ReplyError::CodeChanges),
            (b"250-a\r\n354 b\r\n", ReplyError::CodeChanges),
        ] {
            let mut parser = ReplyParser::default();
            let shown = String::from_utf8_lossy(bytes);
            assert_eq!(parser.parse(&mut &bytes[..]), Err(error), "{shown}");
            let said = shown.split_whitespace().collect::<Vec<_>>().join(" ");
            assert_eq!(parser.received_text().unwrap_or_default(), said);
        }
        let mut parser = ReplyParser::default();
        assert_eq!(parser.parse(&mut &b"550-not\r\n550 fini\x1b"[..]), Ok(None));
        assert_eq!(parser.received_text().as_deref(), Some("550-not 550 fini\\u001b"));
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
