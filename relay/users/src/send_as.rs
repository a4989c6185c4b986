//! The addresses as which a user may send.

use std::fmt;
use std::str::FromStr;

use relay_mail::path::{AddressError, Domain, DomainError, Mailbox, ReversePath};

/// One entry of `send_as`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendAs {
    /// This address. Local parts are compared without regard to case, as in Exchange.
    Address(Mailbox),
    /// Every address of this domain, as in `@contoso.example`; with its subdomains, as in
    /// `@*.contoso.example`.
    Domain {
        /// The domain.
        domain: Domain,
        /// Does the entry include subdomains?
        with_subdomains: bool,
    },
}

/// Why a text is not an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendAsError {
    /// Neither `local@domain` nor `@domain`.
    #[error("`{text}` is not an address: {why}")]
    Address {
        /// The text.
        text: String,
        /// The problem.
        why: AddressError,
    },
    /// A `*` as a part of the local part: no address would ever match.
    #[error("`{0}` is a pattern of local parts; only *@domain is allowed")]
    Pattern(String),
    /// The part after the `@` is not a domain.
    #[error("`{text}` has no valid domain: {why}")]
    Domain {
        /// The text.
        text: String,
        /// The problem.
        why: DomainError,
    },
}

impl SendAs {
    /// Does the entry cover this address?
    pub fn covers(&self, mailbox: &Mailbox) -> bool {
        match self {
            Self::Address(own) => {
                own.host() == mailbox.host()
                    && own.local_part().to_lowercase() == mailbox.local_part().to_lowercase()
            }
            Self::Domain { domain, with_subdomains } => mailbox.domain().is_some_and(|given| {
                given == domain || *with_subdomains && given.is_at_or_below(domain.ascii())
            }),
        }
    }
}

impl FromStr for SendAs {
    type Err = SendAsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Other programs write `*@contoso.example` for `@contoso.example`.
        if let Some(name) = text.strip_prefix("*@").or_else(|| text.strip_prefix('@')) {
            let (name, with_subdomains) = match name.strip_prefix("*.") {
                Some(name) => (name, true),
                None => (name, false),
            };
            let domain = Domain::parse(name)
                .map_err(|why| SendAsError::Domain { text: text.to_owned(), why })?;
            return Ok(Self::Domain { domain, with_subdomains });
        }
        let wrong = |why| SendAsError::Address { text: text.to_owned(), why };
        match ReversePath::parse(&format!("<{text}>")).map_err(wrong)? {
            ReversePath::Mailbox(mailbox) if is_pattern(mailbox.local_part()) => {
                Err(SendAsError::Pattern(text.to_owned()))
            }
            ReversePath::Mailbox(mailbox) => Ok(Self::Address(mailbox)),
            ReversePath::Null => Err(wrong(AddressError::NotBracketed)),
        }
    }
}

/// An address may have a `*` in its local part, but rarely; without quotes it is probably meant as
/// a pattern.
fn is_pattern(local_part: &str) -> bool {
    local_part.contains('*') && !local_part.starts_with('"')
}

/// In the form of the users file.
impl fmt::Display for SendAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(mailbox) => mailbox.fmt(f),
            Self::Domain { domain, with_subdomains: false } => write!(f, "@{domain}"),
            Self::Domain { domain, with_subdomains: true } => write!(f, "@*.{domain}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::send_as::*;

    fn covers(entry: &str, address: &str) -> bool {
        let entry: SendAs = entry.parse().unwrap();
        match ReversePath::parse(&format!("<{address}>")).unwrap() {
            ReversePath::Mailbox(mailbox) => entry.covers(&mailbox),
            ReversePath::Null => unreachable!("an address was given"),
        }
    }

    #[test]
    fn addresses_and_domains() {
        for (entry, address, expected) in [
            ("alice@contoso.example", "alice@contoso.example", true),
            ("alice@contoso.example", "Alice@CONTOSO.example", true),
            ("alice@contoso.example", "alice@sub.contoso.example", false),
            ("alice@contoso.example", "xalice@contoso.example", false),
            ("alice@contoso.example", "\"alice\"@contoso.example", false),
            ("@contoso.example", "anybody@contoso.example", true),
            ("@contoso.example", "anybody@sub.contoso.example", false),
            ("@*.contoso.example", "anybody@sub.contoso.example", true),
            ("@*.contoso.example", "anybody@contoso.example", true),
            ("@*.contoso.example", "anybody@evilcontoso.example", false),
            ("@b\u{fc}cher.example", "a@xn--bcher-kva.example", true),
            ("@contoso.example", "a@[192.0.2.1]", false),
            ("*@contoso.example", "anybody@contoso.example", true),
            ("*@contoso.example", "anybody@sub.contoso.example", false),
            ("*@*.contoso.example", "anybody@sub.contoso.example", true),
            ("\"*\"@contoso.example", "anybody@contoso.example", false),
        ] {
            assert_eq!(covers(entry, address), expected, "{entry} {address}");
        }
    }

    #[test]
    fn texts_that_are_no_entry() {
        for text in ["sales-*@contoso.example", "**@contoso.example", "*.x@contoso.example", "*@*"]
        {
            assert!(text.parse::<SendAs>().is_err(), "{text}");
        }
        let domain: SendAs = "*@contoso.example".parse().unwrap();
        assert_eq!(domain.to_string(), "@contoso.example");
        for text in ["", "contoso.example", "@", "@*", "@a.*.example", "alice@", "<a@b.example>"] {
            assert!(text.parse::<SendAs>().is_err(), "{text}");
        }
    }
}
