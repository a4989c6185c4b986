//! Domains, mailboxes and paths that exist only if they are well formed (RFC 5321 section 4.1.2).
//!
//! The local part is stored exactly as it was written, quotes included. So we send on exactly the
//! text that we received, and no later server can split it elsewhere. A percent sign or a bang is
//! an ordinary character here; [`Mailbox::has_route`] says whether another server might read it as
//! a route.
//!
//! This module decides only which text is an address. The policy decides whether an address is
//! accepted, the session whether a non-ASCII one may be used in this transaction.

mod folding;
mod parse;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;

use crate::heap::HeapOctets;

pub use self::folding::folded;
pub use self::parse::{AddressError, DomainError, LocalPartError, split_bare_path, split_path};

/// A domain name, in lower case, without a trailing dot. U-labels are stored as UTF-8; comparisons
/// use A-labels.
#[derive(Clone, Debug)]
pub struct Domain {
    /// The domain as we write it.
    text: Box<str>,
    /// The domain as DNS and every comparison use it; absent if `text` is already ASCII.
    a_labels: Option<Box<str>>,
}

/// The part of an address after the `@`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MailHost {
    /// `[192.0.2.1]` or `[IPv6:2001:db8::1]`.
    Address(IpAddr),
    /// A domain name.
    Domain(Domain),
}

/// A local part and a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Mailbox {
    local_part: String,
    host: MailHost,
}

/// Signs of a route in a folded local part. U+2237 is two colons in one character.
const ROUTE_CHARACTERS: [char; 4] = ['%', '!', '@', '\u{2237}'];
/// Prefixes that are signs of a route. Exchange writes an SMTP address in a local part with
/// `IMCEASMTP-`. Other types (`IMCEAEX-`) name mailboxes of an organization, and replies to old
/// messages use them.
const ROUTE_TEXTS: [&str; 2] = ["::", "imceasmtp-"];

/// The argument of MAIL FROM.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReversePath {
    /// A mailbox.
    Mailbox(Mailbox),
    /// `<>`: a report, which must never cause another report.
    Null,
}

/// The argument of RCPT TO.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ForwardPath {
    /// A mailbox.
    Mailbox(Mailbox),
    /// `<postmaster>` without a domain, which RFC 5321 section 4.5.1 requires a server to accept.
    Postmaster,
}

impl Domain {
    /// The domain as text: lower case, no trailing dot.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// May a host have this name? RFC 1123 section 2.1 has no underscore there.
    pub fn is_host_name(&self) -> bool {
        !self.text.contains('_')
    }

    /// Is this the given domain or one of its subdomains? `domain` is in lower case and A-labels.
    pub fn is_at_or_below(&self, domain: &str) -> bool {
        let below = self.ascii().strip_suffix(domain);
        below.is_some_and(|below| below.is_empty() || below.ends_with('.'))
    }

    /// The domain with every U-label as an A-label (`xn--…`), as DNS and comparisons use it.
    pub fn ascii(&self) -> &str {
        self.a_labels.as_deref().unwrap_or(&self.text)
    }
}

impl Mailbox {
    /// The local part as it was written, quotes included.
    pub fn local_part(&self) -> &str {
        &self.local_part
    }

    /// The part after the `@`.
    pub fn host(&self) -> &MailHost {
        &self.host
    }

    /// The domain, unless the host is an address literal.
    pub fn domain(&self) -> Option<&Domain> {
        match &self.host {
            MailHost::Address(_) => None,
            MailHost::Domain(domain) => Some(domain),
        }
    }

    /// The content of the local part: a quoted string without its quotes and backslashes. By RFC
    /// 5321 section 4.1.2, `"alice"` and `alice` must not be treated differently.
    pub fn local_part_content(&self) -> Cow<'_, str> {
        local_part_content(&self.local_part)
    }

    /// Could a server read the local part as a route to another host: percent hack, bang path,
    /// DECnet's `host::user`, an `@` in quotes, or an address that Exchange has encapsulated
    /// (`IMCEASMTP-user+40host`)? Here none of them is a route. A text that becomes one of these
    /// when a server folds the address counts too.
    pub fn has_route(&self) -> bool {
        let content = self.local_part_content();
        let content = folded(&content);
        content.contains(ROUTE_CHARACTERS) || ROUTE_TEXTS.iter().any(|text| content.contains(text))
    }

    /// Do both mean the same recipient? The content of the local part is compared exactly, except
    /// `postmaster`, which RFC 5321 section 4.5.1 compares without regard to case.
    fn is_same_recipient(&self, other: &Self) -> bool {
        if self.host != other.host {
            return false;
        }
        let (one, other) = (self.local_part_content(), other.local_part_content());
        let is_postmaster = |it: &str| it.eq_ignore_ascii_case("postmaster");
        one == other || is_postmaster(&one) && is_postmaster(&other)
    }

    /// May the address be sent without SMTPUTF8 (RFC 6531)?
    pub fn is_ascii(&self) -> bool {
        self.local_part.is_ascii() && self.domain().is_none_or(|domain| domain.as_str().is_ascii())
    }
}

/// The content of a local part: without its quotes, and without the backslashes within them.
pub fn local_part_content(local_part: &str) -> Cow<'_, str> {
    let quoted = local_part.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let Some(quoted) = quoted else { return local_part.into() };
    let mut characters = quoted.chars();
    let mut content = String::with_capacity(quoted.len());
    while let Some(character) = characters.next() {
        content.extend(match character {
            '\\' => characters.next(),
            _ => Some(character),
        });
    }
    content.into()
}

impl ReversePath {
    /// May the path be sent without SMTPUTF8 (RFC 6531)?
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Mailbox(mailbox) => mailbox.is_ascii(),
            Self::Null => true,
        }
    }
}

impl ForwardPath {
    /// May the path be sent without SMTPUTF8 (RFC 6531)?
    pub fn is_ascii(&self) -> bool {
        match self {
            Self::Mailbox(mailbox) => mailbox.is_ascii(),
            Self::Postmaster => true,
        }
    }
}

impl HeapOctets for Domain {
    fn heap_octets(&self) -> usize {
        self.text.heap_octets() + self.a_labels.heap_octets()
    }
}

impl HeapOctets for Mailbox {
    fn heap_octets(&self) -> usize {
        self.local_part.heap_octets() + self.domain().map_or(0, Domain::heap_octets)
    }
}

impl HeapOctets for ReversePath {
    fn heap_octets(&self) -> usize {
        match self {
            Self::Mailbox(mailbox) => mailbox.heap_octets(),
            Self::Null => 0,
        }
    }
}

impl HeapOctets for ForwardPath {
    fn heap_octets(&self) -> usize {
        match self {
            Self::Mailbox(mailbox) => mailbox.heap_octets(),
            Self::Postmaster => 0,
        }
    }
}

impl ForwardPath {
    /// Do both mean the same recipient, so that a message for both is delivered once? Domains are
    /// compared without regard to case, local parts as they were written.
    pub fn is_same_recipient(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mailbox(one), Self::Mailbox(other)) => one.is_same_recipient(other),
            (Self::Postmaster, Self::Postmaster) => true,
            _ => false,
        }
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.ascii() == other.ascii()
    }
}

impl Eq for Domain {}

impl Hash for Domain {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.ascii().hash(state);
    }
}

impl Ord for Domain {
    fn cmp(&self, other: &Self) -> Ordering {
        self.ascii().cmp(other.ascii())
    }
}

impl PartialOrd for Domain {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for MailHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
            Self::Domain(domain) => domain.fmt(f),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.local_part, self.host)
    }
}

/// Without angle brackets; empty for the null path.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => mailbox.fmt(f),
            Self::Null => Ok(()),
        }
    }
}

/// Without angle brackets.
impl fmt::Display for ForwardPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mailbox(mailbox) => mailbox.fmt(f),
            Self::Postmaster => f.write_str("postmaster"),
        }
    }
}
