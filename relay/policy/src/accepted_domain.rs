//! The domains for which this host accepts mail.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use crate::RecipientList;
use relay_mail::domain_pattern::{DomainPattern, at_and_above};
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::smart_host::SmartHost;

/// `[[accepted_domain]]`: a pattern and its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedDomain {
    /// `name`.
    pub pattern: DomainPattern,
    /// The line of the configuration that the table begins on.
    pub line: u32,
    /// `type`.
    pub kind: AcceptedDomainType,
    /// `recipient_lookup`: the server that knows the recipients; `None`: all are accepted.
    pub recipient_lookup: Option<RecipientLookup>,
    /// `recipients_file`: the recipients; `None`: no file lists them.
    pub recipients_file: Option<RecipientsFile>,
}

/// `recipients_file`: where the recipients are listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecipientsFile {
    /// The file.
    pub path: PathBuf,
    /// The recipients of the file. `None` until it is read: then no recipient is known.
    pub list: Option<Arc<RecipientList>>,
}

/// `recipient_lookup`: the server that is asked whether it knows a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RecipientLookup {
    /// Its protocol. In both protocols the reply to RCPT decides.
    pub protocol: DeliveryProtocol,
    /// Where it is.
    pub server: SmartHost,
}

/// The type of an accepted domain. For a relay without mailboxes it matters in the sender check:
/// only mail from authoritative domains counts as our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AcceptedDomainType {
    /// All recipients are in our organization.
    Authoritative,
    /// Some recipients are here, the others are on other servers of the organization.
    InternalRelay,
    /// No recipients are here; we relay for another organization.
    ExternalRelay,
}

/// The accepted domains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptedDomains {
    exact: HashMap<String, AcceptedDomain>,
    with_subdomains: HashMap<String, AcceptedDomain>,
    /// The authoritative domain that was added first.
    first_authoritative: Option<String>,
}

impl AcceptedDomainType {
    /// Every type, in Exchange's order.
    pub const ALL: &[Self] = &[Self::Authoritative, Self::InternalRelay, Self::ExternalRelay];

    /// The name, as `type` spells it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authoritative => "Authoritative",
            Self::InternalRelay => "InternalRelay",
            Self::ExternalRelay => "ExternalRelay",
        }
    }
}

impl AcceptedDomain {
    fn domain(&self) -> String {
        self.pattern.domain().to_owned()
    }
}

impl AcceptedDomains {
    /// Adds a domain, and replaces a domain with the same pattern.
    pub fn insert(&mut self, accepted: AcceptedDomain) {
        let domain = accepted.pattern.domain().to_owned();
        if accepted.kind == AcceptedDomainType::Authoritative {
            self.first_authoritative.get_or_insert_with(|| domain.clone());
        }
        let map = match accepted.pattern.exact() {
            Some(_) => &mut self.exact,
            None => &mut self.with_subdomains,
        };
        map.insert(domain, accepted);
    }

    /// The most specific accepted domain that covers this domain, given in lower case and
    /// A-labels: its exact name before patterns, and a longer pattern before a shorter one.
    pub fn covering(&self, domain: &str) -> Option<&AcceptedDomain> {
        let with_subdomains = || at_and_above(domain).find_map(|it| self.with_subdomains.get(it));
        self.exact.get(domain).or_else(with_subdomains)
    }

    /// The authoritative domain that was added first, in A-labels; for a pattern, the domain
    /// without the star.
    pub fn first_authoritative(&self) -> Option<&str> {
        self.first_authoritative.as_deref()
    }

    /// A domain of this type, the same each time: for a self-test, which must name one.
    pub fn example_domain(&self, kind: AcceptedDomainType) -> Option<String> {
        self.all().filter(|accepted| accepted.kind == kind).map(AcceptedDomain::domain).min()
    }

    /// A domain of any type, the same each time.
    pub fn an_example_of_any_type(&self) -> Option<String> {
        self.all().map(AcceptedDomain::domain).min()
    }

    /// Every accepted domain.
    pub fn all(&self) -> impl Iterator<Item = &AcceptedDomain> {
        self.exact.values().chain(self.with_subdomains.values())
    }

    /// Every domain; the recipients of its file are entered here.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut AcceptedDomain> {
        self.exact.values_mut().chain(self.with_subdomains.values_mut())
    }

    /// Is there no domain?
    pub fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.with_subdomains.is_empty()
    }
}

impl FromStr for AcceptedDomainType {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.iter().copied().find(|kind| kind.name().eq_ignore_ascii_case(text)).ok_or(())
    }
}

/// As it is configured: `smtp://mail.contoso.example:25`.
impl fmt::Display for RecipientLookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.protocol {
            DeliveryProtocol::Lmtp => "lmtp",
            DeliveryProtocol::Smtp => "smtp",
        };
        write!(f, "{scheme}://{}", self.server)
    }
}

impl fmt::Display for AcceptedDomainType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// As a reason names it: `*.contoso.example (InternalRelay)`.
impl fmt::Display for AcceptedDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.pattern, self.kind)
    }
}

#[cfg(test)]
mod tests {
    use crate::accepted_domain::*;

    fn accepted(name: &str, kind: AcceptedDomainType) -> AcceptedDomain {
        let pattern = name.parse().unwrap();
        AcceptedDomain { pattern, line: 1, kind, recipient_lookup: None, recipients_file: None }
    }

    #[test]
    fn the_most_specific_domain_wins() {
        let mut domains = AcceptedDomains::default();
        domains.insert(accepted("*.example", AcceptedDomainType::ExternalRelay));
        domains.insert(accepted("*.contoso.example", AcceptedDomainType::InternalRelay));
        domains.insert(accepted("contoso.example", AcceptedDomainType::Authoritative));
        for (domain, pattern) in [
            ("contoso.example", Some("contoso.example (Authoritative)")),
            ("mail.contoso.example", Some("*.contoso.example (InternalRelay)")),
            ("a.b.contoso.example", Some("*.contoso.example (InternalRelay)")),
            ("notcontoso.example", Some("*.example (ExternalRelay)")),
            ("example", Some("*.example (ExternalRelay)")),
            ("contoso.example.org", None),
            ("", None),
        ] {
            let found = domains.covering(domain).map(ToString::to_string);
            assert_eq!(found.as_deref(), pattern, "{domain}");
        }
    }
}
