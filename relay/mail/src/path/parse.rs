//! The strict parsers of RFC 5321 section 4.1.2, with the additions of RFC 6531 section 3.3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::limits::{DOMAIN_OCTETS, LABEL_OCTETS, LOCAL_PART_OCTETS, PATH_OCTETS};
use crate::path::{Domain, ForwardPath, MailHost, Mailbox, ReversePath};

/// Why a text is not a path or a mailbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// The part after the `@` is not a domain.
    #[error("the domain is invalid: {0}")]
    Domain(#[from] DomainError),
    /// The part before the `@` is not a local part.
    #[error("the local part is invalid: {0}")]
    LocalPart(#[from] LocalPartError),
    /// The brackets contain neither an IPv4 address nor `IPv6:` and an IPv6 address.
    #[error("the address literal is neither [192.0.2.1] nor [IPv6:2001:db8::1]")]
    Literal,
    /// There is only a local part.
    #[error("the address has no @ and domain")]
    NoDomain,
    /// The path is not between `<` and `>`.
    #[error("a path is written between angle brackets")]
    NotBracketed,
    /// The path begins with a source route, `<@a,@b:c@d>`.
    #[error("source routes are not accepted")]
    SourceRoute,
    /// The path is longer than [`PATH_OCTETS`].
    #[error("the path is longer than {PATH_OCTETS} octets")]
    TooLong,
}

/// Why a text is not a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// A character that is not a letter, digit, hyphen or underscore.
    #[error("a label has a character that is not a letter, digit, hyphen or underscore")]
    Character,
    /// An empty text, a leading or trailing dot, or two dots in a row.
    #[error("a label is empty")]
    EmptyLabel,
    /// A label that begins or ends with a hyphen.
    #[error("a label begins or ends with a hyphen")]
    Hyphen,
    /// A label over 63 octets.
    #[error("a label is longer than {LABEL_OCTETS} octets")]
    LabelTooLong,
    /// The last label is a number, so that the domain could be read as an IPv4 address.
    #[error("the last label is a number; an address is written in brackets")]
    NumericTopLabel,
    /// A non-ASCII label that is not a U-label of RFC 5890.
    #[error("a label is not valid under IDNA")]
    NotIdna,
    /// Over 255 octets.
    #[error("it is longer than {DOMAIN_OCTETS} octets")]
    TooLong,
}

/// Why a text is not a local part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocalPartError {
    /// A character that needs quotes, or that is not allowed even in quotes.
    #[error("it has a character that is not allowed there")]
    Character,
    /// An empty text.
    #[error("it is empty")]
    Empty,
    /// Over [`LOCAL_PART_OCTETS`].
    #[error("it is longer than {LOCAL_PART_OCTETS} octets")]
    TooLong,
    /// A quoted string without its closing quote.
    #[error("the quoted string does not end")]
    UnclosedQuote,
}

impl Domain {
    /// Parses `Domain` of RFC 5321 section 4.1.2: labels of letters, digits and hyphens, or
    /// U-labels. No trailing dot. An underscore counts as a letter: DNS names and names of devices
    /// have it; [`Domain::is_host_name`] tells the difference.
    pub fn parse(text: &str) -> Result<Self, DomainError> {
        // Checked before IDNA, whose cost grows faster than its input.
        if text.len() > DOMAIN_OCTETS {
            return Err(DomainError::TooLong);
        }
        let text = text.to_lowercase().into_boxed_str();
        // Lower case may be longer: `Ⱥ` has two octets, `ⱥ` three. The stored text must still be a
        // domain for the next parser.
        if text.len() > DOMAIN_OCTETS {
            return Err(DomainError::TooLong);
        }
        if text.is_ascii() {
            check_labels(&text)?;
            return Ok(Self { text, a_labels: None });
        }
        let a_labels = idna::domain_to_ascii_strict(&text).map_err(|_| DomainError::NotIdna)?;
        check_labels(&a_labels)?;
        // IDNA's mapping would make `ｅｘａｍｐｌｅ．ｃｏｍ` another spelling of an ASCII domain, and the next
        // program may not map it. RFC 6531 requires U-labels, which map to themselves.
        let (u_labels, result) = idna::domain_to_unicode(&a_labels);
        if result.is_err() || *u_labels != *text {
            return Err(DomainError::NotIdna);
        }
        Ok(Self { text, a_labels: Some(a_labels.into_boxed_str()) })
    }
}

impl Mailbox {
    /// Parses `Mailbox` of RFC 5321 section 4.1.2: a dot-string or a quoted string, `@`, and a
    /// domain or an address literal. Dots are allowed anywhere in the local part: addresses like
    /// `a..b.@docomo.example` exist, and there is still exactly one `@`.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let end = local_part_end(text)?;
        let (local_part, rest) = text.split_at(end);
        if local_part.len() > LOCAL_PART_OCTETS {
            return Err(LocalPartError::TooLong.into());
        }
        let host = match rest.strip_prefix('@') {
            Some(host) => parse_host(host)?,
            None if rest.is_empty() => return Err(AddressError::NoDomain),
            None => return Err(LocalPartError::Character.into()),
        };
        Ok(Self { local_part: local_part.to_owned(), host })
    }
}

impl ReversePath {
    /// Parses the path of MAIL, angle brackets included.
    ///
    /// ```
    /// use relay_mail::path::{AddressError, ReversePath};
    ///
    /// // The null path is that of reports. A client that forgot its address does not get it.
    /// assert_eq!(ReversePath::parse("<>"), Ok(ReversePath::Null));
    /// assert_eq!(ReversePath::parse(""), Err(AddressError::NotBracketed));
    /// // The local part stays as it was written; quotes may hold a blank.
    /// let path = ReversePath::parse("<\"A User\"@Contoso.Example>").unwrap();
    /// assert_eq!(path.to_string(), "\"A User\"@contoso.example");
    /// ```
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        match unwrap_path(text)? {
            "" => Ok(Self::Null),
            inner => Mailbox::parse(inner).map(Self::Mailbox),
        }
    }
}

impl ForwardPath {
    /// Parses the path of RCPT, angle brackets included.
    ///
    /// ```
    /// use relay_mail::path::{AddressError, ForwardPath};
    ///
    /// // A domain has one form for comparisons, whether it was written with A-labels or U-labels.
    /// let written = ForwardPath::parse("<b@b\u{fc}cher.example>").unwrap();
    /// let encoded = ForwardPath::parse("<b@xn--bcher-kva.example>").unwrap();
    /// assert!(written.is_same_recipient(&encoded));
    /// // A source route would let a client choose the way of a message.
    /// let route = ForwardPath::parse("<@relay.example:b@contoso.example>");
    /// assert_eq!(route, Err(AddressError::SourceRoute));
    /// ```
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let inner = unwrap_path(text)?;
        //= https://www.rfc-editor.org/rfc/rfc5321#section-2.3.5
        //# The reserved mailbox name "postmaster" may be used in a RCPT command without
        //# domain qualification (see Section 4.1.1.3) and MUST be accepted if so used.
        if inner.eq_ignore_ascii_case("postmaster") {
            return Ok(Self::Postmaster);
        }
        Mailbox::parse(inner).map(Self::Mailbox)
    }
}

/// Splits the argument of MAIL or RCPT into the path, brackets included, and the rest. `None` if it
/// does not begin with `<` or no `>` ends it; a `>` inside a quoted string does not count.
pub fn split_path(argument: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let mut escaped = false;
    if !argument.starts_with('<') {
        return None;
    }
    for (index, octet) in argument.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(argument.split_at(index + 1)),
            _ => {}
        }
    }
    None
}

/// Splits an argument whose path has no brackets: the path ends at the first blank outside a quoted
/// string. `None` if the argument is empty, or the quoted string does not end.
pub fn split_bare_path(argument: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let mut escaped = false;
    let mut end = argument.len();
    for (index, octet) in argument.bytes().enumerate() {
        match octet {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b' ' | b'\t' if !quoted => {
                end = index;
                break;
            }
            _ => {}
        }
    }
    (end > 0 && !quoted).then(|| argument.split_at(end))
}

/// Removes the brackets, and blanks within them. Refuses texts that no path may have.
fn unwrap_path(text: &str) -> Result<&str, AddressError> {
    if text.len() > PATH_OCTETS {
        return Err(AddressError::TooLong);
    }
    let inner = text
        .strip_prefix('<')
        .and_then(|text| text.strip_suffix('>'))
        .ok_or(AddressError::NotBracketed)?
        .trim_matches([' ', '\t']);
    // RFC 5321 section 4.1.1.3 lets a server ignore or refuse a source route. A program that still
    // writes one expects the mail to follow it. Ignoring it would use another route, and following
    // it would be a relay without a permission.
    if inner.starts_with('@') {
        return Err(AddressError::SourceRoute);
    }
    Ok(inner)
}

fn parse_host(text: &str) -> Result<MailHost, AddressError> {
    let Some(literal) = text.strip_prefix('[') else {
        return Ok(MailHost::Domain(Domain::parse(text)?));
    };
    let literal = literal.strip_suffix(']').ok_or(AddressError::Literal)?;
    let address = match literal.split_at_checked(5) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().map(IpAddr::V6)
        }
        _ => literal.parse::<Ipv4Addr>().map(IpAddr::V4),
    };
    address.map(MailHost::Address).map_err(|_| AddressError::Literal)
}

/// The end of the local part at the beginning of `text`, or the error in it.
fn local_part_end(text: &str) -> Result<usize, LocalPartError> {
    if text.starts_with('"') {
        return quoted_string_end(text);
    }
    let end = text.find('@').unwrap_or(text.len());
    if end == 0 {
        return Err(LocalPartError::Empty);
    }
    if !text[..end].chars().all(|character| character == '.' || is_atext(character)) {
        return Err(LocalPartError::Character);
    }
    Ok(end)
}

/// `Quoted-string`: everything between the quotes is `qtextSMTP` or `quoted-pairSMTP`.
fn quoted_string_end(text: &str) -> Result<usize, LocalPartError> {
    let mut escaped = false;
    for (index, character) in text.char_indices().skip(1) {
        match character {
            _ if character.is_control() => return Err(LocalPartError::Character),
            // A quoted pair is a backslash and a visible ASCII character or a space.
            _ if escaped && character.is_ascii() => escaped = false,
            _ if escaped => return Err(LocalPartError::Character),
            '\\' => escaped = true,
            '"' => return Ok(index + 1),
            _ => {}
        }
    }
    Err(LocalPartError::UnclosedQuote)
}

/// `atext` of RFC 5322 section 3.2.3, and the non-ASCII of RFC 6531 section 3.3.
fn is_atext(character: char) -> bool {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '!' | '#' | '$' | '%' | '&' | '\'' | '*' | '+' | '-' | '/' | '=' | '?' | '^' | '_'
        | '`' | '{' | '|' | '}' | '~' => true,
        _ => !character.is_ascii() && !character.is_control() && !character.is_whitespace(),
    }
}

/// `text` is ASCII in lower case.
fn check_labels(text: &str) -> Result<(), DomainError> {
    if text.len() > DOMAIN_OCTETS {
        return Err(DomainError::TooLong);
    }
    for label in text.split('.') {
        if label.is_empty() {
            return Err(DomainError::EmptyLabel);
        }
        if label.len() > LABEL_OCTETS {
            return Err(DomainError::LabelTooLong);
        }
        if !label.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_".contains(&octet)) {
            return Err(DomainError::Character);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(DomainError::Hyphen);
        }
    }
    let top = text.rsplit('.').next().unwrap_or(text);
    if top.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(DomainError::NumericTopLabel);
    }
    Ok(())
}
