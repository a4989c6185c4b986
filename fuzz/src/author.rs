//! Authors: where we say whom a message is from, two other readers of mail say the same.
//!
//! A field in which they find other addresses is one that must not be clear to us. That we find
//! more fields unclear than they do is no fault.

use mail_auth::AuthenticatedMessage;
use mailparse::MailAddr;
use relay_mail::path::{Domain, Host, Mailbox};
use relay_message::author;

/// See the module.
pub fn check(input: &[u8]) {
    // A line end that begins no continuation would end the field.
    let value: Vec<u8> = input.iter().copied().filter(|octet| *octet != 0).collect();
    let folds = |at: usize| matches!(value.get(at + 2), Some(b' ' | b'\t'));
    let is_field = value.iter().enumerate().all(|(at, octet)| match octet {
        b'\r' => value.get(at + 1) == Some(&b'\n') && folds(at),
        b'\n' => at > 0 && value[at - 1] == b'\r',
        _ => true,
    });
    if !is_field {
        return;
    }
    let Ok(authors) = author::addresses(&value) else { return };
    assert!(!authors.is_empty());
    let field = [b"From: ", &value[..], b"\r\n\r\n"].concat();
    for (reader, found) in [("mailparse", mailparse(&field)), ("mail-auth", mail_auth(&field))] {
        let same = found.len() == authors.len()
            && authors.iter().zip(&found).all(|(author, other)| is_same(author, other));
        assert!(same, "{reader} finds {found:?}, we find {authors:?}");
    }
}

fn mailparse(field: &[u8]) -> Vec<String> {
    let Ok((header, _)) = mailparse::parse_header(field) else { return Vec::new() };
    let Ok(list) = mailparse::addrparse_header(&header) else { return Vec::new() };
    let mut found = Vec::new();
    for address in list.iter() {
        match address {
            MailAddr::Group(group) => found.extend(group.addrs.iter().map(|it| it.addr.clone())),
            MailAddr::Single(single) => found.push(single.addr.clone()),
        }
    }
    found
}

fn mail_auth(field: &[u8]) -> Vec<String> {
    AuthenticatedMessage::parse(field).map_or_else(Vec::new, |message| message.froms().to_vec())
}

/// Other readers take the quotes off a local part, write all of it in small letters, and a domain as
/// they found it.
fn is_same(author: &Mailbox, other: &str) -> bool {
    let Some((local_part, host)) = other.trim().rsplit_once('@') else { return false };
    let same_host = match author.host() {
        Host::Domain(domain) => Domain::parse(host).as_ref() == Ok(domain),
        literal @ Host::Address(_) => host.eq_ignore_ascii_case(&literal.to_string()),
    };
    let own = author.local_part();
    let unquoted = own.strip_prefix('"').and_then(|own| own.strip_suffix('"')).unwrap_or(own);
    let small = local_part.to_lowercase();
    same_host && [own, unquoted].iter().any(|own| own.to_lowercase() == small)
}
