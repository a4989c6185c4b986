//! The recipients of an accepted domain from a file.
//!
//! One per line: either a local part, which is then known in every domain that the accepted domain
//! covers, or a whole address. Empty lines and lines that begin with `#` are ignored. Case is
//! ignored, as in Exchange, and so are needless quotes around a local part.

use std::collections::HashSet;
use std::fmt;

use crate::limits::RECIPIENTS_LISTED;
use relay_mail::domain_pattern::DomainPattern;
use relay_mail::path::{AddressError, Domain, Mailbox};
use unicode_normalization::UnicodeNormalization;

/// The recipients of one file.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct RecipientList {
    /// Local parts alone, and local parts of addresses followed by an LF and the domain.
    recipients: HashSet<Box<str>>,
}

/// Why a text is no list of recipients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct InvalidRecipientList {
    /// The number of the line, beginning with one.
    pub line: usize,
    /// The error.
    pub problem: String,
}

impl RecipientList {
    /// Reads a list for the domains that `pattern` covers.
    ///
    /// # Errors
    /// A line is not a recipient of these domains, or there are more than [`RECIPIENTS_LISTED`].
    pub fn parse(text: &str, pattern: &DomainPattern) -> Result<Self, InvalidRecipientList> {
        let mut list = Self::default();
        for (index, line) in text.lines().enumerate() {
            let wrong = |problem| InvalidRecipientList { line: index + 1, problem };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            list.recipients.insert(recipient(line, pattern).map_err(wrong)?);
            if list.recipients.len() > RECIPIENTS_LISTED {
                return Err(wrong(format!("more than {RECIPIENTS_LISTED} recipients")));
            }
        }
        Ok(list)
    }

    /// Is this mailbox, whose domain the list is for, on it?
    pub fn contains(&self, mailbox: &Mailbox) -> bool {
        let local_part = as_compared(mailbox);
        let Some(domain) = mailbox.domain() else { return false };
        self.recipients.contains(&*in_domain(&local_part, domain))
            || self.recipients.contains(&*local_part)
    }

    /// How many are on it.
    pub fn len(&self) -> usize {
        self.recipients.len()
    }

    /// Is the list empty?
    pub fn is_empty(&self) -> bool {
        self.recipients.is_empty()
    }
}

/// Without the recipients: a list may be too long for a log.
impl fmt::Debug for RecipientList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} recipients", self.len())
    }
}

fn recipient(line: &str, pattern: &DomainPattern) -> Result<Box<str>, String> {
    let malformed = |_| format!("`{line}` is neither a local part nor an address");
    match Mailbox::parse(line) {
        Ok(mailbox) => {
            let domain = mailbox.domain().filter(|domain| pattern.covers(domain.ascii()));
            let domain = domain.ok_or_else(|| format!("`{line}` is not in {pattern}"))?;
            Ok(in_domain(&as_compared(&mailbox), domain).into())
        }
        Err(AddressError::NoDomain) => {
            let anywhere = Mailbox::parse(&format!("{line}@contoso.example")).map_err(malformed)?;
            Ok(as_compared(&anywhere).into())
        }
        Err(error) => Err(malformed(error)),
    }
}

/// The local part for comparison: without quotes, in lower case, with composed characters (NFC, RFC
/// 6532 section 3.1).
fn as_compared(mailbox: &Mailbox) -> String {
    mailbox.local_part_content().nfc().collect::<String>().to_lowercase()
}

/// A local part cannot contain a line feed.
fn in_domain(local_part: &str, domain: &Domain) -> String {
    format!("{local_part}\n{}", domain.ascii())
}

#[cfg(test)]
mod tests {
    use crate::recipient_list::*;

    fn list(text: &str) -> Result<RecipientList, InvalidRecipientList> {
        RecipientList::parse(text, &"*.contoso.example".parse().unwrap())
    }

    fn contains(list: &RecipientList, address: &str) -> bool {
        list.contains(&Mailbox::parse(address).unwrap())
    }

    #[test]
    fn a_local_part_is_known_in_every_domain_and_an_address_in_its_own() {
        let list = list(
            "# Our people.\n\nAlice\n  bob@mail.Contoso.example  \r\n\"o. k.\"\n\"carol\"\n\
             jörg@xn--bcher-kva.contoso.example\n",
        )
        .unwrap();
        assert_eq!(list.len(), 5);
        for address in [
            "alice@contoso.example",
            "ALICE@sales.contoso.example",
            "\"alice\"@contoso.example",
            "\"al\\ice\"@contoso.example",
            "Bob@MAIL.contoso.example",
            "\"O. K.\"@contoso.example",
            "carol@contoso.example",
            "JÖRG@bücher.contoso.example",
            "jo\u{308}rg@bücher.contoso.example",
        ] {
            assert!(contains(&list, address), "{address}");
        }
        for address in [
            "bob@contoso.example",
            "alicia@contoso.example",
            "alice+tag@contoso.example",
            "\"alice \"@contoso.example",
            "#@contoso.example",
        ] {
            assert!(!contains(&list, address), "{address}");
        }
    }

    #[test]
    fn an_invalid_recipient_is_refused_with_its_line() {
        for (text, line, problem) in [
            ("alice\na b\n", 2, "`a b` is neither a local part nor an address"),
            (
                "\n\n@contoso.example",
                3,
                "`@contoso.example` is neither a local part nor an address",
            ),
            ("alice@fabrikam.example", 1, "`alice@fabrikam.example` is not in *.contoso.example"),
            ("alice@[192.0.2.1]", 1, "`alice@[192.0.2.1]` is not in *.contoso.example"),
        ] {
            assert_eq!(
                list(text).unwrap_err(),
                InvalidRecipientList { line, problem: problem.to_owned() }
            );
        }
    }

    #[test]
    fn a_list_is_bounded() {
        let text: String = (0..=RECIPIENTS_LISTED).map(|number| format!("u{number}\n")).collect();
        let error = list(&text).unwrap_err();
        assert_eq!(error.problem, "more than 1000000 recipients");
        assert_eq!(error.line, RECIPIENTS_LISTED + 1);
    }
}
