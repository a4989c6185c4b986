//! Parses the arguments of MAIL and RCPT: path and parameters.

use std::borrow::Cow;

use relay_mail::dsn::{Addressee, EnvelopeId, MailDsn, Notify, OriginalRecipient, RcptDsn, Ret};
use relay_mail::envelope::BodyType;
use relay_mail::heap::HeapOctets;
use relay_mail::path::{AddressError, ForwardPath, ReversePath, split_bare_path, split_path};

use crate::command::chunk::parse_size;
use crate::command::{BLANKS, CommandError, Verb, auth};

/// The argument of MAIL and its parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path.
    pub sender: ReversePath,
    /// SIZE, in octets (RFC 1870).
    pub declared_size: Option<u64>,
    /// BODY (RFC 6152, RFC 3030), if the client gave it.
    pub body: Option<BodyType>,
    /// SMTPUTF8 (RFC 6531).
    pub smtputf8: bool,
    /// RET and ENVID (RFC 3461).
    pub dsn: MailDsn,
    /// AUTH (RFC 4954 section 5): the original submitter, as the client states it.
    pub submitter: Option<ReversePath>,
}

impl HeapOctets for Mail {
    fn heap_octets(&self) -> usize {
        self.sender.heap_octets() + self.dsn.heap_octets() + self.submitter.heap_octets()
    }
}

pub(super) fn parse_mail(argument: &str) -> Result<Mail, CommandError> {
    let (path, parameters) = parse_path(argument, "FROM", Verb::Mail)?;
    let sender = ReversePath::parse(&path).map_err(CommandError::Sender)?;
    let mut declared_size = None;
    let mut body = None;
    let mut smtputf8 = None;
    let mut dsn = MailDsn::default();
    let mut submitter = None;
    for parameter in split_parameters(parameters) {
        let Parameter { text, keyword, value } = parameter;
        let malformed =
            || CommandError::Parameter { verb: Verb::Mail, keyword: keyword.to_owned() };
        let repeated = match keyword.to_ascii_uppercase().as_str() {
            "SIZE" => {
                // Without a number no size is declared. The real size is checked in any case.
                let size = match value {
                    None | Some("") => None,
                    value => Some(parse_size(value).ok_or_else(malformed)?),
                };
                declared_size.replace(size).is_some()
            }
            "BODY" => match value.ok_or_else(malformed)?.to_ascii_uppercase().as_str() {
                "7BIT" => body.replace(BodyType::SevenBit).is_some(),
                "8BITMIME" => body.replace(BodyType::EightBitMime).is_some(),
                "BINARYMIME" => body.replace(BodyType::BinaryMime).is_some(),
                _ => return Err(unsupported(Verb::Mail, text)),
            },
            // RFC 4954 section 5: a value that is not believed counts as `<>`. One that cannot be
            // read is not believed either.
            "AUTH" => {
                let claimed = value.and_then(auth::submitter).unwrap_or(ReversePath::Null);
                submitter.replace(claimed).is_some()
            }
            "RET" => {
                let ret = value.and_then(Ret::parse).ok_or_else(malformed)?;
                dsn.ret.replace(ret).is_some()
            }
            "ENVID" => {
                let id = value.and_then(EnvelopeId::parse).ok_or_else(malformed)?;
                dsn.envelope_id.replace(id).is_some()
            }
            "SMTPUTF8" if value.is_some() => return Err(malformed()),
            "SMTPUTF8" => smtputf8.replace(()).is_some(),
            _ if !is_keyword(keyword) => return Err(malformed()),
            _ => return Err(unsupported(Verb::Mail, keyword)),
        };
        if repeated {
            return Err(malformed());
        }
    }
    let declared_size = declared_size.flatten();
    Ok(Mail { sender, declared_size, body, smtputf8: smtputf8.is_some(), dsn, submitter })
}

pub(super) fn parse_rcpt(argument: &str) -> Result<Addressee, CommandError> {
    let (path, parameters) = parse_path(argument, "TO", Verb::Rcpt)?;
    let path = ForwardPath::parse(&path).map_err(CommandError::Recipient)?;
    let mut dsn = RcptDsn::default();
    for Parameter { keyword, value, .. } in split_parameters(parameters) {
        let malformed =
            || CommandError::Parameter { verb: Verb::Rcpt, keyword: keyword.to_owned() };
        let repeated = match keyword.to_ascii_uppercase().as_str() {
            "NOTIFY" => {
                let notify = value.and_then(Notify::parse).ok_or_else(malformed)?;
                dsn.notify.replace(notify).is_some()
            }
            "ORCPT" => {
                let original = value.and_then(OriginalRecipient::parse).ok_or_else(malformed)?;
                dsn.original.replace(original).is_some()
            }
            _ if !is_keyword(keyword) => return Err(malformed()),
            _ => return Err(unsupported(Verb::Rcpt, keyword)),
        };
        if repeated {
            return Err(malformed());
        }
    }
    Ok(Addressee { path, dsn })
}

/// One parameter of MAIL or RCPT.
struct Parameter<'line> {
    text: &'line str,
    keyword: &'line str,
    value: Option<&'line str>,
}

fn split_parameters(text: &str) -> impl Iterator<Item = Parameter<'_>> {
    text.split(BLANKS).filter(|text| !text.is_empty()).map(|text| match text.split_once('=') {
        Some((keyword, value)) => Parameter { text, keyword, value: Some(value) },
        None => Parameter { text, keyword: text, value: None },
    })
}

/// The path after `FROM:` or `TO:`, with brackets, and the parameters.
///
/// RFC 5321 section 3.3 allows no blank after the colon and requires the brackets. Printers, RAID
/// controllers and power supplies write it differently. The end of the path is certain
/// nevertheless: it is at its `>`, or without brackets at the first blank outside quotes. The null
/// path always needs brackets, so that a client that forgot the address does not send it. Devices
/// whose sender was configured as `Name <address>` also send the name, which is ignored.
fn parse_path<'line>(
    argument: &'line str,
    keyword: &str,
    verb: Verb,
) -> Result<(Cow<'line, str>, &'line str), CommandError> {
    let after = match argument.split_at_checked(keyword.len()) {
        Some((start, after)) if start.eq_ignore_ascii_case(keyword) => after,
        _ => return Err(CommandError::Arguments { verb }),
    };
    let path = after
        .trim_start_matches(BLANKS)
        .strip_prefix(':')
        .ok_or(CommandError::Arguments { verb })?
        .trim_start_matches(BLANKS);
    let path = if verb == Verb::Mail { without_name(path) } else { path };
    let split = match path.starts_with('<') {
        true => split_path(path).map(|(path, rest)| (Cow::Borrowed(path), rest)),
        false => split_bare_path(path).map(|(path, rest)| (Cow::Owned(format!("<{path}>")), rest)),
    };
    match split {
        Some((path, rest)) if rest.is_empty() || rest.starts_with(BLANKS) => Ok((path, rest)),
        // Missing, or not closed, or followed by more than parameters.
        _ if verb == Verb::Mail => Err(CommandError::Sender(AddressError::NotBracketed)),
        _ => Err(CommandError::Recipient(AddressError::NotBracketed)),
    }
}

/// A path without the name before it and the blank between them. The name must contain nothing that
/// could be an address, a path or a parameter, in quotes or not, and a null path has none.
fn without_name(path: &str) -> &str {
    let Some((name, inside)) = path.split_once('<') else { return path };
    let is_odd = |it: char| matches!(it, '@' | '>' | '=' | '\\') || it.is_control() && it != '\t';
    let is_name = name.ends_with(BLANKS) && !name.contains(is_odd);
    let has_address = !inside.trim_start_matches(BLANKS).starts_with('>');
    if is_name && has_address && name.matches('"').count().is_multiple_of(2) {
        &path[name.len()..]
    } else {
        path
    }
}

fn unsupported(verb: Verb, parameter: &str) -> CommandError {
    CommandError::UnsupportedParameter { verb, parameter: parameter.to_owned() }
}

/// `esmtp-keyword` of RFC 5321 section 4.1.2.
fn is_keyword(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}
