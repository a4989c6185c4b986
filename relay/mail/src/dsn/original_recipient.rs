//! ORCPT of RCPT: to which address was the message first sent?

use std::fmt;

use crate::dsn::xtext::{decode_xtext, push_escaped, with_written_equals};
use crate::heap::HeapOctets;
use crate::limits::ORIGINAL_RECIPIENT_CHARACTERS;

/// The value of ORCPT: a type and an encoded address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    kind: String,
    address: String,
}

impl HeapOctets for OriginalRecipient {
    fn heap_octets(&self) -> usize {
        self.kind.heap_octets() + self.address.heap_octets()
    }
}

impl OriginalRecipient {
    /// Parses the value of ORCPT, of at most [`ORIGINAL_RECIPIENT_CHARACTERS`] in all. It is
    /// `rfc822;` and xtext, in which an unencoded `=` is accepted, or `utf-8;` and an address in
    /// the forms of RFC 6533 section 3.
    pub fn parse(value: &str) -> Option<Self> {
        let (kind, address) = value.split_once(';')?;
        let is_atom = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        if kind.is_empty() || !kind.bytes().all(is_atom) || address.is_empty() {
            return None;
        }
        let (address, is_sound) = match kind.eq_ignore_ascii_case("utf-8") {
            true => (address.to_owned(), is_utf8_address(address)),
            false => {
                let address = with_written_equals(address);
                let is_sound = decode_xtext(&address).is_some();
                (address, is_sound)
            }
        };
        // Checked in the form in which it is sent on, so that it can be parsed again.
        Some(Self { kind: kind.to_owned(), address }).filter(|it| is_sound && it.fits_parameter())
    }

    /// May the value be sent without SMTPUTF8?
    pub fn is_ascii(&self) -> bool {
        self.address.is_ascii()
    }

    /// Is the value within [`ORIGINAL_RECIPIENT_CHARACTERS`]? [`Self::to_ascii`] may make it
    /// longer.
    pub fn fits_parameter(&self) -> bool {
        self.kind.len() + 1 + self.address.len() <= ORIGINAL_RECIPIENT_CHARACTERS
    }

    /// The same value in ASCII (`utf-8-addr-xtext` of RFC 6533 section 3).
    pub fn to_ascii(&self) -> Self {
        let mut address = String::with_capacity(self.address.len());
        for character in self.address.chars() {
            match character.is_ascii() {
                true => address.push(character),
                false => push_escaped(&mut address, character),
            }
        }
        Self { kind: self.kind.clone(), address }
    }

    /// The form of the field Original-Recipient (RFC 3464 section 2.3.1): the type, and the decoded
    /// address. A value of type `utf-8` is not changed, which that field allows (RFC 6533 section
    /// 4).
    pub fn to_field(&self) -> String {
        let address = match self.kind.eq_ignore_ascii_case("utf-8") {
            true => self.address.clone(),
            false => decode_xtext(&self.address).unwrap_or_default(),
        };
        format!("{}; {address}", self.kind)
    }
}

/// The value as the client wrote it.
impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, self.address)
    }
}

/// `utf-8-enc-addr` of RFC 6533 section 3: ASCII without `+`, `=` and a single backslash,
/// characters beyond ASCII, and `\x{HEX}` for any character except controls.
fn is_utf8_address(text: &str) -> bool {
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        if character == '\\' {
            let escaped = rest.strip_prefix("\\x{").and_then(|rest| rest.split_once('}'));
            let Some((digits, after)) = escaped else { return false };
            let is_hex = |octet: u8| matches!(octet, b'0'..=b'9' | b'A'..=b'F');
            let character = (2..=6).contains(&digits.len()) && digits.bytes().all(is_hex);
            let character = character.then(|| u32::from_str_radix(digits, 16).ok());
            let character = character.flatten().and_then(char::from_u32);
            if character.is_none_or(char::is_control) {
                return false;
            }
            rest = after;
            continue;
        }
        let allowed = match character.is_ascii() {
            true => character.is_ascii_graphic() && !matches!(character, '+' | '='),
            false => !character.is_control() && !character.is_whitespace(),
        };
        if !allowed {
            return false;
        }
        rest = &rest[character.len_utf8()..];
    }
    true
}
