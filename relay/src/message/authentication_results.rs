//! The Authentication-Results field (RFC 8601): which of those that come in claim to be ours.
//!
//! Whoever reads mail behind us believes the fields that carry our authserv-id. They are believed
//! because nobody but us can write them: one that comes in with our name is removed
//! (section 5). Fields of other hosts are left alone; they are evidence of nobody here.

use crate::message::header::Field;
use crate::smtp::path::Domain;

/// The names that this host writes its results under.
#[derive(Clone, Copy, Debug)]
pub struct AuthservIds<'x> {
    /// `hostname`.
    pub hostname: &'x str,
    /// `fqdn` of the connector: also a name of this host, if not one that results are written
    /// under.
    pub fqdn: &'x str,
}

impl AuthservIds<'_> {
    /// Does this field claim to be ours? One whose name of the host cannot be read does too:
    /// readers differ about it, and one of them might see our name.
    pub fn are_claimed_by(self, field: Field<'_>) -> bool {
        if !field.name().eq_ignore_ascii_case(b"Authentication-Results") {
            return false;
        }
        match authserv_id(field.value()) {
            None => true,
            Some(id) => {
                let id = id.strip_suffix('.').unwrap_or(&id);
                let same = |name: &str| {
                    name.eq_ignore_ascii_case(id)
                        || Domain::parse(id).is_ok_and(|id| name.eq_ignore_ascii_case(id.ascii()))
                };
                same(self.hostname) || same(self.fqdn)
            }
        }
    }
}

/// The first word of the value, which RFC 8601 section 2.2 lets be a token or a quoted string with
/// comments before it.
fn authserv_id(value: &[u8]) -> Option<String> {
    let rest = skip_comments(value)?;
    let mut id = Vec::new();
    if let Some(mut rest) = rest.strip_prefix(b"\"") {
        loop {
            match rest {
                [b'"', ..] => break,
                [b'\\', octet, after @ ..] | [octet, after @ ..] => {
                    id.push(*octet);
                    rest = after;
                }
                [] => return None,
            }
        }
    } else {
        let ends = |octet: &u8| octet.is_ascii_whitespace() || b";(\"".contains(octet);
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        id.extend_from_slice(&rest[..end]);
    }
    String::from_utf8(id).ok().filter(|id| !id.is_empty())
}

/// What comes after white space and comments, which nest. `None`: a comment has no end.
fn skip_comments(mut rest: &[u8]) -> Option<&[u8]> {
    loop {
        rest = rest.trim_ascii_start();
        if !rest.starts_with(b"(") {
            return Some(rest);
        }
        let mut depth = 0_usize;
        let mut at = 0;
        loop {
            match rest.get(at)? {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => at += 1,
                _ => {}
            }
            at += 1;
            if depth == 0 {
                break;
            }
        }
        rest = &rest[at..];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::message::header::{Collected, HeaderCollector};

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
    fn what_cannot_be_read_may_be_ours() {
        for text in [
            "Authentication-Results:\r\n",
            "Authentication-Results: ; spf=pass\r\n",
            "Authentication-Results: (edge1 other.example; none\r\n",
            "Authentication-Results: \"edge1.contoso.example; none\r\n",
            "Authentication-Results: \"\"; none\r\n",
        ] {
            assert!(claims(text), "{text:?}");
        }
    }

    #[test]
    fn fields_of_others_are_left_alone() {
        for text in [
            "Authentication-Results: mx.fabrikam.example; spf=pass\r\n",
            "Authentication-Results: sub.edge1.contoso.example; none\r\n",
            "Authentication-Results: contoso.example; none\r\n",
            "Authentication-Results: (edge1.contoso.example) other.example; none\r\n",
            "X-Authentication-Results: edge1.contoso.example; none\r\n",
            "ARC-Authentication-Results: i=1; edge1.contoso.example; none\r\n",
            "Subject: edge1.contoso.example\r\n",
            "edge1.contoso.example\r\n",
        ] {
            assert!(!claims(text), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_value_is_read_without_panic(value in proptest::collection::vec(any::<u8>(), 0..100)) {
            authserv_id(&value);
        }

        #[test]
        fn comments_end_where_they_do(value in "[()\\\\ab \"]{0,40}") {
            let _ = authserv_id(value.as_bytes());
        }
    }
}
