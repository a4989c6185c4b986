//! The name that a client gives itself in HELO or EHLO.

use std::fmt;

use crate::limits::DOMAIN_OCTETS;

/// What follows HELO or EHLO, in a form that is safe in a header field and in a log. No right
/// depends on it, so no text is refused here; `require_ehlo_domain` can ask for a domain name.
///
/// RFC 5321 section 4.1.2 wants a domain or an address literal. Devices send their host name with
/// an underscore or a blank in it, an address without brackets, Latin-1, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HelloName(String);

impl HelloName {
    /// Keeps letters, digits, `-`, `.`, `_`, and `:` and brackets for addresses. Every other
    /// character becomes a question mark, and what exceeds [`DOMAIN_OCTETS`] is cut off: the text
    /// can neither end a header field or a comment nor forge a part of one.
    pub fn read(text: &str) -> Self {
        let safe = |character: char| match character {
            _ if character.is_ascii_alphanumeric() => character,
            '-' | '.' | '_' | ':' | '[' | ']' => character,
            _ => '?',
        };
        Self(text.chars().take(DOMAIN_OCTETS).map(safe).collect())
    }

    /// The name; empty where the client gave none.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Did the client give no name?
    pub fn is_missing(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for HelloName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use crate::hello::*;

    #[test]
    fn any_name_becomes_safe_text() {
        let read = |text| HelloName::read(text).as_str().to_owned();
        for kept in ["client.example", "HP_LaserJet", "192.0.2.7", "[IPv6:2001:db8::7]", ""] {
            assert_eq!(read(kept), kept);
        }
        assert_eq!(read("two words"), "two?words");
        assert_eq!(read("a) (b; \"c\"\u{7}\u{e9}\u{202e}"), "a???b???c????");
        assert_eq!(read(&"a".repeat(4000)).len(), DOMAIN_OCTETS);
        assert!(HelloName::read("").is_missing() && !HelloName::read("?").is_missing());
    }
}
