//! The Authentication-Results field (RFC 8601): which received fields claim to be ours, and the
//! field that we write.
//!
//! Programs that read mail after us trust the fields with our authserv-id. They may do so because
//! only we can write them: a received field with our name is removed (section 5). Fields of other
//! hosts stay unchanged; we do not use them.

use crate::comment::skip_with_blanks;
use crate::finding::{
    DkimFinding, DkimResult, DkimSignature, DmarcFinding, DmarcResult, MessageFound, SenderFound,
    SpfFinding, SpfIdentity,
};
use crate::header::Field;
use crate::limits::RESULT_VALUE_OCTETS;

const NAME: &str = "Authentication-Results";

/// The names that this host writes its results under.
#[derive(Clone, Copy, Debug)]
pub struct AuthservIds<'x> {
    /// `hostname`.
    pub hostname: &'x str,
    /// `fqdn` of the connector: also a name of this host, even if no results are written under it.
    pub fqdn: &'x str,
}

impl AuthservIds<'_> {
    /// Does this field claim to be ours? A field that does not begin exactly with `host [version]
    /// ;`, where the host is an ASCII name, counts as a claim too: readers differ about it, and one
    /// of them might see our name, since some remove blanks of Unicode, and some map letters.
    pub fn are_claimed_by(self, field: Field<'_>) -> bool {
        if !field.name().eq_ignore_ascii_case(NAME.as_bytes()) {
            return false;
        }
        match authserv_id(field.value()) {
            None => true,
            Some(id) => [self.hostname, self.fqdn].iter().any(|name| name.eq_ignore_ascii_case(id)),
        }
    }
}

/// The host of the results, if the value begins as RFC 8601 section 2.2 requires: an authserv-id,
/// perhaps a version, and a semicolon, with white space and comments between them. Only a host name
/// is accepted as authserv-id: letters, digits and hyphens of ASCII, and single dots between them,
/// in quotes or not. `None` if it begins differently.
fn authserv_id(value: &[u8]) -> Option<&str> {
    let value = skip_with_blanks(value)?;
    let (id, rest) = match value.strip_prefix(b"\"") {
        Some(quoted) => {
            let (id, rest) = name(quoted);
            (id, rest.strip_prefix(b"\"")?)
        }
        None => name(value),
    };
    let rest = skip_with_blanks(rest)?;
    let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let rest = skip_with_blanks(&rest[digits..])?;
    let id = std::str::from_utf8(id).ok()?;
    let is_host = id.split('.').all(|label| !label.is_empty());
    (is_host && rest.starts_with(b";")).then_some(id)
}

/// The octets of a host name, and the rest.
fn name(value: &[u8]) -> (&[u8], &[u8]) {
    let is_of_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-.".contains(octet);
    value.split_at(value.iter().take_while(|octet| is_of_name(octet)).count())
}

/// The field with the findings of the checks and its CRLF; `None` if nothing was checked. A check
/// that did not run has no result in it.
pub fn field(
    hostname: &str,
    sender: Option<&SenderFound>,
    message: Option<&MessageFound>,
) -> Option<String> {
    let spf = sender.and_then(|sender| sender.spf.as_ref()).map(spf);
    let dkim = message.and_then(|message| message.dkim.as_ref()).map(dkim);
    let dmarc = message.and_then(|message| message.dmarc.as_ref()).map(dmarc);
    let results: Vec<_> = spf.into_iter().chain(dkim.into_iter().flatten()).chain(dmarc).collect();
    (!results.is_empty())
        .then(|| format!("{NAME}: {hostname};\r\n\t{}\r\n", results.join(";\r\n\t")))
}

/// RFC 8601 section 2.7.2. The domain alone: the local part was not checked.
fn spf(SpfFinding { result, identity, domain }: &SpfFinding) -> String {
    let property = match identity {
        SpfIdentity::Helo => "smtp.helo",
        SpfIdentity::MailFrom => "smtp.mailfrom",
    };
    format!("spf={result} {property}={}", value(domain))
}

/// RFC 8601 section 2.7.1.
fn dkim(finding: &DkimFinding) -> Vec<String> {
    match finding {
        DkimFinding::Unavailable(why) => {
            vec![format!("dkim={}{}", DkimResult::TempError, reason(Some(why)))]
        }
        DkimFinding::Checked(signatures) if signatures.is_empty() => vec!["dkim=none".to_owned()],
        DkimFinding::Checked(signatures) => signatures
            .iter()
            .map(|DkimSignature { result, domain, selector, why }| {
                let mut text = format!("dkim={result}{}", reason(why.as_deref()));
                for (property, named) in [("header.d", domain), ("header.s", selector)] {
                    if !named.is_empty() {
                        text.push_str(&format!(" {property}={}", value(named)));
                    }
                }
                text
            })
            .collect(),
    }
}

/// RFC 7489 section 11.1. The policy is in a comment, as other programs write it.
fn dmarc(DmarcFinding { result, policy, domain, why }: &DmarcFinding) -> String {
    let policy = match result {
        DmarcResult::Fail => format!(" (p={policy})"),
        _ => String::new(),
    };
    let from = match domain.as_str() {
        "" => String::new(),
        domain => format!(" header.from={}", value(domain)),
    };
    format!("dmarc={result}{policy}{}{from}", reason(why.as_deref()))
}

fn reason(why: Option<&str>) -> String {
    why.map(|why| format!(" reason={}", quoted(why))).unwrap_or_default()
}

/// `value` of RFC 2045 section 5.1: a token if possible, otherwise a quoted string.
fn value(text: &str) -> String {
    let is_token = |octet: u8| octet.is_ascii_alphanumeric() || b"-._".contains(&octet);
    if !text.is_empty() && text.len() <= RESULT_VALUE_OCTETS && text.bytes().all(is_token) {
        text.to_owned()
    } else {
        quoted(text)
    }
}

/// Texts of clients and their domains can end neither the string nor the line. A character beyond
/// ASCII would need SMTPUTF8 on every later host, and becomes a question mark.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars().take(RESULT_VALUE_OCTETS) {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            ' '..='~' => quoted.push(character),
            _ => quoted.push('?'),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::authentication_results::*;
    use crate::finding::{DmarcPolicy, SpfResult};
    use crate::header::{Collected, HeaderCollector};

    const IDS: AuthservIds<'_> =
        AuthservIds { hostname: "edge1.contoso.example", fqdn: "mx.xn--bcher-kva.example" };

    fn claims(text: &str) -> bool {
        let mut collector = HeaderCollector::new(10_000);
        collector.push(text.as_bytes());
        let Collected::Complete { section, .. } = collector.finish() else { panic!("{text:?}") };
        let mut fields = section.fields();
        let claims = fields.next().is_some_and(|field| IDS.are_claimed_by(field));
        assert_eq!(fields.count(), 0, "{text:?} is one field");
        claims
    }

    #[test]
    fn our_name_is_known_in_every_form() {
        for text in [
            "Authentication-Results: edge1.contoso.example; spf=pass\r\n",
            "authentication-results:EDGE1.Contoso.Example;none\r\n",
            "Authentication-Results : edge1.contoso.example 1; none\r\n",
            "Authentication-Results:\r\n\tedge1.contoso.example\r\n\t; spf=pass\r\n",
            "Authentication-Results: \"edge1.contoso.example\"; none\r\n",
            "Authentication-Results: \"edge1\\.contoso.example\"; none\r\n",
            "Authentication-Results: edge1.contoso.example..; none\r\n",
            "Authentication-Results: edge1.contoso.example(a)1(b)\r\n ; none\r\n",
            "Authentication-Results: (a (b) \\) c)\r\n (d) edge1.contoso.example(e); none\r\n",
            "Authentication-Results: edge1.contoso.example.; none\r\n",
            "Authentication-Results: edge1.contoso.example\r\n",
            "Authentication-Results: mx.b\u{fc}cher.example; none\r\n",
            "Authentication-Results: mx.xn--bcher-kva.example; none\r\n",
        ] {
            assert!(claims(text), "{text:?}");
        }
    }

    #[test]
    fn an_unreadable_field_counts_as_ours() {
        for text in [
            "Authentication-Results:\r\n",
            "Authentication-Results: ; spf=pass\r\n",
            "Authentication-Results: (edge1 other.example; none\r\n",
            "Authentication-Results: \"edge1.contoso.example; none\r\n",
            "Authentication-Results: \"\"; none\r\n",
            "Authentication-Results: edge1 .contoso.example; spf=pass\r\n",
            "Authentication-Results: edge1 (x).contoso.example; spf=pass\r\n",
            "Authentication-Results: edge1(x).contoso.example; spf=pass\r\n",
            "Authentication-Results: edge1.\r\n contoso.example; spf=pass\r\n",
            "Authentication-Results: \"edge1 .contoso.example\"; spf=pass\r\n",
            "Authentication-Results: \"edge1\".contoso.example; spf=pass\r\n",
            "Authentication-Results: other.example/1; spf=pass\r\n",
            "Authentication-Results: other.example 1 edge1.contoso.example; spf=pass\r\n",
            "Authentication-Results: other.example\r\n",
            "Authentication-Results: \u{b}edge1.contoso.example; spf=pass\r\n",
            "Authentication-Results: edge1.contoso.example\u{c}; spf=pass\r\n",
            "Authentication-Results: spf=pass smtp.mailfrom=a.example; dkim=none\r\n",
            "Authentication-Results: edge1.contoso.example\u{a0}; spf=pass\r\n",
            "Authentication-Results: \u{a0}edge1.contoso.example; spf=pass\r\n",
            "Authentication-Results: \u{200b}edge1.contoso.example; spf=pass\r\n",
            "Authentication-Results: edge1.contoso.example\u{200b}; spf=pass\r\n",
            "Authentication-Results: edge1\u{3002}contoso\u{3002}example; spf=pass\r\n",
            "Authentication-Results: \u{ff45}dge1.contoso.example; spf=pass\r\n",
            "Authentication-Results: \u{24d4}dge1.contoso.example; spf=pass\r\n",
            "Authentication-Results: edge1.con\u{ad}toso.example; spf=pass\r\n",
            "Authentication-Results: edge1..contoso.example; spf=pass\r\n",
            "Authentication-Results: .edge1.contoso.example; spf=pass\r\n",
            "Authentication-Results: edge1.contoso.example.; spf=pass\r\n",
            "Authentication-Results: \"edge1.contoso.example\u{a0}\"; spf=pass\r\n",
            "Authentication-Results: edge1+contoso.example; spf=pass\r\n",
            "Authentication-Results: other.b\u{fc}cher.example; spf=pass\r\n",
        ] {
            assert!(claims(text), "{text:?}");
        }
    }

    #[test]
    fn fields_of_others_stay() {
        for text in [
            "Authentication-Results: mx.fabrikam.example; spf=pass\r\n",
            "Authentication-Results: sub.edge1.contoso.example; none\r\n",
            "Authentication-Results: contoso.example; none\r\n",
            "Authentication-Results: (edge1.contoso.example) other.example; none\r\n",
            "Authentication-Results: other.example 1; none\r\n",
            "Authentication-Results:other.example(a);edge1.contoso.example\r\n",
            "Authentication-Results: \"other.example\" (a) 1 (b)\r\n ; none\r\n",
            "X-Authentication-Results: edge1.contoso.example; none\r\n",
            "ARC-Authentication-Results: i=1; edge1.contoso.example; none\r\n",
            "Subject: edge1.contoso.example\r\n",
        ] {
            assert!(!claims(text), "{text:?}");
        }
    }

    fn found(
        spf: Option<SpfFinding>,
        dkim: Option<DkimFinding>,
        dmarc: Option<DmarcFinding>,
    ) -> Option<String> {
        let sender = SenderFound { spf, ..SenderFound::default() };
        let message = MessageFound { dkim, dmarc, rspamd: None };
        field("edge1.contoso.example", Some(&sender), Some(&message))
    }

    fn signed(domain: &str, result: DkimResult, why: Option<&str>) -> DkimSignature {
        let (domain, selector) = (domain.to_owned(), "s1".to_owned());
        DkimSignature { result, domain, selector, why: why.map(ToOwned::to_owned) }
    }

    #[test]
    fn every_check_has_its_result_and_no_other_has() {
        let spf = SpfFinding {
            result: SpfResult::SoftFail,
            identity: SpfIdentity::MailFrom,
            domain: "fabrikam.example".to_owned(),
        };
        let dkim = DkimFinding::Checked(vec![
            signed("fabrikam.example", DkimResult::Pass, None),
            signed("list.example", DkimResult::Fail, Some("the \"body\"")),
        ]);
        let dmarc = DmarcFinding {
            result: DmarcResult::Fail,
            policy: DmarcPolicy::Quarantine,
            domain: "fabrikam.example".to_owned(),
            why: None,
        };
        assert_eq!(
            found(Some(spf), Some(dkim), Some(dmarc)).unwrap(),
            "Authentication-Results: edge1.contoso.example;\r\n\
             \tspf=softfail smtp.mailfrom=fabrikam.example;\r\n\
             \tdkim=pass header.d=fabrikam.example header.s=s1;\r\n\
             \tdkim=fail reason=\"the \\\"body\\\"\" header.d=list.example header.s=s1;\r\n\
             \tdmarc=fail (p=quarantine) header.from=fabrikam.example\r\n"
        );
        assert_eq!(found(None, None, None), None);
        assert_eq!(
            found(None, Some(DkimFinding::Checked(Vec::new())), None).unwrap(),
            "Authentication-Results: edge1.contoso.example;\r\n\tdkim=none\r\n"
        );
    }

    #[test]
    fn text_of_a_client_cannot_leave_its_quotes() {
        let spf = SpfFinding {
            result: SpfResult::None,
            identity: SpfIdentity::Helo,
            domain: "a;\r\nX-Injected: \u{e9}\"b".to_owned(),
        };
        let long = "d".repeat(100_000);
        let dkim = DkimFinding::Checked(vec![signed(&long, DkimResult::Neutral, Some(&long))]);
        let field = found(Some(spf), Some(dkim), None).unwrap();
        assert!(field.contains("spf=none smtp.helo=\"a;??X-Injected: ?\\\"b\";\r\n"), "{field}");
        assert!(field.is_ascii() && field.lines().all(|line| line.len() < 998), "{field}");
        assert_eq!(field.lines().count(), 3);
    }

    proptest! {
        /// With white space and comments removed, no field that stays begins with our name.
        #[test]
        fn a_field_that_stays_is_not_ours(
            value in "(edge1|\\.contoso|\\.example|other|[ \t;.\"()\\\\]|\r\n |\\(x\\)|1){0,12}",
        ) {
            let text = format!("Authentication-Results:{value}\r\n");
            if claims(&text) {
                return Ok(());
            }
            let (mut plain, mut depth) = (String::new(), 0_usize);
            let mut characters = value.chars();
            while let Some(character) = characters.next() {
                match character {
                    '\\' => drop(characters.next()),
                    '(' => depth += 1,
                    ')' => depth = depth.saturating_sub(1),
                    _ if depth > 0 || character.is_whitespace() || character == '"' => {}
                    _ => plain.push(character),
                }
            }
            prop_assert!(!plain.starts_with("edge1.contoso.example;"), "{}", value);
            prop_assert!(!plain.starts_with("edge1.contoso.example1;"), "{}", value);
        }

        #[test]
        fn any_value_is_read_without_panic(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            let text = [b"Authentication-Results:", &value[..]].concat();
            let mut collector = HeaderCollector::new(10_000);
            let collected = match collector.push(&text) {
                Collected::Incomplete => collector.finish(),
                collected => collected,
            };
            let Collected::Complete { section, .. } = collected else { panic!() };
            let ours = section.fields().map(|field| IDS.are_claimed_by(field)).collect::<Vec<_>>();
            prop_assert!(!ours.is_empty());
        }
    }
}
