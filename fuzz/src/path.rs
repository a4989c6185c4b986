//! Addresses: an accepted address is written back with the same meaning, and cannot break a line.

use std::fmt::{Debug, Display};

use relay_mail::limits::{DOMAIN_OCTETS, LOCAL_PART_OCTETS};
use relay_mail::path::{Domain, ForwardPath, MailHost, Mailbox, ReversePath, split_path};

/// See the module.
pub fn check(input: &[u8]) {
    let Ok(text) = str::from_utf8(input) else { return };
    if let Ok(domain) = Domain::parse(text) {
        check_domain(&domain);
    }
    if let Ok(mailbox) = Mailbox::parse(text) {
        check_mailbox(&mailbox);
        same_again(&mailbox, |text| Mailbox::parse(text).ok());
    }
    let bracketed = format!("<{text}>");
    for path in [text, &bracketed] {
        if let Ok(path) = ReversePath::parse(path) {
            same_again(&path, |text| ReversePath::parse(&format!("<{text}>")).ok());
        }
        if let Ok(forward) = ForwardPath::parse(path) {
            same_again(&forward, |text| ForwardPath::parse(&format!("<{text}>")).ok());
            // The command parser and the path parser find the same end of a path.
            assert_eq!(split_path(path), Some((path, "")));
        }
    }
}

fn check_domain(domain: &Domain) {
    same_again(domain, |text| Domain::parse(text).ok());
    let ascii = domain.ascii();
    assert!(ascii.is_ascii() && ascii.len() <= DOMAIN_OCTETS);
    assert_eq!(Domain::parse(ascii).as_ref(), Ok(domain), "both spellings are one domain");
}

fn check_mailbox(mailbox: &Mailbox) {
    assert!(mailbox.local_part().len() <= LOCAL_PART_OCTETS);
    assert!(mailbox.to_string().starts_with(mailbox.local_part()));
    match mailbox.host() {
        MailHost::Address(_) => assert!(mailbox.domain().is_none()),
        MailHost::Domain(domain) => check_domain(domain),
    }
}

fn same_again<T: Debug + Display + PartialEq>(value: &T, parse: impl Fn(&str) -> Option<T>) {
    let text = value.to_string();
    assert!(!text.contains(['\r', '\n', '\0']), "{text:?}");
    let again = parse(&text);
    assert_eq!(again.as_ref(), Some(value), "{text:?}");
    assert_eq!(again.map(|again| again.to_string()), Some(text), "one spelling");
}
