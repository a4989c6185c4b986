//! A whole receiving session. An input is a script: its first octet selects the connector. Then
//! come octets of the client, and events between them.
//!
//! An event is 0xFF and a letter: `c` another packet begins, `q` the queue replies, `f` the queue
//! replies that it failed, `w` the next write fails, `t` the next deadline passes, `s` a second
//! passes, `h` the TLS handshake is done, `x` a packet full of one letter comes, `d` the client
//! disconnects, `z` the daemon stops. Any other letter is `c`. Inquiries about a sender or a
//! message are answered as the queue answers; for them a failure is a missing answer.

mod host;

use relay_connector::Connection;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use relay_config::Config;
use relay_connector::ConnectorIds;
use relay_mail::tls::TlsInfo;
use relay_policy::{Peer, Rules};
use relay_session::Session;
use relay_session::limits::INPUT_OCTETS;
use relay_session::player::Player;

use host::{Asked, Host, Outcome, check_protocol_log, failure};
use relay_server::limits::READ_OCTETS;

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
    let outcome = Run::new(settings).play(script);
    let only_cuts =
        script.split(|&octet| octet == EVENT).skip(1).all(|part| part.starts_with(b"c"));
    if settings & QUEUE_IS_SLOW == 0 && only_cuts {
        let octets = script.iter().flat_map(|octet| [EVENT, b'c', *octet]).collect::<Vec<_>>();
        let mut parts = script.split(|&octet| octet == EVENT);
        let first = parts.next().unwrap_or_default();
        let whole = parts.fold(first.to_vec(), |whole, part| [&whole, &part[1..]].concat());
        assert_eq!(Run::new(settings).play(&whole), outcome, "packets do not matter");
        if !script.contains(&EVENT) {
            assert_eq!(Run::new(settings).play(&octets), outcome, "packets do not matter");
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

/// A run of a script.
struct Run {
    player: Player<Host>,
    /// What the client has sent, to count the ends of data that it can have meant.
    heard: Vec<u8>,
    /// Octets read since the queue was asked: none of them can have been used.
    backlog: usize,
}

impl Run {
    fn new(settings: u8) -> Self {
        let mut connectors = rules().connectors();
        let connector = connectors.nth(usize::from(settings & CONNECTOR));
        let Some((_, connector)) = connector else { panic!("a connector for each number") };
        let now = Instant::now();
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
        let peer = Peer::new(Arc::clone(connector));
        let session =
            Session::new(now, Arc::clone(rules()), peer, Connection::accepted(here, here));
        let host = Host { queue_is_slow: settings & QUEUE_IS_SLOW != 0, ..Host::default() };
        Self { player: Player::new(now, session, host), heard: Vec::new(), backlog: 0 }
    }

    fn play(mut self, script: &[u8]) -> Outcome {
        self.settle();
        let mut parts = script.split(|&octet| octet == EVENT);
        self.send(parts.next().unwrap_or_default());
        for part in parts {
            let (&event, octets) = part.split_first().unwrap_or((&b'c', &[]));
            self.event(event);
            self.send(octets);
        }
        self.player.happen(|session, _| session.handle_disconnect());
        self.settle();
        let heard = self.heard;
        let host = self.player.world();
        assert!(host.outcome.closed, "every session ends");
        assert_eq!(host.open, None, "nothing unfinished is kept");
        host.check(&heard);
        std::mem::take(&mut host.outcome)
    }

    /// Sends a client's octets, as the driver reads them.
    fn send(&mut self, octets: &[u8]) {
        for packet in octets.chunks(READ_OCTETS) {
            let session = self.player.session();
            if !session.wants_bytes() {
                let is_held = session.deadline() > self.player.now();
                let host = self.player.world();
                let waits = host.asked != Asked::Nothing || host.outcome.closed;
                assert!(waits || is_held, "a session that reads nothing waits for something");
                return;
            }
            self.backlog += packet.len();
            assert!(self.backlog < INPUT_OCTETS + READ_OCTETS, "the input is bounded");
            self.heard.extend_from_slice(packet);
            self.player.receive(packet);
            self.settle();
        }
    }

    fn event(&mut self, event: u8) {
        match event {
            b'q' => self.answer(true),
            b'f' => self.answer(false),
            b'w' => self.player.world().write_fails = true,
            b't' => {
                self.give_up(Duration::MAX);
                self.player.expire();
            }
            b's' => {
                self.give_up(Duration::from_secs(1));
                self.player.pass(Duration::from_secs(1));
            }
            b'h' if std::mem::take(&mut self.player.world().handshake_is_due) => {
                let tls = TlsInfo::new("TLS1.3", "AES");
                self.player.happen(|session, now| session.handle_tls(now, tls));
            }
            b'x' => self.send(&[b'x'; READ_OCTETS]),
            b'd' => self.player.happen(|session, _| session.handle_disconnect()),
            b'y' => self.player.happen(|session, _| session.handle_cut_off()),
            b'z' => self.player.happen(|session, now| session.handle_shutdown(now)),
            _ => {}
        }
        self.settle();
    }

    /// A session that waits for an answer gives up if its deadline passes within this time.
    fn give_up(&mut self, time: Duration) {
        let left = self.player.session().deadline().saturating_duration_since(self.player.now());
        let asked = &mut self.player.world().asked;
        if left <= time && matches!(asked, Asked::ToFindOut(_)) {
            *asked = Asked::Nothing;
        }
    }

    fn settle(&mut self) {
        self.player.happen(|session, _| check_protocol_log(session));
        let wants_bytes = self.player.session().wants_bytes();
        if self.player.world().asked == Asked::Nothing && wants_bytes {
            self.backlog = 0;
        }
    }

    /// The queue answers its request with success or failure. After the session has closed, the
    /// answer may still arrive, and is ignored.
    fn answer(&mut self, well: bool) {
        let host = self.player.world();
        match std::mem::take(&mut host.asked) {
            Asked::Nothing => {}
            Asked::ToBegin => {
                let begun = if well { Ok(host.begun()) } else { Err(failure().into()) };
                self.player.happen(|session, now| session.handle_message_begun(now, begun));
            }
            Asked::ToFindOut(inquiry) => {
                let found = if well { inquiry.not_asked() } else { inquiry.without_answer() };
                self.player.happen(|session, now| session.handle_finding(now, found));
            }
            Asked::ToCommit => {
                let stored = if well { Ok(()) } else { Err(failure()) };
                host.commit(well);
                self.player.happen(|session, now| session.handle_stored(now, stored));
            }
        }
    }
}
