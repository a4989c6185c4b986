//! Command lines. An input is a client's octets, cuts included.

use std::net::IpAddr;

use bytes::BytesMut;
use relay_mail::dsn::Addressee;
use relay_mail::envelope::BodyType;
use relay_mail::limits::PATH_OCTETS;
use relay_mail::path::ReversePath;
use relay_smtp::command::{Chunk, Command, CommandError};
use relay_smtp::limits::AUTH_LINE_OCTETS;
use relay_smtp::line::{LineError, LineReader};

use super::pieces::{pieces, whole};

/// See the module.
pub fn check(input: &[u8]) {
    let lines = lines(pieces(input));
    assert_eq!(
        lines,
        self::lines([&whole(input)[..]].into_iter()),
        "cuts do not change the result"
    );
    assert_eq!(lines, self::lines(whole(input).chunks(1)), "cuts do not change the result");
    lines.iter().flatten().for_each(|line| check_line(line));
}

fn lines<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<Vec<u8>, LineError>> {
    let mut reader = LineReader::default();
    let mut buffer = BytesMut::new();
    let mut lines = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while let Some(line) = reader.next_line(&mut buffer, false) {
            lines.push(line.map(|line| line.to_vec()));
        }
        assert!(buffer.len() < AUTH_LINE_OCTETS, "an endless line is not buffered");
    }
    lines
}

fn check_line(line: &[u8]) {
    assert!(!line.iter().any(|octet| b"\r\n\0".contains(octet)));
    match Command::parse(line) {
        Err(error) => check_error(&error),
        Ok(command) => {
            let verb = command.verb().name();
            let line = line.trim_ascii_start();
            assert!(line[..verb.len()].eq_ignore_ascii_case(verb.as_bytes()));
            let Some(written) = written(&command) else { return };
            let most = match &command {
                Command::Auth(_) => AUTH_LINE_OCTETS,
                _ => verb.len() + PATH_OCTETS + 900,
            };
            assert!(written.len() <= most, "{written}");
            assert_eq!(Command::parse(written.as_bytes()), Ok(command), "{written}");
        }
    }
}

fn check_error(error: &CommandError) {
    assert!((500..600).contains(&error.reply().code));
    assert!(!error.verb().name().is_empty());
    // The text for an administrator.
    assert!(!error.to_string().is_empty());
}

/// The command in the form in which the standard writes it.
fn written(command: &Command) -> Option<String> {
    let verb = command.verb().name();
    Some(match command {
        Command::Helo(name) | Command::Ehlo(name) => format!("{verb} {name}"),
        Command::Auth(auth) => {
            let initial = auth.initial.as_ref().map(|message| match message.0.is_empty() {
                true => " =".to_owned(),
                false => format!(" {}", message.encoded()),
            });
            format!("{verb} {}{}", auth.mechanism, initial.unwrap_or_default())
        }
        Command::Mail(mail) => {
            let mut line = format!("{verb} FROM:<{}>", mail.sender);
            match mail.body {
                None => {}
                Some(BodyType::SevenBit) => line.push_str(" BODY=7BIT"),
                Some(BodyType::BinaryMime) => line.push_str(" BODY=BINARYMIME"),
                Some(BodyType::EightBitMime) => line.push_str(" BODY=8BITMIME"),
            }
            if let Some(size) = mail.declared_size {
                line.push_str(&format!(" SIZE={size}"));
            }
            if mail.smtputf8 {
                line.push_str(" SMTPUTF8");
            }
            line.push_str(&mail.dsn.to_string());
            match &mail.submitter {
                None => {}
                Some(ReversePath::Null) => line.push_str(" AUTH=<>"),
                Some(path) => {
                    // xtext, each octet by its number.
                    let octets = path.to_string().into_bytes().into_iter();
                    let text: String = octets.map(|octet| format!("+{octet:02X}")).collect();
                    line.push_str(&format!(" AUTH={text}"));
                }
            }
            line
        }
        Command::Rcpt(Addressee { path, dsn }) => format!("{verb} TO:<{path}>{dsn}"),
        Command::Bdat(Chunk { octets, last: false }) => format!("{verb} {octets}"),
        Command::Bdat(Chunk { octets, last: true }) => format!("{verb} {octets} LAST"),
        // One of several valid forms; the check only needs that it parses without a panic.
        Command::XClient(told) => match (told.address, told.hello.as_ref()) {
            (Some(IpAddr::V4(address)), None) if told.port.is_none() => {
                format!("{verb} ADDR={address}")
            }
            _ => return None,
        },
        Command::Vrfy => format!("{verb} user"),
        _ => verb.to_owned(),
    })
}
