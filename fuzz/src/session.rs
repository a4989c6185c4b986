//! A whole receiving session. An input is a script: its first octet selects the connector. Then
//! come octets of the client, and events between them.
//!
//! An event is 0xFF and a letter: `c` another packet begins, `q` the queue replies, `f` the queue
//! replies that it failed, `w` the next write fails, `t` the next deadline passes, `s` a second
//! passes, `h` the TLS handshake is done, `x` a packet full of one letter comes, `d` the client
//! disconnects, `z` the daemon stops. Any other letter is `c`. Inquiries about a sender or a
//! message are answered as the queue answers; for them a failure is a missing answer.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, UNIX_EPOCH};

use relay_config::Config;
use relay_connector::ConnectorIds;
use relay_mail::envelope::Envelope;
use relay_mail::limits::REPLY_LINE_OCTETS;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_mail::tls::TlsInfo;
use relay_policy::{Inquiry, Peer, Rules};
use relay_server::limits::READ_OCTETS;
use relay_session::limits::{INPUT_OCTETS, OUTPUT_OCTETS, PROTOCOL_LOG_LINE_OCTETS};
use relay_session::{Action, MessageBegun, ProtocolEvent, Session};
use relay_smtp::client::ReplyParser;

const EVENT: u8 = 0xff;
/// The bits of an input's first octet.
const CONNECTOR: u8 = 3;
const QUEUE_IS_SLOW: u8 = 4;

const CONFIGURATION: &str = r#"
hostname = "relay.example"
[delivery]
smart_host = "127.0.0.1:25"
[tls]
certificate = "/relay.pem"
key = "/relay.key"
[[accepted_domain]]
name = "accepted.example"
[[connector]]
name = "Frontend"
bindings = ["127.0.0.1:25"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
auth_mechanism = ["Tls"]
max_message_size = "64 KB"
max_header_size = 1000
max_recipients_per_message = 3
tarpit_interval = "0s"
protocol_logging_level = "Verbose"
[[connector]]
name = "Tarpit"
bindings = ["127.0.0.1:26"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
[connector.antispam]
spf = "Enforce"
dkim = "Annotate"
dmarc = "Enforce"
[[connector]]
name = "Trusted"
bindings = ["127.0.0.1:27"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["ExternalAuthoritative", "Tls"]
permission_groups = ["ExchangeServers"]
[[connector]]
name = "Encrypted"
bindings = ["127.0.0.1:28"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
auth_mechanism = ["Tls"]
require_tls = true
max_protocol_errors = 1
"#;

/// See the module.
pub fn check(input: &[u8]) {
    let Some((&settings, script)) = input.split_first() else { return };
    let outcome = Player::new(settings).play(script);
    let only_cuts =
        script.split(|&octet| octet == EVENT).skip(1).all(|part| part.starts_with(b"c"));
    if settings & QUEUE_IS_SLOW == 0 && only_cuts {
        let octets = script.iter().flat_map(|octet| [EVENT, b'c', *octet]).collect::<Vec<_>>();
        let mut parts = script.split(|&octet| octet == EVENT);
        let first = parts.next().unwrap_or_default();
        let whole = parts.fold(first.to_vec(), |whole, part| [&whole, &part[1..]].concat());
        assert_eq!(
            Player::new(settings).play(&whole),
            outcome,
            "packet boundaries do not change the result"
        );
        if !script.contains(&EVENT) {
            assert_eq!(
                Player::new(settings).play(&octets),
                outcome,
                "packet boundaries do not change the result"
            );
        }
    }
}

/// The rules of every connector.
pub(super) fn rules() -> &'static Arc<Rules> {
    static RULES: OnceLock<Arc<Rules>> = OnceLock::new();
    RULES.get_or_init(|| {
        let config = Config::parse(CONFIGURATION, "relay.toml");
        let config = config.unwrap_or_else(|refusals| panic!("{refusals}"));
        match config.rules(&mut ConnectorIds::default(), 1) {
            Ok(rules) => rules,
            Err(error) => panic!("{error}"),
        }
    })
}

/// The result of a session.
#[derive(Debug, Default, PartialEq)]
struct Outcome {
    sent: Vec<u8>,
    kept: Vec<Vec<u8>>,
    closed: bool,
}

/// The open inquiry.
#[derive(Clone, Debug, PartialEq)]
enum Asked {
    Nothing,
    ToBegin,
    ToCommit,
    ToFindOut(Inquiry),
}

/// A driver whose socket, clock and queue are the script.
struct Player {
    session: Session,
    now: Instant,
    queue_is_slow: bool,
    asked: Asked,
    write_fails: bool,
    open: Option<Vec<u8>>,
    handshake_is_due: bool,
    /// The client's octets so far, to count the possible ends of data in them.
    heard: Vec<u8>,
    /// Octets read since the queue was asked: none of them can have been used.
    backlog: usize,
    replies: ReplyParser,
    queued_replies: usize,
    outcome: Outcome,
}

impl Player {
    fn new(settings: u8) -> Self {
        let mut connectors = rules().connectors();
        let connector = connectors.nth(usize::from(settings & CONNECTOR));
        let Some((_, connector)) = connector else { panic!("a connector for each number") };
        let now = Instant::now();
        let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let peer = Peer::new(Arc::clone(connector));
        Self {
            session: Session::new(now, Arc::clone(rules()), peer, here, here),
            now,
            queue_is_slow: settings & QUEUE_IS_SLOW != 0,
            asked: Asked::Nothing,
            write_fails: false,
            open: None,
            handshake_is_due: false,
            heard: Vec::new(),
            backlog: 0,
            replies: ReplyParser::default(),
            queued_replies: 0,
            outcome: Outcome::default(),
        }
    }

    fn play(mut self, script: &[u8]) -> Outcome {
        self.perform();
        let mut parts = script.split(|&octet| octet == EVENT);
        self.send(parts.next().unwrap_or_default());
        for part in parts {
            let (&event, octets) = part.split_first().unwrap_or((&b'c', &[]));
            self.event(event);
            self.send(octets);
        }
        self.session.handle_disconnect();
        self.perform();
        assert!(self.outcome.closed, "every session ends");
        assert_eq!(self.open, None, "no unfinished message is left open");
        self.check();
        self.outcome
    }

    /// Sends a client's octets, as the driver reads them.
    fn send(&mut self, octets: &[u8]) {
        for packet in octets.chunks(READ_OCTETS) {
            if !self.session.wants_bytes() {
                let waits = self.asked != Asked::Nothing || self.outcome.closed;
                let is_held = self.session.deadline() > self.now;
                assert!(waits || is_held, "a session that does not read waits for an event");
                return;
            }
            self.backlog += packet.len();
            assert!(self.backlog < INPUT_OCTETS + READ_OCTETS, "the input is bounded");
            self.heard.extend_from_slice(packet);
            self.session.handle_bytes(self.now, packet);
            self.perform();
        }
    }

    fn event(&mut self, event: u8) {
        match event {
            b'q' => self.answer(true),
            b'f' => self.answer(false),
            b'w' => self.write_fails = true,
            b't' => {
                self.now = self.now.max(self.session.deadline());
                self.time_passes();
            }
            b's' => {
                self.now += Duration::from_secs(1);
                self.time_passes();
            }
            b'h' if std::mem::take(&mut self.handshake_is_due) => {
                let tls = TlsInfo::new("TLS1.3", "AES");
                self.session.handle_tls(self.now, tls);
            }
            b'x' => self.send(&[b'x'; READ_OCTETS]),
            b'd' => self.session.handle_disconnect(),
            b'y' => self.session.handle_cut_off(),
            b'z' => self.session.handle_shutdown(),
            _ => {}
        }
        self.perform();
    }

    fn time_passes(&mut self) {
        let is_late = self.now >= self.session.deadline();
        if is_late && matches!(self.asked, Asked::ToFindOut(_)) {
            // The session ends because of its timeout.
            self.asked = Asked::Nothing;
        }
        self.session.handle_timeout(self.now);
    }

    fn perform(&mut self) {
        while let Some(action) = self.session.poll_action() {
            assert!(!self.outcome.closed, "{action:?} after Close");
            self.check_protocol_log();
            match action {
                Action::AbandonMessage => {
                    let begun = self.open.take().is_some();
                    assert!(begun || self.asked != Asked::Nothing, "there is one to abandon");
                    self.asked = Asked::Nothing;
                }
                Action::Ask(inquiry) => {
                    assert_eq!(self.asked, Asked::Nothing);
                    self.ask(Asked::ToFindOut(inquiry));
                }
                Action::BeginMessage(envelope) => {
                    check_envelope(&envelope);
                    assert_eq!((&self.asked, &self.open), (&Asked::Nothing, &None));
                    self.ask(Asked::ToBegin);
                }
                Action::Close => self.outcome.closed = true,
                Action::CommitMessage => {
                    assert!(self.open.is_some() && self.asked == Asked::Nothing);
                    self.ask(Asked::ToCommit);
                }
                Action::PutInFront(fields) => {
                    let Some(message) = &mut self.open else { panic!("no message is open") };
                    message.splice(0..0, fields);
                }
                Action::Send(octets) => self.sent(&octets),
                Action::Reclassify(remote) => panic!("no client may use XCLIENT: {remote}"),
                Action::StartTls => self.handshake_is_due = true,
                Action::Write(octets) => {
                    let Some(message) = &mut self.open else { panic!("no message is open") };
                    message.extend_from_slice(&octets);
                    if std::mem::take(&mut self.write_fails) {
                        self.session.handle_write_failed(&failure());
                    }
                }
            }
        }
        self.check_protocol_log();
        if self.asked == Asked::Nothing && self.session.wants_bytes() {
            self.backlog = 0;
        }
    }

    /// A record is one line, and no client can make two of it.
    fn check_protocol_log(&mut self) {
        for record in self.session.take_protocol_records() {
            assert!(record.data.len() <= PROTOCOL_LOG_LINE_OCTETS);
            assert!(!record.data.contains(char::is_control), "{record:?}");
            let is_gap = record.event == ProtocolEvent::Information
                && record.data.ends_with("records left out");
            assert!(!is_gap, "a record that is fetched in time is complete");
        }
    }

    fn ask(&mut self, asked: Asked) {
        self.asked = asked;
        if !self.queue_is_slow {
            self.answer(true);
        }
    }

    /// The queue's operation succeeds or fails. This may also happen after the session has closed;
    /// then the result is ignored.
    fn answer(&mut self, well: bool) {
        match std::mem::replace(&mut self.asked, Asked::Nothing) {
            Asked::Nothing => {}
            Asked::ToBegin if well => {
                let begun = MessageBegun { id: QueueId::from_u64(1), at: UNIX_EPOCH };
                if !self.outcome.closed {
                    self.open = Some(Vec::new());
                }
                self.session.handle_message_begun(self.now, Ok(begun));
            }
            Asked::ToBegin => {
                self.session.handle_message_begun(self.now, Err(failure().into()));
            }
            Asked::ToFindOut(inquiry) => {
                let found = if well { inquiry.not_asked() } else { inquiry.unanswered() };
                self.session.handle_finding(self.now, found);
            }
            Asked::ToCommit => {
                let Some(message) = self.open.take() else { panic!("no message is open") };
                if well {
                    self.outcome.kept.push(message);
                }
                let stored = if well { Ok(()) } else { Err(failure()) };
                self.session.handle_stored(self.now, stored);
            }
        }
    }

    /// Only complete replies, and only those that our own client understands.
    fn sent(&mut self, octets: &[u8]) {
        assert!(octets.len() < OUTPUT_OCTETS + REPLY_LINE_OCTETS * 10, "the output is bounded");
        for line in octets.split_inclusive(|&octet| octet == b'\n') {
            assert!(line.len() <= REPLY_LINE_OCTETS && line.ends_with(b"\r\n"));
            assert!(line[..line.len() - 2].iter().all(|octet| matches!(octet, b' '..=b'~')));
            let mut rest = line;
            match self.replies.parse(&mut rest) {
                Ok(Some(reply)) => {
                    self.queued_replies += usize::from(line.starts_with(b"250 2.6.0 "));
                    assert!(!reply.text.is_empty());
                }
                Ok(None) => assert_eq!(line.get(3), Some(&b'-')),
                Err(error) => panic!("{error}: {:?}", line.escape_ascii().to_string()),
            }
        }
        self.outcome.sent.extend_from_slice(octets);
    }

    fn check(&self) {
        let Outcome { sent, kept, .. } = &self.outcome;
        assert_eq!(self.queued_replies, kept.len(), "a 250 for each stored message");
        assert!(sent.is_empty() || sent.ends_with(b"\r\n"));
        let ends = self.heard.windows(5).filter(|window| *window == b"\r\n.\r\n").count();
        assert!(kept.len() <= ends, "at most one message per end of data");
        for message in kept {
            let begins_with = |field: &[u8]| message.starts_with(field);
            assert!(begins_with(b"Received: from ") || begins_with(b"Authentication-Results: "));
            let mut before = 0;
            for (at, &octet) in message.iter().enumerate() {
                assert_ne!(octet, 0);
                assert_eq!(octet == b'\n', before == b'\r', "octet {at}");
                before = octet;
            }
            assert_ne!(before, b'\r');
        }
    }
}

fn check_envelope(envelope: &Envelope) {
    assert!(!envelope.recipients.is_empty());
    assert!(envelope.smtputf8 || envelope.sender.is_ascii());
    assert!(envelope.smtputf8 || envelope.recipients.iter().all(|path| path.is_ascii()));
}

fn failure() -> StoreError {
    StoreError::Full("the script says so".to_owned())
}
