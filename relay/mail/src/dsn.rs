//! Which reports a client requests for its message (RFC 3461): the parameters of MAIL and RCPT.
//!
//! A value is stored as the client wrote it, so that the next hop gets it unchanged. A value exists
//! only if it decodes to one line of printable text, so decoded text can begin no header field and
//! no command. The queue decides who gets which report.

use std::fmt::{self, Write};

use crate::heap::HeapOctets;
use crate::limits::{ENVELOPE_ID_CHARACTERS, ORIGINAL_RECIPIENT_CHARACTERS};
use crate::path::ForwardPath;

/// RET and ENVID of MAIL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MailDsn {
    /// RET: the part of the message that a report returns.
    pub ret: Option<Ret>,
    /// ENVID: the sender's name for this message.
    pub envelope_id: Option<EnvelopeId>,
    /// The sender's address is not verified: our report returns the header section, even without
    /// RET. The next hop does not see this flag (RFC 3461 section 5.2.1).
    pub is_unproven: bool,
}

/// RET.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ret {
    /// `FULL`: the message.
    Full,
    /// `HDRS`: its header section.
    Headers,
}

/// The value of ENVID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvelopeId(String);

/// A recipient, and the reports that the client requests for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addressee {
    /// The path of RCPT.
    pub path: ForwardPath,
    /// Its parameters.
    pub dsn: RcptDsn,
}

/// NOTIFY and ORCPT of RCPT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RcptDsn {
    /// NOTIFY; `None` leaves the choice to us, which is FAILURE and DELAY.
    pub notify: Option<Notify>,
    /// ORCPT: the address to which the message was first sent.
    pub original: Option<OriginalRecipient>,
}

/// NOTIFY. All false is `NEVER`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify {
    /// `SUCCESS`.
    pub success: bool,
    /// `FAILURE`.
    pub failure: bool,
    /// `DELAY`.
    pub delay: bool,
}

/// The value of ORCPT: a type and an encoded address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalRecipient {
    kind: String,
    address: String,
}

impl HeapOctets for MailDsn {
    fn heap_octets(&self) -> usize {
        self.envelope_id.as_ref().map_or(0, |id| id.0.heap_octets())
    }
}

impl HeapOctets for Addressee {
    fn heap_octets(&self) -> usize {
        self.path.heap_octets() + self.dsn.original.heap_octets()
    }
}

impl HeapOctets for OriginalRecipient {
    fn heap_octets(&self) -> usize {
        self.kind.heap_octets() + self.address.heap_octets()
    }
}

impl Ret {
    /// Parses the value of RET.
    pub fn parse(value: &str) -> Option<Self> {
        match value.to_ascii_uppercase().as_str() {
            "FULL" => Some(Self::Full),
            "HDRS" => Some(Self::Headers),
            _ => None,
        }
    }
}

impl EnvelopeId {
    /// Parses the value of ENVID: xtext of at most [`ENVELOPE_ID_CHARACTERS`] (RFC 3461 section
    /// 4.4). An unencoded `=` is accepted.
    pub fn parse(value: &str) -> Option<Self> {
        let value = with_written_equals(value);
        let fits = !value.is_empty() && value.len() <= ENVELOPE_ID_CHARACTERS;
        (fits && decode_xtext(&value).is_some()).then_some(Self(value))
    }

    /// The decoded value: printable ASCII.
    pub fn decoded(&self) -> String {
        decode_xtext(&self.0).unwrap_or_default()
    }
}

impl Notify {
    /// Parses the value of NOTIFY: `NEVER`, or a list of the others.
    pub fn parse(value: &str) -> Option<Self> {
        if value.eq_ignore_ascii_case("NEVER") {
            return Some(Self::default());
        }
        let mut notify = Self::default();
        for word in value.split(',') {
            let flag = match word.to_ascii_uppercase().as_str() {
                "SUCCESS" => &mut notify.success,
                "FAILURE" => &mut notify.failure,
                "DELAY" => &mut notify.delay,
                _ => return None,
            };
            if std::mem::replace(flag, true) {
                return None;
            }
        }
        Some(notify)
    }
}

impl RcptDsn {
    /// Adds the requests of another RCPT for the same recipient: the sender gets the reports that
    /// either of them requested. The first ORCPT remains.
    pub fn merge(&mut self, other: Self) {
        self.notify = match (self.notify, other.notify) {
            (Some(one), Some(other)) => Some(Notify {
                success: one.success || other.success,
                failure: one.failure || other.failure,
                delay: one.delay || other.delay,
            }),
            (Some(asked), None) | (None, Some(asked)) if asked.success => {
                Some(Notify { success: true, failure: true, delay: true })
            }
            _ => None,
        };
        self.original = self.original.take().or(other.original);
    }

    /// Does the sender want a report of a failure? By default it does (RFC 3461 section 4.1).
    pub fn wants_failure(&self) -> bool {
        self.notify.is_none_or(|notify| notify.failure)
    }

    /// Does the sender want a report of a delay? Without NOTIFY the choice is ours (RFC 3461
    /// section 4.1), and we send one.
    pub fn wants_delay(&self) -> bool {
        self.notify.is_none_or(|notify| notify.delay)
    }

    /// Did the sender request a report of success?
    pub fn wants_success(&self) -> bool {
        self.notify.is_some_and(|notify| notify.success)
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

/// `utf-8-addr-xtext` of RFC 6533 section 3 for one character.
pub fn push_escaped(text: &mut String, character: char) {
    // Writing to a String does not fail.
    let _ = write!(text, "\\x{{{:02X}}}", u32::from(character));
}

/// xtext in which each bare `=` is encoded as RFC 3461 section 4 requires. Programs that insert an
/// address without encoding leave `=` bare, and it cannot be misread.
fn with_written_equals(text: &str) -> String {
    text.replace('=', "+3D")
}

/// Decodes xtext (RFC 3461 section 4). `None` unless the result is printable ASCII, spaces
/// included.
pub fn decode_xtext(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let octet = match octet {
            b'+' => {
                let mut digit = || match octets.next()? {
                    digit @ b'0'..=b'9' => Some(digit - b'0'),
                    digit @ b'A'..=b'F' => Some(digit - b'A' + 10),
                    _ => None,
                };
                digit()? * 16 + digit()?
            }
            b'=' => return None,
            _ if octet.is_ascii_graphic() => octet,
            _ => return None,
        };
        if !matches!(octet, b' '..=b'~') {
            return None;
        }
        decoded.push(char::from(octet));
    }
    Some(decoded)
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

impl From<ForwardPath> for Addressee {
    /// A recipient without DSN parameters.
    fn from(path: ForwardPath) -> Self {
        Self { path, dsn: RcptDsn::default() }
    }
}

impl Addressee {
    /// May the recipient be sent without SMTPUTF8, parameters included?
    pub fn is_ascii(&self) -> bool {
        self.path.is_ascii() && self.dsn.original.as_ref().is_none_or(OriginalRecipient::is_ascii)
    }
}

/// The path, without angle brackets.
impl fmt::Display for Addressee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.fmt(f)
    }
}

impl fmt::Display for Ret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "FULL",
            Self::Headers => "HDRS",
        })
    }
}

/// The value as the client wrote it.
impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [(self.success, "SUCCESS"), (self.failure, "FAILURE"), (self.delay, "DELAY")];
        let words: Vec<_> = words.iter().filter(|(set, _)| *set).map(|(_, word)| *word).collect();
        match words.is_empty() {
            true => f.write_str("NEVER"),
            false => f.write_str(&words.join(",")),
        }
    }
}

/// The value as the client wrote it.
impl fmt::Display for OriginalRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{};{}", self.kind, self.address)
    }
}

/// The parameters in the form that follows the path of MAIL, each with a space before it.
impl fmt::Display for MailDsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(ret) = self.ret {
            write!(f, " RET={ret}")?;
        }
        if let Some(id) = &self.envelope_id {
            write!(f, " ENVID={id}")?;
        }
        Ok(())
    }
}

/// The parameters in the form that follows the path of RCPT, each with a space before it.
impl fmt::Display for RcptDsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(notify) = self.notify {
            write!(f, " NOTIFY={notify}")?;
        }
        if let Some(original) = &self.original {
            write!(f, " ORCPT={original}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_are_stored_as_written_and_decoded_for_display() {
        let id = EnvelopeId::parse("QQ314159+2B+20x").unwrap();
        assert_eq!(
            (id.to_string(), id.decoded()),
            ("QQ314159+2B+20x".into(), "QQ314159+ x".into())
        );
        let original = OriginalRecipient::parse("rfc822;Bob+2Bx@b.example").unwrap();
        assert_eq!(original.to_string(), "rfc822;Bob+2Bx@b.example");
        assert_eq!(original.to_field(), "rfc822; Bob+x@b.example");
        let original = OriginalRecipient::parse("rfc822;SRS0=ab=c@b.example").unwrap();
        assert_eq!(original.to_string(), "rfc822;SRS0+3Dab+3Dc@b.example");
        assert_eq!(original.to_field(), "rfc822; SRS0=ab=c@b.example");
        assert_eq!(EnvelopeId::parse("QUJD=").unwrap().to_string(), "QUJD+3D");
        let original = OriginalRecipient::parse("utf-8;jörg\\x{2B}@b.example").unwrap();
        assert_eq!(original.to_ascii().to_string(), "utf-8;j\\x{F6}rg\\x{2B}@b.example");
        assert_eq!(original.to_field(), "utf-8; jörg\\x{2B}@b.example");
        for text in ["NEVER", "SUCCESS", "SUCCESS,FAILURE,DELAY", "FAILURE,DELAY"] {
            assert_eq!(Notify::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn invalid_values_are_refused() {
        for id in ["", "a b", "a+0", "a+0d+0A", "a+7F", "a+zz", "a+2b", "é", &"x".repeat(101)] {
            assert_eq!(EnvelopeId::parse(id), None, "{id:?}");
        }
        for original in [
            "a@b.example",
            ";a@b.example",
            "rfc822;",
            "rfc 822;a",
            "rfc822;a+0D+0AX-Injected:+20y",
            "rfc822;jörg@b.example",
            "utf-8;a+2Bb",
            "utf-8;a=b",
            "utf-8;a\\b",
            "utf-8;\\x{0D}\\x{0A}",
            "utf-8;\\x{85}",
            "utf-8;\\x{D800}",
            "utf-8;\\x{110000}",
            "utf-8;\\x{}",
            "utf-8;\u{2028}",
            &format!("rfc822;{}", "x".repeat(500)),
            &format!("rfc822;{}", "=".repeat(170)),
        ] {
            assert_eq!(OriginalRecipient::parse(original), None, "{original:?}");
        }
        for notify in
            ["", "NEVER,SUCCESS", "SUCCESS,SUCCESS", "SUCCESS,", "SOMETIMES", "DELAY FAILURE"]
        {
            assert_eq!(Notify::parse(notify), None, "{notify:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_is_decoded_is_a_line_of_its_own(value in "([a-c;+0-9A-F\\\\x{}é]|={1,170}){0,20}") {
            let value = format!("rfc822;{value}");
            if let Some(original) = OriginalRecipient::parse(&value) {
                prop_assert!(original.to_field().bytes().all(|octet| matches!(octet, b' '..=b'~')));
                prop_assert_eq!(original.to_string(), value.replace('=', "+3D"));
                prop_assert_eq!(OriginalRecipient::parse(&original.to_string()), Some(original));
            }
            if let Some(original) = OriginalRecipient::parse(&value.replace("rfc822", "utf-8")) {
                prop_assert!(!original.to_field().contains(char::is_control));
                let ascii = original.to_ascii();
                prop_assert!(ascii.is_ascii());
                prop_assert_eq!(OriginalRecipient::parse(&ascii.to_string()), Some(ascii));
            }
        }
    }
}
