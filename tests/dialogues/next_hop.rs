//! The messages of a dialogue at the next hop: the sending side sends each stored message to next
//! hops with different line ends.
//!
//! At the strict hop a message must arrive octet by octet as it was stored. At every hop it must
//! arrive as one message with one envelope. If a hop sees two messages, or a command inside one,
//! smuggling was possible.

use std::time::Instant;

use relay_mail::envelope::{BodyType, Envelope};
use relay_smtp::client::{ClientEvent, ClientOpening, ClientSession, Timeouts, Transaction};

/// The line ends that a hop accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Crlf,
    CrlfOrLf,
    CrlfOrLfOrCr,
}

struct Hop {
    line_end: LineEnd,
    unread: Vec<u8>,
    message: Option<Vec<u8>>,
    messages: Vec<Vec<u8>>,
    commands: Vec<String>,
}

/// Sends each message to every kind of hop.
pub fn check(kept: &[(Envelope, Vec<u8>)]) -> Result<(), String> {
    for (envelope, message) in kept {
        for line_end in [LineEnd::Crlf, LineEnd::CrlfOrLf, LineEnd::CrlfOrLfOrCr] {
            for piece in [1, message.len().max(1)] {
                let hop = send(envelope, message, line_end, piece);
                compare(&hop, envelope, message).map_err(|problem| {
                    format!("next hop with {line_end:?}, pieces of {piece}: {problem}")
                })?;
            }
        }
    }
    Ok(())
}

fn compare(hop: &Hop, envelope: &Envelope, message: &[u8]) -> Result<(), String> {
    if !is_safe(message) {
        return match hop.messages.len() {
            0 => Ok(()),
            _ => Err("a message with a bare CR, LF or NUL was sent".to_owned()),
        };
    }
    let mail = format!("MAIL FROM:<{}>", envelope.sender);
    let mut expected = vec!["EHLO".to_owned(), mail];
    let recipients = envelope.recipients.iter();
    expected.extend(recipients.map(|recipient| format!("RCPT TO:<{recipient}>")));
    expected.extend(["DATA".to_owned(), "QUIT".to_owned()]);
    let fits = |(said, expected): (&String, &String)| {
        said == expected
            || (said.starts_with(expected.as_str()) && said[expected.len()..].starts_with(' '))
    };
    let all_fit = hop.commands.iter().zip(&expected).all(fits);
    if hop.commands.len() != expected.len() || !all_fit {
        return Err(format!("the hop got {:?}, not {expected:?}", hop.commands));
    }
    let mut whole = message.to_vec();
    if !whole.is_empty() && !whole.ends_with(b"\r\n") {
        whole.extend_from_slice(b"\r\n");
    }
    match (&hop.messages[..], hop.line_end) {
        ([got], LineEnd::Crlf) if *got != whole => {
            Err(format!("it got `{}`, and `{}` was kept", got.escape_ascii(), whole.escape_ascii()))
        }
        ([_], _) => Ok(()),
        (messages, _) => Err(format!("it got {} messages", messages.len())),
    }
}

/// May the message be sent by DATA?
fn is_safe(message: &[u8]) -> bool {
    let (mut crs, mut lfs, mut pairs) = (0, 0, 0);
    for (at, octet) in message.iter().enumerate() {
        match octet {
            b'\r' => crs += 1,
            b'\n' => lfs += 1,
            0 => return false,
            _ => {}
        }
        pairs += usize::from(message[at..].starts_with(b"\r\n"));
    }
    crs == pairs && lfs == pairs
}

fn send(envelope: &Envelope, message: &[u8], line_end: LineEnd, piece: usize) -> Hop {
    let mut hop = Hop {
        line_end,
        unread: Vec::new(),
        message: None,
        messages: Vec::new(),
        commands: Vec::new(),
    };
    let now = Instant::now();
    let mut session = ClientSession::new(
        "hop:25",
        ClientOpening::plain_text("relay.example"),
        Timeouts::default(),
        now,
    );
    session.handle_bytes(b"220 hop\r\n", now);
    let mut begun = false;
    loop {
        while let Some(octets) = session.poll_output() {
            session.handle_written();
            let replies = hop.take(&octets);
            session.handle_bytes(&replies, now);
            session.accept_result();
        }
        match session.poll_event() {
            Some(ClientEvent::Ready) if begun => session.quit(now),
            Some(ClientEvent::Ready) => {
                begun = true;
                session.begin(transaction(envelope, message), now);
            }
            Some(ClientEvent::SendMessage) => {
                for piece in message.chunks(piece) {
                    session.send_message(piece, now);
                    // A reply before the end would be a reply to something that is not an end.
                    let replies = session.poll_output().map(|octets| hop.take(&octets));
                    session.handle_written();
                    session.handle_bytes(&replies.unwrap_or_default(), now);
                }
                session.end_message(now);
            }
            Some(ClientEvent::StartTls) => panic!("no TLS was requested"),
            Some(ClientEvent::Done(_)) => {}
            Some(ClientEvent::Closed(_)) => return hop,
            None if session.is_closed() => return hop,
            None => assert!(session.deadline().is_some(), "a waiting session has a deadline"),
        }
    }
}

fn transaction(envelope: &Envelope, message: &[u8]) -> Transaction {
    Transaction {
        sender: envelope.sender.clone(),
        dsn: envelope.dsn.clone(),
        recipients: envelope.recipients.clone(),
        size: message.len() as u64,
        unterminated: !message.is_empty() && !message.ends_with(b"\r\n"),
        eight_bit: !message.is_ascii(),
        binary: envelope.body == BodyType::BinaryMime && !is_safe(message),
        smtputf8: envelope.smtputf8,
    }
}

impl Hop {
    /// Reads octets and returns the hop's replies.
    fn take(&mut self, octets: &[u8]) -> Vec<u8> {
        self.unread.extend_from_slice(octets);
        let mut replies = Vec::new();
        while let Some(line) = self.line() {
            let reply = match &mut self.message {
                Some(_) if line == b"." => {
                    self.messages.extend(self.message.take());
                    "250 taken"
                }
                Some(message) => {
                    message.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
                    message.extend_from_slice(b"\r\n");
                    continue;
                }
                None => self.command(&line),
            };
            replies.extend_from_slice(reply.as_bytes());
            replies.extend_from_slice(b"\r\n");
        }
        replies
    }

    fn command(&mut self, line: &[u8]) -> &'static str {
        let line = String::from_utf8_lossy(line).into_owned();
        let reply = match line.split(' ').next().unwrap_or_default() {
            "EHLO" => "250-hop\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE",
            "MAIL" | "RCPT" => "250 fine",
            "DATA" => {
                self.message = Some(Vec::new());
                "354 go on"
            }
            "QUIT" => "221 bye",
            _ => "500 what?",
        };
        self.commands.push(line);
        reply
    }

    /// The next complete line, without its end.
    fn line(&mut self) -> Option<Vec<u8>> {
        let unread = &self.unread;
        let is_end = |at: usize| match (unread[at], unread.get(at + 1)) {
            (b'\r', Some(b'\n')) => Some(2),
            (b'\n', _) if self.line_end != LineEnd::Crlf => Some(1),
            // A CR at the very end may be the first half of CRLF.
            (b'\r', Some(_)) if self.line_end == LineEnd::CrlfOrLfOrCr => Some(1),
            _ => None,
        };
        let (at, length) = (0..unread.len()).find_map(|at| Some((at, is_end(at)?)))?;
        let line = self.unread[..at].to_vec();
        self.unread.drain(..at + length);
        Some(line)
    }
}
