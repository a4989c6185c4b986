//! A message is sent on as it was received: a whole session accepts it, the outbound firewall and
//! the client send it on, and the next hop's copy is compared with the original.
//!
//! The first octet of an input selects the connector, DATA or BDAT, and BODY; the second the
//! extensions of the next hop; the third the cuts of the message on both sides. The rest is the
//! message. Refused messages are not checked; messages with a 250 are compared completely.

use relay_connector::Connection;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;
use relay_mail::envelope::Envelope;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::{BeginError, StoreError};
use relay_message::changes::Changes;
use relay_message::outbound::{Audience, OutboundFirewall};
use relay_policy::Peer;
use relay_server::limits::READ_OCTETS;
use relay_session::player::{Player, World};
use relay_session::{Action, MessageBegun, Session};
use relay_smtp::client::{
    ClientEvent, ClientOpening, ClientSession as Client, Timeouts, Transaction,
};

use super::expected::{Allowed, compare};
use super::session::rules;

/// The bits of the first octet.
const TRUSTED: u8 = 1;
const BDAT: u8 = 2;
const BINARY: u8 = 4;
/// The bits of the second octet.
const CHUNKING: u8 = 1;
const BINARYMIME: u8 = 2;
const EIGHT_BIT: u8 = 4;
const INTERNAL: u8 = 8;

/// The message that the session stored.
struct Kept {
    envelope: Envelope,
    octets: Vec<u8>,
    changes: Changes,
}

/// See the module.
pub fn check(input: &[u8]) {
    let [settings, hop, cut, message @ ..] = input else { return };
    let cut = usize::from(*cut).max(1);
    let mut came = message.to_vec();
    if settings & BDAT == 0 && !came.is_empty() && !came.ends_with(b"\r\n") {
        came.extend_from_slice(b"\r\n");
    }
    let Some(kept) = take(*settings, cut, &came) else { return };
    let is_internal = hop & INTERNAL != 0;
    let Some(Arrived { message: arrived, declared, by_data }) = send(&kept, *settings, *hop, cut)
    else {
        return;
    };
    if by_data && !kept.octets.ends_with(b"\r\n") {
        came.extend_from_slice(b"\r\n");
    }
    assert_eq!(declared, arrived.len() as u64, "SIZE is the size of the sent message");
    let mut left = &arrived[..];
    assert!(left.starts_with(b"Received: from "));
    left = &left[field_end(left)..];
    if is_internal && left.starts_with(STAMP) {
        // AuthSource, AuthAs and AuthMechanism.
        for _ in 0..3 {
            left = &left[field_end(left)..];
        }
    }
    let allowed = match compare(&came, left) {
        Ok(allowed) => allowed,
        Err(difference) => panic!("{difference}"),
    };
    check_record(&kept.changes, &allowed, is_internal);
}

/// The beginning of a session's stamp. No input of the corpora begins with it.
const STAMP: &[u8] = b"X-MS-Exchange-Organization-AuthSource: relay.example\r\n\
    X-MS-Exchange-Organization-AuthAs: ";

/// The record names every removed or added field, and no other.
fn check_record(changes: &Changes, allowed: &Allowed, is_internal: bool) {
    // Fields that the inbound firewall passes may be removed by the outbound firewall.
    let may_stay = |name: &String| !is_internal && name.starts_with("x-ms-exchange-");
    let texts = changes.texts().join("\n").to_ascii_lowercase();
    let is_named = |name: &String| {
        let line = format!("removed {name}");
        texts.lines().any(|it| it == line || it.starts_with(&format!("{line} (")))
            || texts.contains("further fields")
    };
    let mut missing = allowed.missing.iter().filter(|name| !may_stay(name));
    assert!(missing.all(is_named), "{allowed:?}, {texts}");
    let removed = changes.removed_fields() as usize;
    match is_internal {
        true => assert_eq!(removed, allowed.missing.len(), "{allowed:?}, {texts}"),
        false => assert!(removed <= allowed.missing.len(), "{allowed:?}, {texts}"),
    }
    assert_eq!(texts.contains("mbox line"), allowed.mbox_lines > 0);
    assert_eq!(texts.contains("added an empty line"), allowed.separated);
}

fn field_end(octets: &[u8]) -> usize {
    let is_end = |at: &usize| {
        octets[..*at].ends_with(b"\r\n") && !matches!(octets.get(*at), Some(b' ' | b'\t'))
    };
    (2..=octets.len()).find(is_end).unwrap_or(octets.len())
}

/// The commands and data by which a client submits the message.
fn script(settings: u8, cut: usize, message: &[u8]) -> Vec<u8> {
    let body = match (settings & BDAT, settings & BINARY) {
        (0, _) | (_, 0) => "",
        _ => " BODY=BINARYMIME",
    };
    let mut script = format!(
        "EHLO client.example\r\nMAIL FROM:<a@b.example>{body}\r\nRCPT TO:<c@accepted.example>\r\n"
    )
    .into_bytes();
    if settings & BDAT == 0 {
        script.extend_from_slice(b"DATA\r\n");
        let mut rest = message;
        while !rest.is_empty() {
            let end = rest.windows(2).position(|pair| pair == b"\r\n");
            let (line, after) = rest.split_at(end.map_or(rest.len(), |at| at + 2));
            script.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
            script.extend_from_slice(line);
            rest = after;
        }
        script.extend_from_slice(b".\r\n");
        return script;
    }
    for chunk in message.chunks(cut * 8) {
        script.extend_from_slice(format!("BDAT {}\r\n", chunk.len()).as_bytes());
        script.extend_from_slice(chunk);
    }
    script.extend_from_slice(b"BDAT 0 LAST\r\n");
    script
}

/// Lets a session accept the message. `None`: the session refused it.
fn take(settings: u8, cut: usize, message: &[u8]) -> Option<Kept> {
    let now = Instant::now();
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
    let mut connectors = rules().connectors();
    let (_, connector) = connectors.nth(if settings & TRUSTED != 0 { 2 } else { 0 })?;
    let peer = Peer::new(Arc::clone(connector));
    let session = Session::new(now, Arc::clone(rules()), peer, Connection::accepted(here, here));
    let mut player = Player::new(now, session, Queue::default());
    let script = script(settings, cut, message);
    for piece in script.chunks(if cut.is_multiple_of(2) { cut } else { READ_OCTETS }) {
        if player.session().wants_bytes() {
            player.receive(piece);
        }
        if let Some(kept) = player.world().kept.take() {
            return Some(kept);
        }
    }
    None
}

/// A queue that keeps one message.
#[derive(Default)]
struct Queue {
    begun: Option<(Envelope, Vec<u8>)>,
    changes: Changes,
    kept: Option<Kept>,
}

impl World for Queue {
    fn observe(&mut self, session: &mut Session, action: &Action) {
        if matches!(action, Action::CommitMessage) {
            self.changes = session.take_decisions().changes;
        }
    }

    fn begin_message(&mut self, envelope: Envelope) -> Option<Result<MessageBegun, BeginError>> {
        self.begun = Some((envelope, Vec::new()));
        Some(Ok(MessageBegun { id: QueueId::from_u64(1), at: UNIX_EPOCH }))
    }

    fn write(&mut self, written: Bytes) -> Result<(), StoreError> {
        if let Some((_, octets)) = &mut self.begun {
            octets.extend_from_slice(&written);
        }
        Ok(())
    }

    fn put_in_front(&mut self, fields: Bytes) {
        if let Some((_, octets)) = &mut self.begun {
            octets.splice(0..0, fields);
        }
    }

    fn commit_message(&mut self) -> Option<Result<(), StoreError>> {
        let changes = std::mem::take(&mut self.changes);
        self.kept = self.begun.take().map(|(envelope, octets)| Kept { envelope, octets, changes });
        Some(Ok(()))
    }

    fn abandon_message(&mut self) {
        self.begun = None;
    }
}

/// The message at the next hop.
struct Arrived {
    message: Vec<u8>,
    /// SIZE of MAIL.
    declared: u64,
    by_data: bool,
}

/// Sends the message on. `None` if it may not be sent.
fn send(kept: &Kept, settings: u8, hop: u8, cut: usize) -> Option<Arrived> {
    let pieces = outbound(&kept.octets, hop, cut);
    let is_binary = settings & (BDAT | BINARY) == BDAT | BINARY && !is_text(&kept.octets);
    let transaction = Transaction {
        sender: kept.envelope.sender.clone(),
        dsn: kept.envelope.dsn.clone(),
        recipients: kept.envelope.recipients.clone(),
        size: pieces.iter().map(Bytes::len).sum::<usize>() as u64,
        unterminated: !kept.octets.ends_with(b"\r\n"),
        eight_bit: !kept.octets.is_ascii(),
        binary: is_binary,
        smtputf8: false,
    };
    let now = Instant::now();
    let mut client =
        Client::new("hop:25", ClientOpening::plain_text("relay.example"), Timeouts::default(), now);
    let mut next = Hop { offers: hop, ..Hop::default() };
    client.handle_bytes(b"220 hop\r\n", now);
    let mut transaction = Some(transaction);
    loop {
        while let Some(octets) = client.poll_output() {
            client.handle_written();
            let replies = next.take(&octets);
            client.handle_bytes(&replies, now);
            client.accept_result();
        }
        match client.poll_event() {
            Some(ClientEvent::Ready) => match transaction.take() {
                Some(transaction) => client.begin(transaction, now),
                None => client.quit(now),
            },
            Some(ClientEvent::SendMessage) => {
                for piece in &pieces {
                    client.send_message(piece, now);
                    while let Some(octets) = client.poll_output() {
                        client.handle_written();
                        let replies = next.take(&octets);
                        client.handle_bytes(&replies, now);
                    }
                }
                client.end_message(now);
            }
            Some(ClientEvent::Done(_)) => {}
            Some(ClientEvent::StartTls) => panic!("no TLS was requested"),
            Some(ClientEvent::Closed(_)) => break,
            None if client.is_closed() => break,
            None => assert!(client.deadline().is_some(), "a waiting session has a deadline"),
        }
    }
    assert!(next.messages.len() <= 1, "one message is one message");
    let (declared, by_data) = (next.declared, next.by_data);
    Some(Arrived { message: next.messages.pop()?, declared, by_data })
}

fn outbound(octets: &[u8], hop: u8, cut: usize) -> Vec<Bytes> {
    let audience = if hop & INTERNAL == 0 { Audience::Outside } else { Audience::Organization };
    let mut firewall = OutboundFirewall::new(audience);
    let pieces = octets.chunks(cut).map(Bytes::copy_from_slice);
    let mut out: Vec<_> = pieces.flat_map(|piece| firewall.pass(piece)).collect();
    out.push(firewall.finish());
    out
}

/// Are all its lines complete and valid for DATA?
fn is_text(octets: &[u8]) -> bool {
    let text = octets.strip_suffix(b"\r\n").unwrap_or(octets);
    let mut before = 0;
    for &octet in octets {
        if octet == 0 || (octet == b'\n') != (before == b'\r') {
            return false;
        }
        before = octet;
    }
    text.len() < octets.len()
}

/// A next hop that accepts every message.
#[derive(Default)]
struct Hop {
    offers: u8,
    unread: Vec<u8>,
    /// In the argument of DATA.
    in_data: bool,
    message: Vec<u8>,
    messages: Vec<Vec<u8>>,
    declared: u64,
    /// The message was sent by DATA.
    by_data: bool,
}

impl Hop {
    /// Reads octets and returns its replies.
    fn take(&mut self, octets: &[u8]) -> Vec<u8> {
        self.unread.extend_from_slice(octets);
        let mut replies = Vec::new();
        while let Some(reply) = self.step() {
            replies.extend_from_slice(reply.as_bytes());
        }
        replies
    }

    fn step(&mut self) -> Option<String> {
        let end = self.unread.windows(2).position(|pair| pair == b"\r\n")? + 2;
        let line = &self.unread[..end];
        if self.in_data {
            let is_end = line == b".\r\n";
            let text = line.strip_prefix(b".").unwrap_or(line).to_vec();
            self.unread.drain(..end);
            if is_end {
                self.in_data = false;
                self.messages.push(std::mem::take(&mut self.message));
                return Some("250 taken\r\n".to_owned());
            }
            self.message.extend_from_slice(&text);
            return Some(String::new());
        }
        let text = String::from_utf8_lossy(&line[..end - 2]).into_owned();
        let mut words = text.split(' ');
        let reply = match words.next().unwrap_or_default() {
            "EHLO" => {
                let keyword = |bit, keyword| if self.offers & bit != 0 { keyword } else { "" };
                let chunking = keyword(CHUNKING, "250-CHUNKING\r\n");
                let binary = keyword(BINARYMIME, "250-BINARYMIME\r\n");
                let eight_bit = keyword(EIGHT_BIT, "250-8BITMIME\r\n");
                format!("250-hop\r\n250-PIPELINING\r\n{chunking}{binary}{eight_bit}250 SIZE\r\n")
            }
            "MAIL" => {
                let size = words.find_map(|word| word.strip_prefix("SIZE="));
                self.declared = size.and_then(|size| size.parse().ok()).unwrap_or_default();
                "250 fine\r\n".to_owned()
            }
            "BDAT" => {
                let octets: usize = words.next().and_then(|size| size.parse().ok())?;
                let chunk = self.unread.get(end..end + octets)?.to_vec();
                self.message.extend_from_slice(&chunk);
                self.unread.drain(end..end + octets);
                if words.next() == Some("LAST") {
                    self.messages.push(std::mem::take(&mut self.message));
                }
                "250 taken\r\n".to_owned()
            }
            "DATA" => {
                self.in_data = true;
                self.by_data = true;
                "354 go on\r\n".to_owned()
            }
            "RCPT" | "RSET" => "250 fine\r\n".to_owned(),
            "QUIT" => "221 bye\r\n".to_owned(),
            _ => panic!("no command: {text:?}"),
        };
        self.unread.drain(..end);
        Some(reply)
    }
}
