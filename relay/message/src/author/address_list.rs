//! Reads the value of From or Sender as a list of addresses (RFC 5322 section 3.4, RFC 6854).
//!
//! The grammar is narrower than that of the RFC: it has only the forms that every mail program
//! reads in the same way. White space, comments and line breaks inside an address, the obsolete
//! syntax of section 4.4, and quoted text in which another reader could find an address are
//! [`Unclear::Ambiguous`]. The parent decides which fields are read, and whose result counts.

use crate::author::Unclear;
use crate::comment;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use relay_mail::path::{Mailbox, ReversePath, folded};

/// Reads a whole list, which has at least one address.
pub(super) fn parse(value: &[u8]) -> Result<Vec<Mailbox>, Unclear> {
    let tokens = tokens(value)?;
    if tokens.iter().all(|token| token.kind == Kind::Comment) {
        return Err(Unclear::Unreadable);
    }
    let mut list = List { value, mailboxes: Vec::new() };
    list.read(&tokens)?;
    match list.mailboxes.is_empty() {
        true => Err(Unclear::Unreadable),
        false => Ok(list.mailboxes),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A run of octets without a meaning of their own: words, dots, and the `@` of an address.
    Word,
    /// `"…"`
    Quoted,
    /// `(…)`
    Comment,
    /// One of `< > , ; :`
    Special(u8),
}

/// A part of the value; `from..to` are its octets.
#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    from: usize,
    to: usize,
}

struct List<'value> {
    value: &'value [u8],
    mailboxes: Vec<Mailbox>,
}

impl List<'_> {
    /// Addresses, separated by commas, or one group alone: some readers take text beside a group
    /// for a part of it, or the group for a part of an address.
    fn read(&mut self, tokens: &[Token]) -> Result<(), Unclear> {
        let Some(colon) = position(tokens, b':') else { return self.mailboxes(tokens) };
        let (name, members) = (&tokens[..colon], &tokens[colon + 1..]);
        let Some((Token { kind: Kind::Special(b';'), .. }, members)) = members.split_last() else {
            return Err(Unclear::Ambiguous);
        };
        if name.is_empty() || position(members, b';').is_some() {
            return Err(Unclear::Ambiguous);
        }
        self.phrase(name)?;
        self.members(members)
    }

    /// The members of a group, perhaps none.
    fn members(&mut self, tokens: &[Token]) -> Result<(), Unclear> {
        match tokens.iter().all(|token| token.kind == Kind::Comment) {
            true => Ok(()),
            false => self.mailboxes(tokens),
        }
    }

    fn mailboxes(&mut self, tokens: &[Token]) -> Result<(), Unclear> {
        let is_comma = |token: &Token| token.kind == Kind::Special(b',');
        tokens.split(is_comma).try_for_each(|mailbox| self.mailbox(mailbox))
    }

    /// `addr-spec`, or a display name and `<addr-spec>`. Comments may follow both, and precede the
    /// name.
    fn mailbox(&mut self, tokens: &[Token]) -> Result<(), Unclear> {
        let Some(open) = position(tokens, b'<') else {
            // A comment is never an address, neither before nor behind one. A comment between the
            // parts of an address would be within these octets: some readers take it for a part.
            let is_part = |token: &&Token| token.kind != Kind::Comment;
            let (first, last) = (tokens.iter().find(is_part), tokens.iter().rfind(is_part));
            let (Some(first), Some(last)) = (first, last) else { return Err(Unclear::Ambiguous) };
            // Without a blank, some readers take the comment for a part of the local part.
            let touches = tokens.iter().any(|it| !is_part(&it) && it.to == first.from);
            if touches {
                return Err(Unclear::Ambiguous);
            }
            return self.address(first.from, last.to);
        };
        let name = &tokens[..open];
        let close = position(tokens, b'>').filter(|close| *close > open);
        let close = close.ok_or(Unclear::Ambiguous)?;
        if tokens[close + 1..].iter().any(|token| token.kind != Kind::Comment) {
            return Err(Unclear::Ambiguous);
        }
        let (from, to) = (tokens[open].to, tokens[close].from);
        // Blanks just inside the brackets are the same to everybody.
        let inside = &self.value[from..to];
        let blanks = |octets: &[u8]| octets.iter().take_while(|octet| **octet == b' ').count();
        let leading = blanks(inside);
        let reversed: Vec<u8> = inside.iter().rev().copied().collect();
        let (from, to) = (from + leading, (to - blanks(&reversed)).max(from + leading));
        // Programs without a name write the address instead of it. Readers that use the name as the
        // address find the same address.
        if !self.is_text(name, &self.value[from..to]) {
            self.phrase(name)?;
        }
        self.address(from, to)
    }

    /// Are these tokens one word, equal to this text, without structure except its `@`?
    fn is_text(&self, tokens: &[Token], text: &[u8]) -> bool {
        match tokens {
            [Token { kind: Kind::Word, from, to }] => {
                let is_plain = |octet: &u8| *octet == b'@' || !is_structure((*octet).into());
                let word = &self.value[*from..*to];
                word.eq_ignore_ascii_case(text) && word.iter().all(is_plain)
            }
            _ => false,
        }
    }

    /// A display name, perhaps empty. Some readers recognize quotes only at the beginning of a
    /// name, and no comments in it: their contents must have no structure without them.
    fn phrase(&self, tokens: &[Token]) -> Result<(), Unclear> {
        let means = |octets: &[u8]| octets.iter().any(|&it| it == b'"' || is_structure(it.into()));
        let fits = |(place, token): (usize, &Token)| {
            let inside = self.value.get(token.from + 1..token.to - 1).unwrap_or_default();
            match token.kind {
                Kind::Comment => !means(inside),
                Kind::Quoted => place == 0 || !means(inside),
                Kind::Special(_) => false,
                Kind::Word => !self.value[token.from..token.to].contains(&b'@'),
            }
        };
        let is_clear = tokens.iter().enumerate().all(fits) && self.encoded_words_end(tokens);
        is_clear.then_some(()).ok_or(Unclear::Ambiguous)
    }

    /// Does each `=?` in a name begin an encoded word with only one possible end? Some readers look
    /// for that end before they look for quotes.
    fn encoded_words_end(&self, tokens: &[Token]) -> bool {
        let is_word = |token: &Token| token.kind == Kind::Word;
        let mut runs = tokens.chunk_by(|one, next| is_word(one) && is_word(next));
        let are_whole = runs
            .all(|run| has_whole_encoded_words(&self.value[run[0].from..run[run.len() - 1].to]));
        // Beside other octets beyond ASCII a reader may decode none of them.
        are_whole && (self.value.is_ascii() || memchr::memmem::find(self.value, b"=?").is_none())
    }

    fn address(&mut self, from: usize, to: usize) -> Result<(), Unclear> {
        let text = std::str::from_utf8(&self.value[from..to]).map_err(|_| Unclear::Unreadable)?;
        if !text.contains('@') {
            return Err(Unclear::Unreadable);
        }
        // A reader may decode the whole field as Latin-1 because of one octet elsewhere in it.
        if !text.is_ascii() && std::str::from_utf8(self.value).is_err() {
            return Err(Unclear::Ambiguous);
        }
        let Ok(ReversePath::Mailbox(mailbox)) = ReversePath::parse(&format!("<{text}>")) else {
            return Err(Unclear::Ambiguous);
        };
        let local_part = mailbox.local_part();
        // Readers that decode encoded words or remove quotes before they look for the address must
        // find the same one.
        let encoded = ["=?", "?="].iter().any(|mark| local_part.contains(mark));
        if encoded || folded(local_part).contains(is_structure) {
            return Err(Unclear::Ambiguous);
        }
        // The same for readers that also remove blanks, and then find nothing.
        let content = mailbox.local_part_content();
        if content.is_empty() || content.trim() != content {
            return Err(Unclear::Ambiguous);
        }
        self.mailboxes.push(mailbox);
        Ok(())
    }
}

/// Characters with another meaning outside quotes than inside.
fn is_structure(character: char) -> bool {
    matches!(character, '@' | '<' | '>' | ',' | ';' | ':' | '(' | ')' | '\\' | '[' | ']')
}

/// Does each `=?` begin an encoded word (RFC 2047 section 2) that ends at the first `?` of its
/// text, followed by a blank or nothing? Many programs leave blanks in that text, although they are
/// not allowed.
fn has_whole_encoded_words(mut octets: &[u8]) -> bool {
    let is_token = |octet: &u8| octet.is_ascii_graphic() && !b"()<>@,;:\"/[]?.=\\".contains(octet);
    while let Some(at) = memchr::memmem::find(octets, b"=?") {
        let mut parts = octets[at + 2..].splitn(4, |octet| *octet == b'?');
        let (Some(charset), Some(encoding), Some(text), Some(rest)) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let is_text = match encoding {
            b"q" | b"Q" => is_quoted_printable(text),
            b"b" | b"B" => is_base64(text),
            _ => false,
        };
        let ends = matches!(rest, [b'='] | [b'=', b' ' | b'\t' | b'\r' | b'"' | b')', ..]);
        if charset.is_empty() || !charset.iter().all(is_token) || !is_text || !ends {
            return false;
        }
        octets = &rest[1..];
    }
    true
}

/// The "B" encoding of RFC 2047 section 4.1.
fn is_base64(text: &[u8]) -> bool {
    let engine = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    engine.decode(text).is_ok_and(|decoded| !decoded.iter().any(ends_text))
}

/// An octet at which some readers end a text.
const fn ends_text(octet: &u8) -> bool {
    matches!(octet, 0 | b'\r' | b'\n')
}

/// The "Q" encoding of RFC 2047 section 4.2, in which quotes and backslashes never stand for
/// themselves.
fn is_quoted_printable(text: &[u8]) -> bool {
    let is_plain = |octet: &u8| match octet {
        b'"' | b'\\' => false,
        _ => octet.is_ascii_graphic() || octet.is_ascii_whitespace(),
    };
    let mut encoded = text.split(|octet| *octet == b'=').skip(1);
    let is_encoded = |it: &[u8]| match it.get(..2) {
        Some(b"00" | [b'0', b'a' | b'A' | b'd' | b'D']) | None => false,
        Some(two) => two.iter().all(u8::is_ascii_hexdigit),
    };
    text.iter().all(is_plain) && encoded.all(is_encoded)
}

fn position(tokens: &[Token], special: u8) -> Option<usize> {
    tokens.iter().position(|token| token.kind == Kind::Special(special))
}

/// Splits the value; white space separates tokens and is not a token.
fn tokens(value: &[u8]) -> Result<Vec<Token>, Unclear> {
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(octet) = value.get(at) {
        let (kind, to) = match octet {
            b' ' | b'\t' => {
                at += 1;
                continue;
            }
            b'\r' => {
                at = line_end(value, at)?;
                continue;
            }
            b'"' => (Kind::Quoted, quoted(value, at)?),
            b'(' => (Kind::Comment, comment_end(value, at)?),
            b'<' | b'>' | b',' | b';' | b':' => (Kind::Special(*octet), at + 1),
            _ => (Kind::Word, word(value, at)?),
        };
        tokens.push(Token { kind, from: at, to });
        at = to;
    }
    Ok(tokens)
}

/// The beginning of the line after this line end. A line of white space alone continues the field
/// for some readers, and ends the header section for others.
fn line_end(value: &[u8], at: usize) -> Result<usize, Unclear> {
    let after = value[at..].strip_prefix(b"\r\n").ok_or(Unclear::Ambiguous)?;
    let text = after.iter().find(|octet| !matches!(octet, b' ' | b'\t'));
    match text {
        Some(b'\r') => Err(Unclear::Ambiguous),
        // The end of the field, or white space after its last line.
        None if !after.is_empty() => Err(Unclear::Ambiguous),
        _ => Ok(at + 2),
    }
}

/// A run of octets up to white space, a quote, a comment or a special. After an `@` it may contain
/// an address literal with colons.
fn word(value: &[u8], from: usize) -> Result<usize, Unclear> {
    let mut at = from;
    while let Some(octet) = value.get(at) {
        match octet {
            b' ' | b'\t' | b'\r' | b'"' | b'(' | b'<' | b'>' | b',' | b';' | b':' => break,
            b'@' if value.get(at + 1) == Some(&b'[') => {
                let close = memchr::memchr(b']', &value[at..]).ok_or(Unclear::Ambiguous)?;
                at += close + 1;
            }
            // An unmatched parenthesis, a backslash outside quotes, control characters.
            b')' | b'\\' | 0..0x20 | 0x7f => return Err(Unclear::Ambiguous),
            _ => at += 1,
        }
    }
    Ok(at)
}

/// The end of the quoted string that begins here.
fn quoted(value: &[u8], from: usize) -> Result<usize, Unclear> {
    let mut enclosed = Enclosed::default();
    let mut at = from + 1;
    while let Some(octet) = value.get(at) {
        match octet {
            b'"' => {
                enclosed.check()?;
                return Ok(at + 1);
            }
            _ => at += enclosed.take(value, at)?,
        }
    }
    Err(Unclear::Ambiguous)
}

/// The end of the comment that begins here. Many readers know neither nested comments nor
/// backslashes in them.
fn comment_end(value: &[u8], from: usize) -> Result<usize, Unclear> {
    let end = from + comment::octets(&value[from..]).ok_or(Unclear::Ambiguous)?;
    let mut enclosed = Enclosed::default();
    let mut at = from + 1;
    while at < end - 1 {
        match value[at] {
            b'(' | b'\\' => return Err(Unclear::Ambiguous),
            b'"' | b',' | b';' | b':' | b'<' | b'>' => enclosed.is_plain = false,
            _ => {}
        }
        at += enclosed.take(value, at)?;
    }
    enclosed.check()?;
    Ok(end)
}

/// The text between quotes or parentheses.
///
/// A reader without comments, backslashes or folding inside quotes ends them at another octet. So
/// the text must contain nothing that could be an address.
struct Enclosed {
    /// Does every reader find the same end?
    is_plain: bool,
    /// Is there an `@` or a bracket?
    has_address: bool,
}

impl Default for Enclosed {
    fn default() -> Self {
        Self { is_plain: true, has_address: false }
    }
}

impl Enclosed {
    /// Reads the item at `at`; returns its number of octets.
    fn take(&mut self, value: &[u8], at: usize) -> Result<usize, Unclear> {
        match value[at] {
            b'\\' => {
                self.is_plain = false;
                match value.get(at + 1) {
                    Some(0..0x20 | 0x7f) | None => Err(Unclear::Ambiguous),
                    Some(octet) => {
                        self.has_address |= is_bracket(*octet);
                        Ok(2)
                    }
                }
            }
            b'\r' => {
                self.is_plain = false;
                Ok(line_end(value, at)? - at)
            }
            b'\t' => Ok(1),
            0..0x20 | 0x7f => Err(Unclear::Ambiguous),
            octet => {
                self.has_address |= is_bracket(octet);
                Ok(1)
            }
        }
    }

    fn check(&self) -> Result<(), Unclear> {
        (self.is_plain || !self.has_address).then_some(()).ok_or(Unclear::Ambiguous)
    }
}

const fn is_bracket(octet: u8) -> bool {
    matches!(octet, b'@' | b'<' | b'>')
}
