//! Parses one command line into a [`Command`], or into an error that has one reply.
//!
//! This module reads verb, path and parameters. The session decides whether the command is legal
//! now, and `policy` whether it is allowed.

mod auth;
mod verb;
mod xclient;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use relay_mail::dsn::{Addressee, EnvelopeId, MailDsn, Notify, OriginalRecipient, RcptDsn, Ret};
use relay_mail::envelope::BodyType;
use relay_mail::heap::HeapOctets;
use relay_mail::path::{AddressError, ForwardPath, ReversePath, split_bare_path, split_path};
use relay_mail::reply::{self, Reply};

pub use crate::command::auth::{AuthCommand, Response, SaslMessage};
pub use crate::command::verb::Verb;
pub use crate::command::xclient::XClient;
use relay_mail::hello::HelloName;

/// A command of RFC 5321 section 4.1.1 or of an extension that we offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// HELO and the client's name.
    Helo(HelloName),
    /// EHLO and the client's name.
    Ehlo(HelloName),
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth(AuthCommand),
    /// A line of the exchange that AUTH began. [`Command::parse`] never returns it.
    Response(Response),
    /// MAIL FROM and its parameters.
    Mail(Mail),
    /// RCPT TO and its parameters.
    Rcpt(Addressee),
    /// DATA.
    Data,
    /// BDAT (RFC 3030).
    Bdat(Chunk),
    /// RSET.
    Rset,
    /// NOOP, with any argument.
    Noop,
    /// VRFY. We never tell which recipients exist, so the argument is not kept.
    Vrfy,
    /// HELP, with any argument.
    Help,
    /// QUIT, with any argument.
    Quit,
    /// XCLIENT of Postfix.
    XClient(XClient),
}

/// The separators between the words of a command.
const BLANKS: [char; 2] = [' ', '\t'];

/// The arguments of BDAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Octets that follow the command line.
    pub octets: u64,
    /// They are the last of the message.
    pub last: bool,
}

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

/// Why a line is no command of ours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// An argument after a command without arguments, or none after one that needs it.
    #[error("{verb} has the wrong arguments")]
    Arguments {
        /// The verb.
        verb: Verb,
    },
    /// BDAT without a valid size: the end of its octets is not known.
    #[error("BDAT has no valid size")]
    ChunkSize,
    /// A message of an AUTH exchange that is not in base64.
    #[error("the response is not in base64")]
    Base64,
    /// A message of an AUTH exchange that is invalid for its mechanism.
    #[error("{0}")]
    Sasl(&'static str),
    /// The line is not UTF-8.
    #[error("the line is not UTF-8")]
    NotUtf8,
    /// A parameter with a malformed or repeated keyword, or a malformed value.
    #[error("the parameter {keyword} is malformed or repeated")]
    Parameter {
        /// The verb.
        verb: Verb,
        /// The parameter's keyword.
        keyword: String,
    },
    /// RCPT with a malformed path.
    #[error("the recipient is invalid: {0}")]
    Recipient(AddressError),
    /// MAIL with a malformed path.
    #[error("the sender is invalid: {0}")]
    Sender(AddressError),
    /// A parameter, or a value of one, that we do not offer.
    #[error("the parameter {parameter} is not supported")]
    UnsupportedParameter {
        /// The verb.
        verb: Verb,
        /// The keyword, with its value if the value is not supported.
        parameter: String,
    },
    /// A verb that we do not know.
    #[error("the verb is not known")]
    Verb,
}

impl CommandError {
    /// The verb at the beginning of the line, for logs; `?` if it is not known.
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Arguments { verb } => *verb,
            Self::Base64 | Self::Sasl(_) => Verb::Auth,
            Self::ChunkSize => Verb::Bdat,
            Self::NotUtf8 | Self::Verb => Verb::Unknown,
            Self::Sender(_) => Verb::Mail,
            Self::Recipient(_) => Verb::Rcpt,
            Self::Parameter { verb, .. } | Self::UnsupportedParameter { verb, .. } => *verb,
        }
    }

    /// The reply to the client.
    pub fn reply(&self) -> Reply {
        match self {
            Self::Arguments { .. } | Self::ChunkSize | Self::Parameter { .. } => {
                reply::INVALID_ARGUMENTS
            }
            Self::Base64 | Self::Sasl(_) => reply::INVALID_RESPONSE,
            Self::NotUtf8 => reply::INVALID_CHARACTER,
            Self::Recipient(_) => reply::INVALID_RECIPIENT,
            Self::Sender(_) => reply::INVALID_SENDER,
            Self::UnsupportedParameter { .. } => reply::UNSUPPORTED_PARAMETER,
            Self::Verb => reply::UNRECOGNIZED_COMMAND,
        }
    }
}

impl Command {
    /// Parses one line without its CRLF.
    ///
    /// A run of blanks and tabs separates words, and may be at both ends. BDAT is the exception,
    /// see [`parse_chunk`].
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        let text = String::from_utf8_lossy(line);
        let is_utf8 = matches!(text, Cow::Borrowed(_));
        let line = text.trim_end_matches(BLANKS);
        let (verb, argument) = split_word(line.trim_start_matches(BLANKS));
        let verb = Verb::of_word(verb);
        // Nothing depends on the argument of these.
        let is_unread = matches!(
            verb,
            Verb::Ehlo | Verb::Helo | Verb::Help | Verb::Noop | Verb::Quit | Verb::Vrfy
        );
        if !is_utf8 && !is_unread {
            return Err(CommandError::NotUtf8);
        }
        let alone = |command| match argument {
            "" => Ok(command),
            _ => Err(CommandError::Arguments { verb }),
        };
        match verb {
            Verb::Helo => Ok(Self::Helo(HelloName::read(argument))),
            Verb::Ehlo => Ok(Self::Ehlo(HelloName::read(argument))),
            Verb::StartTls => alone(Self::StartTls),
            Verb::Auth => AuthCommand::parse(argument).map(Self::Auth),
            Verb::Mail => parse_mail(argument).map(Self::Mail),
            Verb::Rcpt => parse_rcpt(argument).map(Self::Rcpt),
            Verb::Data => alone(Self::Data),
            Verb::Bdat => parse_chunk(line).map(Self::Bdat).ok_or(CommandError::ChunkSize),
            Verb::Rset => alone(Self::Rset),
            Verb::Noop => Ok(Self::Noop),
            Verb::Vrfy if argument.is_empty() => Err(CommandError::Arguments { verb }),
            Verb::Vrfy => Ok(Self::Vrfy),
            Verb::Help => Ok(Self::Help),
            Verb::Quit => Ok(Self::Quit),
            Verb::XClient => XClient::parse(argument).map(Self::XClient),
            Verb::Connect | Verb::EndOfData | Verb::Unknown => Err(CommandError::Verb),
        }
    }

    /// Its verb.
    pub const fn verb(&self) -> Verb {
        match self {
            Self::Helo(_) => Verb::Helo,
            Self::Ehlo(_) => Verb::Ehlo,
            Self::StartTls => Verb::StartTls,
            Self::Auth(_) | Self::Response(_) => Verb::Auth,
            Self::Mail(_) => Verb::Mail,
            Self::Rcpt(_) => Verb::Rcpt,
            Self::Data => Verb::Data,
            Self::Bdat(_) => Verb::Bdat,
            Self::Rset => Verb::Rset,
            Self::Noop => Verb::Noop,
            Self::Vrfy => Verb::Vrfy,
            Self::Help => Verb::Help,
            Self::Quit => Verb::Quit,
            Self::XClient(_) => Verb::XClient,
        }
    }
}

fn parse_mail(argument: &str) -> Result<Mail, CommandError> {
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
            // RFC 4954 section 5: a value that is not trusted counts as `<>`, and so does one that
            // cannot be parsed.
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

fn parse_rcpt(argument: &str) -> Result<Addressee, CommandError> {
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

/// The first word, and the text after the blanks that follow it.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(BLANKS) {
        Some((word, rest)) => (word, rest.trim_start_matches(BLANKS)),
        None => (text, ""),
    }
}

/// `Verb::Bdat SP chunk-size [ SP end-marker ]` of RFC 3030 section 2, with exactly one space each
/// and nothing before the verb: if two servers read the size differently, one of them reads content
/// as commands.
fn parse_chunk(line: &str) -> Option<Chunk> {
    let (_, argument) = line.split_at_checked(Verb::Bdat.name().len())?;
    let argument = argument.strip_prefix(' ')?;
    let (size, last) = match argument.split_once(' ') {
        None => (argument, false),
        Some((size, marker)) if marker.eq_ignore_ascii_case("LAST") => (size, true),
        Some(_) => return None,
    };
    parse_size(Some(size)).map(|octets| Chunk { octets, last })
}

/// `size-value` of RFC 1870 section 4: up to 20 digits; a value beyond 64 bits is an error, never
/// another number.
fn parse_size(value: Option<&str>) -> Option<u64> {
    let digits = value.filter(|value| value.bytes().all(|octet| octet.is_ascii_digit()))?;
    digits.parse().ok().filter(|_| digits.len() <= 20)
}

fn unsupported(verb: Verb, parameter: &str) -> CommandError {
    CommandError::UnsupportedParameter { verb, parameter: parameter.to_owned() }
}

/// `esmtp-keyword` of RFC 5321 section 4.1.2.
fn is_keyword(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-')
}
