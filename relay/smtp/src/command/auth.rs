//! AUTH and the lines of its exchange (RFC 4954 section 4): base64 on the wire, octets within.

use std::fmt;

use crate::command::{CommandError, Verb, split_word};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use relay_mail::dsn::decode_xtext;
use relay_mail::path::ReversePath;

/// The argument of AUTH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthCommand {
    /// The mechanism's name, as the client wrote it.
    pub mechanism: String,
    /// The initial response, if there is one. Empty if the client wrote `=`.
    pub initial: Option<SaslMessage>,
}

/// A message of an exchange. It may contain a password, so no log shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct SaslMessage(pub Vec<u8>);

/// A line of the client in an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// `*`: the client gives up.
    Cancel,
    /// The next message.
    Message(SaslMessage),
}

impl AuthCommand {
    pub(super) fn parse(argument: &str) -> Result<Self, CommandError> {
        let (mechanism, initial) = split_word(argument);
        // RFC 4422 section 3.1, without regard to case.
        let is_name = (1..=20).contains(&mechanism.len())
            && mechanism
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'));
        if !is_name {
            return Err(CommandError::Arguments { verb: Verb::Auth });
        }
        let initial = match initial {
            "" => None,
            // Only here: an empty response later on is an empty line.
            "=" => Some(SaslMessage(Vec::new())),
            text => Some(decode(text.as_bytes())?),
        };
        Ok(Self { mechanism: mechanism.to_owned(), initial })
    }
}

impl Response {
    /// Reads one line without its CRLF. Blanks around the message are ignored.
    pub fn parse(line: &[u8]) -> Result<Self, CommandError> {
        match line.trim_ascii() {
            b"*" => Ok(Self::Cancel),
            line => decode(line).map(Self::Message),
        }
    }
}

/// The value of AUTH= on MAIL: `<>`, or an address in xtext (RFC 4954 section 5).
pub(super) fn submitter(value: &str) -> Option<ReversePath> {
    if value == "<>" {
        return Some(ReversePath::Null);
    }
    let address = decode_xtext(value).filter(|address| !address.is_empty())?;
    ReversePath::parse(&format!("<{address}>")).ok()
}

impl SaslMessage {
    /// The message in base64, as it is sent.
    pub fn encoded(&self) -> String {
        STANDARD.encode(&self.0)
    }
}

fn decode(text: &[u8]) -> Result<SaslMessage, CommandError> {
    STANDARD.decode(text).map(SaslMessage).map_err(|_| CommandError::Base64)
}

impl fmt::Debug for SaslMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SaslMessage({} octets)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use crate::command::Command;
    use crate::command::auth::*;

    fn auth(line: &str) -> Result<(String, Option<Vec<u8>>), CommandError> {
        match Command::parse(line.as_bytes())? {
            Command::Auth(auth) => Ok((auth.mechanism, auth.initial.map(|message| message.0))),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn arguments_of_auth() {
        assert_eq!(auth("auth Plain"), Ok(("Plain".to_owned(), None)));
        assert_eq!(auth("AUTH PLAIN ="), Ok(("PLAIN".to_owned(), Some(vec![]))));
        assert_eq!(auth("AUTH PLAIN AGEAYg=="), Ok(("PLAIN".to_owned(), Some(b"\0a\0b".to_vec()))));
        assert_eq!(auth("AUTH  PLAIN\tAGEAYg== "), auth("AUTH PLAIN AGEAYg=="));
        for line in ["AUTH", "AUTH ", "AUTH =PLAIN", "AUTH aaaaaaaaaaaaaaaaaaaaa"] {
            assert_eq!(auth(line), Err(CommandError::Arguments { verb: Verb::Auth }), "{line}");
        }
        for initial in ["*", "==", "AGEAYg", "AGEAYg= =", "AGEA YgA=", "AGEAYh==", "\u{e9}"] {
            assert_eq!(auth(&format!("AUTH PLAIN {initial}")), Err(CommandError::Base64));
        }
    }

    #[test]
    fn submitters() {
        let read = |value| submitter(value).map(|path| path.to_string());
        assert_eq!(read("<>").as_deref(), Some(""));
        assert_eq!(read("a@b.example").as_deref(), Some("a@b.example"));
        assert_eq!(read("e+3Dmc2@b.example").as_deref(), Some("e=mc2@b.example"));
        for value in
            ["", "a", "<a@b.example>", "a+3d@b.example", "a=b@c.example", "+0D+0A", "+3C+3E"]
        {
            assert_eq!(read(value), None, "{value}");
        }
    }

    #[test]
    fn lines_of_an_exchange() {
        assert_eq!(Response::parse(b"*"), Ok(Response::Cancel));
        assert_eq!(Response::parse(b""), Ok(Response::Message(SaslMessage(vec![]))));
        assert_eq!(
            Response::parse(b"AGEAYg=="),
            Ok(Response::Message(SaslMessage(b"\0a\0b".to_vec())))
        );
        for line in [&b" AGEAYg==\t"[..], b"AGEAYg== "] {
            assert_eq!(Response::parse(line), Response::parse(b"AGEAYg=="));
        }
        assert_eq!(Response::parse(b"* "), Ok(Response::Cancel));
        assert_eq!(Response::parse(b" "), Response::parse(b""));
        for line in [&b"="[..], b"**", b"AGEA Yg==", b"AGEAYg==AA==", b"\xff"] {
            assert_eq!(Response::parse(line), Err(CommandError::Base64));
        }
        assert_eq!(format!("{:?}", SaslMessage(b"secret".to_vec())), "SaslMessage(6 octets)");
    }
}
