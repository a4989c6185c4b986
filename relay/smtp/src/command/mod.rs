//! Parses one command line into a [`Command`], or into an error that has one reply.
//!
//! This module reads verb, path and parameters. The session decides whether the command is legal
//! now, and `policy` whether it is allowed.

mod auth;
mod chunk;
mod error;
mod mail;
mod verb;
mod xclient;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use relay_mail::dsn::Addressee;
use relay_mail::hello::HelloName;

pub use crate::command::auth::{AuthCommand, Response, SaslMessage};
pub use crate::command::chunk::{Chunk, begins_chunk};
pub use crate::command::error::CommandError;
pub use crate::command::mail::Mail;
pub use crate::command::verb::Verb;
pub use crate::command::xclient::XClient;

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

impl Command {
    /// Parses one line without its CRLF.
    ///
    /// A run of blanks and tabs separates words, and may be at both ends. BDAT is the exception: only
    /// its end may have them, see [`Chunk::parse`].
    ///
    /// ```
    /// use relay_smtp::command::{Command, CommandError};
    ///
    /// // The printers of docs/tolerance.md write a blank after the colon, and no brackets.
    /// let Ok(Command::Mail(mail)) = Command::parse(b"mail from: a@b.example SIZE=1000") else {
    ///     panic!("it is a MAIL command")
    /// };
    /// assert_eq!((mail.sender.to_string(), mail.declared_size), ("a@b.example".to_owned(), Some(1000)));
    /// // The end of a chunk is never guessed.
    /// assert_eq!(Command::parse(b"BDAT  1000"), Err(CommandError::ChunkSize));
    /// ```
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
        let is_readable = is_utf8 || is_unread;
        if !is_readable && !begins_chunk(line.as_bytes()) {
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
            Verb::Mail => mail::parse_mail(argument).map(Self::Mail),
            Verb::Rcpt => mail::parse_rcpt(argument).map(Self::Rcpt),
            Verb::Data => alone(Self::Data),
            Verb::Bdat => Chunk::parse(line).map(Self::Bdat).ok_or(CommandError::ChunkSize),
            Verb::Rset => alone(Self::Rset),
            Verb::Noop => Ok(Self::Noop),
            Verb::Vrfy if argument.is_empty() => Err(CommandError::Arguments { verb }),
            Verb::Vrfy => Ok(Self::Vrfy),
            Verb::Help => Ok(Self::Help),
            Verb::Quit => Ok(Self::Quit),
            Verb::XClient => XClient::parse(argument).map(Self::XClient),
            // A client that writes it without a blank sends the octets of a chunk next.
            Verb::Unknown if begins_chunk(line.as_bytes()) => Err(CommandError::ChunkSize),
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

/// The first word, and the text after the blanks that follow it.
pub(super) fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(BLANKS) {
        Some((word, rest)) => (word, rest.trim_start_matches(BLANKS)),
        None => (text, ""),
    }
}
