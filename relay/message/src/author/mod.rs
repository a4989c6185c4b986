//! The authors of a message: the addresses of From and Sender (RFC 5322 section 3.6.2).
//!
//! All checks of authors, DMARC and the right to send as a sender, use this one reading. The
//! addresses that a person sees must be checked, and mail programs differ. So a field that two of
//! them can read differently has no addresses here: it is [`Unclear`], and no check lets it pass.
//! [`address_list`] has the grammar; mail-parser gives a second reading.

mod address_list;

#[cfg(test)]
mod tests;

use crate::header::HeaderSection;
use mail_parser::MessageParser;
use relay_mail::path::{Domain, MailHost, Mailbox};

/// Why the authors of a message are not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unclear {
    /// Which of them is shown differs from reader to reader.
    #[error("there is more than one From, or more than one Sender")]
    Several,
    /// There is no address in it.
    #[error("a From or Sender has no address, or an invalid one")]
    Unreadable,
    /// Mail programs may find different addresses in it.
    #[error("a From or Sender can be read in more than one way")]
    Ambiguous,
}

/// The addresses of From, and of Sender if there is one. Empty if there is neither.
///
/// # Errors
/// As [`Unclear`] lists them.
pub fn authors(section: &HeaderSection) -> Result<Vec<Mailbox>, Unclear> {
    let mut authors = from(section)?;
    authors.extend(addresses_of(section, b"Sender")?);
    Ok(authors)
}

/// The addresses of From. Empty if there is none.
///
/// # Errors
/// As [`Unclear`] lists them.
pub fn from(section: &HeaderSection) -> Result<Vec<Mailbox>, Unclear> {
    addresses_of(section, b"From")
}

fn addresses_of(section: &HeaderSection, name: &[u8]) -> Result<Vec<Mailbox>, Unclear> {
    let mut fields = section.fields().filter(|field| field.name().eq_ignore_ascii_case(name));
    let Some(field) = fields.next() else { return Ok(Vec::new()) };
    if fields.next().is_some() {
        return Err(Unclear::Several);
    }
    addresses(field.value())
}

/// The addresses in the value of a From or Sender field.
///
/// # Errors
/// As [`Unclear`] lists them.
///
/// ```
/// use relay_message::author::{Unclear, addresses};
///
/// let found = addresses(b" \"Doe, Jane\" <jane@contoso.example>\r\n").unwrap();
/// assert_eq!(found[0].to_string(), "jane@contoso.example");
/// // Some mail programs show the address in the name, others the one in brackets.
/// let two = addresses(b" ceo@contoso.example <jane@fabrikam.example>\r\n");
/// assert_eq!(two, Err(Unclear::Ambiguous));
/// ```
pub fn addresses(value: &[u8]) -> Result<Vec<Mailbox>, Unclear> {
    let value = value.strip_suffix(b"\r\n").unwrap_or(value);
    let mailboxes = address_list::parse(value)?;
    let same = second_opinion(value).is_some_and(|others| {
        others.len() == mailboxes.len()
            && mailboxes.iter().zip(&others).all(|(mailbox, other)| is_same(mailbox, other))
    });
    if same { Ok(mailboxes) } else { Err(Unclear::Ambiguous) }
}

/// The addresses that mail-parser finds.
fn second_opinion(value: &[u8]) -> Option<Vec<String>> {
    let field = [b"From:", value, b"\r\n"].concat();
    let message = MessageParser::new().parse_headers(&field[..])?;
    let address = |address: &mail_parser::Addr<'_>| address.address.as_deref().map(str::to_owned);
    message.from()?.iter().map(address).collect()
}

/// Is this text the address? Other readers remove the quotes of the local part.
pub fn is_same(mailbox: &Mailbox, text: &str) -> bool {
    let Some((local_part, host)) = text.rsplit_once('@') else { return false };
    let own = mailbox.local_part();
    let is_host = match mailbox.host() {
        MailHost::Domain(domain) => Domain::parse(host).is_ok_and(|host| host == *domain),
        MailHost::Address(_) => mailbox.host().to_string().eq_ignore_ascii_case(host),
    };
    is_host && own.trim_matches('"') == local_part.trim_matches('"')
}
