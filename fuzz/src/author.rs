//! Authors: if our parser finds the authors of a message, two other parsers must find the same.
//!
//! A field in which they find other addresses must be unclear to our parser. The reverse is no
//! fault: our parser may call more fields unclear than they do.

use mail_auth::AuthenticatedMessage;
use mailparse::MailAddr;
use relay_mail::path::{Domain, MailHost, Mailbox};
use relay_message::author;

/// See the module.
pub fn check(input: &[u8]) {
    // A line end without a continuation would end the field.
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

/// Other parsers remove the quotes of a local part, convert it to lower case, and leave a domain
/// unchanged.
fn is_same(author: &Mailbox, other: &str) -> bool {
    let Some((local_part, host)) = other.trim().rsplit_once('@') else { return false };
    let same_host = match author.host() {
        MailHost::Domain(domain) => Domain::parse(host).as_ref() == Ok(domain),
        literal @ MailHost::Address(_) => host.eq_ignore_ascii_case(&literal.to_string()),
    };
    let own = author.local_part();
    let unquoted = own.strip_prefix('"').and_then(|own| own.strip_suffix('"')).unwrap_or(own);
    let small = local_part.to_lowercase();
    same_host && [own, unquoted].iter().any(|own| own.to_lowercase() == small)
}
