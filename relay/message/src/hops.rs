//! Has a message passed this host before? Counts Received fields that name this host.
//!
//! A loop through this host adds our own name at every round. We wrote these fields and other hosts
//! forwarded them, so a field counts if its `by` can be read as one of our names;
//! [`HeaderSection::hops`] counts all hosts that a message has passed.

use crate::comment;
use crate::header::{Field, HeaderSection};

/// Received fields whose `by` (RFC 5321 section 4.4) is a name that `is_ours`; it is given in
/// lower case, without a trailing dot.
pub fn local(section: &HeaderSection, is_ours: impl Fn(&str) -> bool) -> u32 {
    let count = section.fields().filter(|field| names_us(*field, &is_ours)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Is this a Received field whose `by` is a name that `is_ours`? It is given in lower case, without
/// a trailing dot.
pub fn names_us(field: Field<'_>, is_ours: &impl Fn(&str) -> bool) -> bool {
    if !field.is_received() {
        return false;
    }
    let words = words(field.value());
    words.windows(2).any(|pair| {
        let [by, name] = pair else { return false };
        by.eq_ignore_ascii_case("by") && is_ours(&name.trim_end_matches('.').to_ascii_lowercase())
    })
}

/// The words before the date, without comments. A word beyond ASCII is not a name of ours.
fn words(value: &[u8]) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut rest = value;
    while let Some((&octet, after)) = rest.split_first() {
        let mut next = after;
        match octet {
            b'\\' => next = after.get(1..).unwrap_or_default(),
            // A comment stands where white space may.
            b'(' => {
                words.push(String::new());
                next = comment::octets(rest).map_or(&[][..], |octets| &rest[octets..]);
            }
            b')' => {}
            b';' => break,
            b' ' | b'\t' | b'\r' | b'\n' => words.push(String::new()),
            _ => {
                if let Some(word) = words.last_mut() {
                    word.push(if octet.is_ascii() { octet.into() } else { '?' });
                }
            }
        }
        rest = next;
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::header::{Collected, HeaderCollector};
    use crate::hops::*;

    fn local_hops(text: &[u8]) -> u32 {
        let mut collector = HeaderCollector::new(100_000);
        collector.push(text);
        let Collected::Complete { section, .. } = collector.finish() else { panic!() };
        local(&section, |name| name == "edge1.contoso.example")
    }

    #[test]
    fn only_fields_that_we_wrote_count() {
        for (field, count) in [
            ("Received: from a (b) by edge1.contoso.example (c) with ESMTP; Sun\r\n", 1),
            ("Received: from a\r\n\tBY EDGE1.Contoso.Example. with ESMTP; Sun\r\n", 1),
            ("received : by edge1.contoso.example\r\n", 1),
            ("Received: by(it is (we))edge1.contoso.example; Sun\r\n", 1),
            ("Received: by (it is (we)) edge1.contoso.example; Sun\r\n", 1),
            ("Received: from edge1.contoso.example by b.example; Sun\r\n", 0),
            ("Received: from a (by edge1.contoso.example) by b.example; Sun\r\n", 0),
            ("Received: from a by b.example; by edge1.contoso.example\r\n", 0),
            ("Received: from a by edge1.contoso.example.org; Sun\r\n", 0),
            ("X-Received: from a by edge1.contoso.example; Sun\r\n", 0),
            ("Received: from a (unclosed by edge1.contoso.example; Sun\r\n", 0),
            ("Received:\r\nReceived: by\r\n", 0),
        ] {
            assert_eq!(local_hops(field.as_bytes()), count, "{field}");
            assert_eq!(local_hops(field.repeat(3).as_bytes()), 3 * count, "{field}");
        }
    }

    #[test]
    fn our_own_field_is_known_again() {
        let field = crate::received::example("edge1.contoso.example");
        assert_eq!(local_hops(&field), 1, "{}", field.escape_ascii());
    }

    proptest! {
        #[test]
        fn any_octets_are_read_without_panic(
            octets in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            local_hops(&[b"Received: ", &octets[..]].concat());
        }
    }
}
