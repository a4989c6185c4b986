//! A domain, alone or with all its subdomains.

use std::fmt;
use std::str::FromStr;

use crate::path::{Domain, DomainError};

/// `contoso.example`, or `*.contoso.example`, which includes `contoso.example` itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DomainPattern {
    /// In lower case and A-labels.
    domain: String,
    with_subdomains: bool,
}

/// Why a text is not a domain pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDomainPattern {
    /// A star that is not the first label.
    #[error("a star is allowed only as the first label")]
    Star,
    /// The text after the star is not a domain name.
    #[error(transparent)]
    Domain(#[from] DomainError),
}

impl DomainPattern {
    /// All patterns that cover a domain, the most specific first. `domain` is in lower case and
    /// A-labels.
    pub fn all_covering(domain: &str) -> impl Iterator<Item = Self> {
        let exact = Self { domain: domain.to_owned(), with_subdomains: false };
        let above =
            at_and_above(domain).map(|it| Self { domain: it.to_owned(), with_subdomains: true });
        std::iter::once(exact).chain(above)
    }

    /// Does the pattern cover this domain, given in lower case and A-labels?
    ///
    /// ```
    /// use relay_mail::domain_pattern::DomainPattern;
    ///
    /// let pattern: DomainPattern = "*.contoso.example".parse().unwrap();
    /// assert!(pattern.covers("mail.contoso.example"));
    /// assert!(pattern.covers("contoso.example"));
    /// // A domain that only ends with the same letters is another domain.
    /// assert!(!pattern.covers("evil-contoso.example"));
    /// ```
    pub fn covers(&self, domain: &str) -> bool {
        match domain.strip_suffix(self.domain.as_str()) {
            Some("") => true,
            Some(below) => self.with_subdomains && below.ends_with('.'),
            None => false,
        }
    }

    /// The only domain that the pattern covers. `None`: it covers subdomains too.
    pub fn exact(&self) -> Option<&str> {
        (!self.with_subdomains).then_some(self.domain.as_str())
    }

    /// The domain of the pattern without the star, in lower case and A-labels.
    pub fn domain(&self) -> &str {
        &self.domain
    }
}

/// A domain and all its parent domains, the longest first.
pub fn at_and_above(domain: &str) -> impl Iterator<Item = &str> {
    let above = domain.match_indices('.').map(|(dot, _)| &domain[dot + 1..]);
    std::iter::once(domain).chain(above)
}

/// A trailing dot, as in DNS, is removed.
impl FromStr for DomainPattern {
    type Err = InvalidDomainPattern;

    fn from_str(text: &str) -> Result<Self, InvalidDomainPattern> {
        let below = text.strip_prefix("*.");
        let name = below.unwrap_or(text);
        if name.contains('*') {
            return Err(InvalidDomainPattern::Star);
        }
        let domain = Domain::parse(name.strip_suffix('.').unwrap_or(name))?;
        Ok(Self { domain: domain.ascii().to_owned(), with_subdomains: below.is_some() })
    }
}

impl TryFrom<String> for DomainPattern {
    type Error = InvalidDomainPattern;

    fn try_from(text: String) -> Result<Self, InvalidDomainPattern> {
        text.parse()
    }
}

impl From<DomainPattern> for String {
    fn from(pattern: DomainPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let star = if self.with_subdomains { "*." } else { "" };
        write!(f, "{star}{}", self.domain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_written_as_it_is_read() {
        for (text, read) in [
            ("contoso.example", Ok("contoso.example")),
            ("*.Contoso.Example.", Ok("*.contoso.example")),
            ("*.bücher.example", Ok("*.xn--bcher-kva.example")),
            ("*", Err(InvalidDomainPattern::Star)),
            ("a.*.example", Err(InvalidDomainPattern::Star)),
            ("*.", Err(InvalidDomainPattern::Domain(DomainError::EmptyLabel))),
        ] {
            let pattern = text.parse::<DomainPattern>().map(|pattern| pattern.to_string());
            assert_eq!(pattern, read.map(str::to_owned), "{text}");
        }
    }

    #[test]
    fn all_covering_lists_every_pattern_that_covers_a_domain() {
        let covering: Vec<_> =
            DomainPattern::all_covering("a.b.example").map(|it| it.to_string()).collect();
        assert_eq!(covering, ["a.b.example", "*.a.b.example", "*.b.example", "*.example"]);
        for pattern in DomainPattern::all_covering("a.b.example") {
            assert!(pattern.covers("a.b.example"), "{pattern}");
            assert!(!pattern.covers("b.org"), "{pattern}");
        }
    }
}
