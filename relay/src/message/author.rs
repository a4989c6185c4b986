//! Whom a message says it is from: the addresses of From and Sender (RFC 5322 section 3.6.2).
//!
//! What a reader of the message sees is what has to be judged, and readers differ. So a field that
//! can be read in more than one way has no addresses at all here: it is [`Unclear`].

use mail_parser::MessageParser;

use super::header::{Field, HeaderSection};
use crate::smtp::path::{Mailbox, ReversePath};

/// Why it cannot be said whom a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Which of them is shown differs from reader to reader.
    #[error("there is more than one From, or more than one Sender")]
    Several,
    /// There is no address in it, or one that is none.
    #[error("a From or Sender holds no address, or one that cannot be read")]
    Unreadable,
    /// There are more `@` in it than addresses.
    #[error("a From or Sender can be read in more than one way")]
    Ambiguous,
}

/// The addresses of From, and of Sender if there is one. Empty where there is neither.
///
/// # Errors
/// As [`Unclear`] lists them.
pub fn authors(section: &HeaderSection) -> Result<Vec<Mailbox>, Unclear> {
    let mut authors = Vec::new();
    for name in ["From", "Sender"] {
        let mut fields =
            section.fields().filter(|field| field.name().eq_ignore_ascii_case(name.as_bytes()));
        let Some(field) = fields.next() else { continue };
        if fields.next().is_some() {
            return Err(Unclear::Several);
        }
        authors.extend(addresses(field)?);
    }
    Ok(authors)
}

fn addresses(field: Field<'_>) -> Result<Vec<Mailbox>, Unclear> {
    let value = field.value();
    let parsed = [b"From:", value, b"\r\n"].concat();
    let message = MessageParser::new().parse_headers(&parsed[..]).ok_or(Unclear::Unreadable)?;
    let from = message.from().ok_or(Unclear::Unreadable)?;
    let read = |address: &mail_parser::Addr<'_>| {
        let text = address.address.as_deref().ok_or(Unclear::Unreadable)?;
        match ReversePath::parse(&format!("<{}>", text.trim())) {
            Ok(ReversePath::Mailbox(mailbox)) => Ok(mailbox),
            Ok(ReversePath::Null) | Err(_) => Err(Unclear::Unreadable),
        }
    };
    let mailboxes = from.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    match mailboxes.len() {
        0 => Err(Unclear::Unreadable),
        found if found == ats(value) => Ok(mailboxes),
        _ => Err(Unclear::Ambiguous),
    }
}

/// How often `@` stands outside quoted strings and comments: as many addresses may somebody read.
fn ats(value: &[u8]) -> usize {
    let (mut count, mut quoted, mut depth) = (0, false, 0_usize);
    let mut octets = value.iter();
    while let Some(octet) = octets.next() {
        match octet {
            b'\\' if quoted || depth > 0 => {
                octets.next();
            }
            b'"' if depth == 0 => quoted = !quoted,
            b'(' if !quoted => depth += 1,
            b')' if !quoted => depth = depth.saturating_sub(1),
            b'@' if !quoted && depth == 0 => count += 1,
            _ => {}
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::header::{Collected, HeaderCollector};

    fn of(header: &str) -> Result<Vec<String>, Unclear> {
        match HeaderCollector::new(10_000).push(format!("{header}\r\n\r\n").as_bytes()) {
            Collected::Complete { section, .. } => authors(&section)
                .map(|mailboxes| mailboxes.iter().map(ToString::to_string).collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn addresses_that_are_clear() {
        for (header, expected) in [
            ("Subject: x", &[][..]),
            ("From: a@b.example", &["a@b.example"]),
            ("from : a@b.example", &["a@b.example"]),
            ("FROM:\r\n a@b.example", &["a@b.example"]),
            ("From: <a@b.example>", &["a@b.example"]),
            ("From: Ann <a@b.example>", &["a@b.example"]),
            ("From: \"c@d.example\" <a@b.example>", &["a@b.example"]),
            ("From: =?utf-8?q?c=40d.example?= <a@b.example>", &["a@b.example"]),
            ("From: a@b.example (c@d.example)", &["a@b.example"]),
            ("From: a@b.example, c@d.example", &["a@b.example", "c@d.example"]),
            ("From: group: a@b.example, <c@d.example>;", &["a@b.example", "c@d.example"]),
            ("From: a@b.example\r\nSender: c@d.example", &["a@b.example", "c@d.example"]),
            ("Sender: c@d.example", &["c@d.example"]),
            ("From: j\u{f6}rg@b\u{fc}cher.example", &["j\u{f6}rg@b\u{fc}cher.example"]),
        ] {
            assert_eq!(of(header).unwrap(), expected, "{header}");
        }
    }

    #[test]
    fn what_two_readers_may_read_differently() {
        use Unclear::{Ambiguous, Several, Unreadable};
        for (header, expected) in [
            ("From: a@b.example\r\nFrom: c@d.example", &[Several][..]),
            ("From: a@b.example\r\nfrom : c@d.example", &[Several]),
            ("Sender: a@b.example\r\nSender: a@b.example", &[Several]),
            ("From:", &[Unreadable]),
            ("From: Ann", &[Unreadable]),
            ("From: undisclosed:;", &[Unreadable]),
            ("From: <>", &[Unreadable]),
            ("From: a@b@c.example", &[Unreadable, Ambiguous]),
            ("From: a@b.example <c@d.example>", &[Unreadable, Ambiguous]),
            ("From: <a@b.example> <c@d.example>", &[Unreadable, Ambiguous]),
            ("From: <a@b.example>c@d.example", &[Unreadable, Ambiguous]),
            ("From: <@c.example:a@b.example>", &[Unreadable, Ambiguous]),
            ("From: \"a@b.example <c@d.example>", &[Unreadable, Ambiguous]),
            ("From: (a@b.example <c@d.example>", &[Unreadable, Ambiguous]),
        ] {
            let found = of(header).unwrap_err();
            assert!(expected.contains(&found), "{header}: {found:?}");
        }
    }
}
