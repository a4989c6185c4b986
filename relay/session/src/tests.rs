use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::net::SocketAddr;
use std::path::Path;

use proptest::prelude::*;
use relay_config::Config;
use relay_connector::ConnectorIds;
use relay_mail::limits::REPLY_LINE_OCTETS;
use relay_mail::limits::SMALL_WRITE_OCTETS;
use relay_mail::queue_id::QueueId;

use super::*;
use crate::limits::OUTPUT_OCTETS;

mod bounds;
mod outcome;
mod records;

pub(super) use outcome::{Outcome, perform};

const CONFIGURATION: &str = r#"
hostname = "relay.example"
[delivery]
smart_host = "127.0.0.1:25"
[tls]
certificate = "/relay.pem"
key = "/relay.key"
[authentication]
users_file = "/users.toml"
[[accepted_domain]]
name = "accepted.example"
[[connector]]
name = "Dialogue"
bindings = ["127.0.0.1:25"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers", "ExchangeUsers"]
auth_mechanism = ["Tls", "BasicAuth"]
max_message_size = "64 KB"
max_header_size = 1000
tarpit_interval = "0s"
auth_tarpit_interval = "0s"
"#;

/// The connector keeps a protocol log.
pub(super) const VERBOSE: &str = "protocol_logging_level = \"Verbose\"\n";

fn session() -> Session {
    session_with("")
}

/// With a line of the connector's configuration more.
pub(super) fn session_with(more: &str) -> Session {
    let config = Config::parse(&format!("{CONFIGURATION}{more}"), "relay.toml").unwrap();
    let rules = config.rules(&mut ConnectorIds::default(), 1).unwrap();
    let (_, connector) = rules.connectors().next().unwrap();
    let peer = Peer::new(Arc::clone(connector));
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
    let connection = Connection::accepted(here, here);
    Session::new(Instant::now(), Arc::clone(&rules), peer, connection)
}

fn talk(chunks: &[&[u8]]) -> Outcome {
    let mut session = session_with(VERBOSE);
    let now = session.now;
    let mut outcome = Outcome::default();
    perform(&mut session, &mut outcome);
    for chunk in chunks {
        session.handle_bytes(now, chunk);
        perform(&mut session, &mut outcome);
    }
    session.handle_disconnect();
    perform(&mut session, &mut outcome);
    assert_eq!(outcome.open, None, "nothing unfinished may be kept");
    outcome.parts.clear();
    outcome
}

/// The dialogue's table: every state, every command, the next state and the reply.
#[test]
fn transitions() {
    let states: &[(&str, &str)] = &[
        ("Connected", ""),
        ("Ready", "EHLO c\n"),
        ("Ready, sender refused", "EHLO c\nMAIL FROM:<a@b> SIZE=99999\n"),
        ("Authenticating", "EHLO c\nAUTH LOGIN\n"),
        ("Mail", "EHLO c\nMAIL FROM:<a@b>\n"),
        ("Mail, recipient refused", "EHLO c\nMAIL FROM:<a@b>\nRCPT TO:<a@b>\n"),
        ("Recipients", "EHLO c\nMAIL FROM:<a@b>\nRCPT TO:<a@accepted.example>\n"),
        ("Receiving", "EHLO c\nMAIL FROM:<a@b>\nRCPT TO:<a@accepted.example>\nDATA\n"),
        ("Chunking", "EHLO c\nMAIL FROM:<a@b>\nRCPT TO:<a@accepted.example>\nBDAT 5\nA:b\n"),
        ("StartingTls", "EHLO c\nSTARTTLS\n"),
        ("Closed", "QUIT\n"),
    ];
    let commands = [
        "HELO c",
        "EHLO c",
        "STARTTLS",
        "AUTH PLAIN",
        "AUTH PLAIN AGEAYg==",
        "MAIL FROM:<a@b>",
        "MAIL FROM:<a@b> SIZE=99999",
        "RCPT TO:<a@accepted.example>",
        "RCPT TO:<a@b>",
        "DATA",
        "BDAT 0",
        "BDAT 0 LAST",
        "BDAT 9",
        "BDAT 99999 LAST",
        "BDAT -1",
        "RSET",
        "NOOP",
        "VRFY a",
        "HELP",
        "QUIT",
        "XCLIENT ADDR=192.0.2.7",
        "FOO",
    ];
    let mut table = String::from(
        "# Every command in every state: the next state and the reply. Written by the test\n\
         # `transitions` of relay/session/src/tests.rs with UPDATE_EXPECT=1.\n",
    );
    for (name, way) in states {
        writeln!(table, "\n{name}").unwrap();
        for command in commands {
            let mut session = session();
            let mut outcome = Outcome::default();
            for line in way.lines() {
                session.handle_bytes(session.now, format!("{line}\r\n").as_bytes());
            }
            perform(&mut session, &mut outcome);
            assert!(name.starts_with(state_name(&session)), "{name}");
            outcome.sent.clear();
            session.handle_bytes(session.now, format!("{command}\r\n").as_bytes());
            if !outcome.closed {
                perform(&mut session, &mut outcome);
            }
            let sent = String::from_utf8(outcome.sent).unwrap();
            let reply = sent.lines().last().unwrap_or("-");
            let next = state_name(&session);
            writeln!(table, "  {command:<29} {next:<12} {reply}").unwrap();
        }
    }

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/transitions.snap");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&file, &table).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap();
    assert!(table == expected, "the table has changed; it is now\n{table}");
}

fn state_name(session: &Session) -> &'static str {
    match session.state {
        SessionState::Authenticating(_) => "Authenticating",
        SessionState::Chunking(_) => "Chunking",
        SessionState::Closed => "Closed",
        SessionState::Connected(_) => "Connected",
        SessionState::Mail(_) => "Mail",
        SessionState::Ready(_) => "Ready",
        SessionState::Receiving(_) => "Receiving",
        SessionState::Recipients(_) => "Recipients",
        SessionState::Reclassifying(_) => "Reclassifying",
        SessionState::Screening(_) => "Screening",
        SessionState::Skipping(_) => "Skipping",
        SessionState::StartingTls => "StartingTls",
        SessionState::WaitingForQueue(_) => "WaitingForQueue",
        SessionState::WaitingForStore(_) => "WaitingForStore",
    }
}

/// A client that sends without end is read no further than its octets are processed.
#[test]
fn input_is_bounded_while_the_queue_is_asked() {
    let mut session = session();
    let now = session.now;
    session.handle_bytes(
        now,
        b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@accepted.example>\r\nDATA\r\n",
    );
    while let Some(action) = session.poll_action() {
        assert!(!matches!(action, Action::Close));
    }
    let mut octets = 0;
    while session.wants_bytes() {
        session.handle_bytes(now, &[b'A'; 1000]);
        assert!(session.poll_action().is_none());
        octets += 1000;
    }
    assert!(octets < INPUT_OCTETS + 1000);
}

/// Even with small packets and lines, the queue gets few parts.
#[test]
fn small_pieces_of_a_message_are_gathered() {
    let mut session = session();
    let now = session.now;
    let mut outcome = Outcome::default();
    session.handle_bytes(
        now,
        b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@accepted.example>\r\nDATA\r\n\r\n",
    );
    perform(&mut session, &mut outcome);
    for _ in 0..10_000 {
        session.handle_bytes(now, b"..\r\n");
        perform(&mut session, &mut outcome);
    }
    session.handle_bytes(now, b".\r\n");
    perform(&mut session, &mut outcome);
    let parts = outcome.parts;
    assert!(parts.iter().sum::<usize>() > 30_000);
    assert!(parts.len() <= 30_000 / SMALL_WRITE_OCTETS + 1, "{parts:?}");
}

/// Replies are sent in between, even if many commands arrive at once.
#[test]
fn output_is_bounded() {
    let mut session = session_with("max_refused_recipients = \"unlimited\"\n");
    let commands = b"RCPT TO:<a@elsewhere.example>\r\n".repeat(10_000);
    session.handle_bytes(session.now, &[b"EHLO c\r\nMAIL FROM:<a@b>\r\n", &commands[..]].concat());
    let mut sent = 0;
    while let Some(Action::Send(octets)) = session.poll_action() {
        assert!(octets.len() < OUTPUT_OCTETS + REPLY_LINE_OCTETS);
        sent += octets.len();
    }
    assert!(sent > 10 * OUTPUT_OCTETS);
}

/// AUTH= is logged only if the peer is trusted.
#[test]
fn a_submitter_is_trusted_from_some_peers() {
    let granted = "grants = { anonymous = [\"ms-Exch-SMTP-Accept-Authentication-Flag\"] }\n";
    for (more, submitter) in [(granted, Some("c@d.example")), ("", None)] {
        let mut session = session_with(more);
        let mut outcome = Outcome::default();
        session.handle_bytes(session.now, b"EHLO c\r\nMAIL FROM:<a@b> AUTH=c@d.example\r\n");
        perform(&mut session, &mut outcome);
        assert_eq!(session.summary().submitter.as_deref(), submitter);
    }
}

#[test]
fn the_summary_says_what_happened() {
    let mut session = session();
    let mut outcome = Outcome::default();
    session.handle_bytes(
        session.now,
        b"EHLO scanner\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@elsewhere.example>\r\n\
          RCPT TO:<c@accepted.example>\r\nDATA\r\n\r\n.\r\nFOO\r\nQUIT\r\n",
    );
    perform(&mut session, &mut outcome);
    let summary = session.summary();
    assert_eq!(summary.hello.as_deref(), Some("scanner"));
    assert_eq!((summary.messages_accepted, summary.refusals, summary.protocol_errors), (1, 2, 1));
    assert_eq!(summary.queue_ids, [QueueId::from_u64(0)]);
    assert_eq!(summary.ending, Some(SessionEnding::Quit));
    let verdicts: Vec<_> = summary.verdicts.iter().map(ToString::to_string).collect();
    assert_eq!(
        verdicts,
        [
            "RCPT 550 5.7.54 (ms-Exch-SMTP-Accept-Any-Recipient: not granted to anonymous)",
            "? 500 5.3.3 (protocol: the verb is not known)"
        ]
    );
}

fn fragments() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let fragment = prop_oneof![
        3 => Just(&b"EHLO c\r\n"[..]),
        3 => Just(&b"MAIL FROM:<a@b>\r\n"[..]),
        3 => Just(&b"RCPT TO:<a@accepted.example>\r\n"[..]),
        4 => Just(&b"DATA\r\n"[..]),
        2 => Just(&b"BDAT 12\r\n"[..]),
        2 => Just(&b"BDAT 3 LAST\r\n"[..]),
        1 => Just(&b"BDAT 0\r\n"[..]),
        1 => Just(&b"BDAT 70000\r\n"[..]),
        1 => Just(&b"RSET\r\n"[..]),
        1 => Just(&b"QUIT\r\n"[..]),
        1 => Just(&b"STARTTLS\r\n"[..]),
        3 => Just(&b"\r\n.\r\n"[..]),
        2 => Just(&b"..\r\nReceived: x\r\n"[..]),
        1 => Just(&b"\n.\r\n"[..]),
        1 => Just(&b"\r"[..]),
        1 => Just(&b"\0"[..]),
        1 => Just(&b"X-MS-Exchange-Organization-A: x\r\n\r\n"[..]),
    ];
    let fragment = prop_oneof![
        30 => fragment.prop_map(<[u8]>::to_vec),
        1 => (0usize..70_000).prop_map(|octets| vec![b'x'; octets]),
        1 => proptest::collection::vec(any::<u8>(), 0..20),
    ];
    proptest::collection::vec(fragment, 0..25)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn packets_do_not_matter(
        fragments in fragments(),
        greeted in any::<bool>(),
        cuts in proptest::collection::vec(0usize..400, 0..5),
    ) {
        let mut bytes = fragments.concat();
        if greeted {
            bytes.splice(..0, *b"EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<a@accepted.example>\r\n");
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| (*cut).min(bytes.len())).collect();
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let whole = talk(&bytes.chunks(INPUT_OCTETS).collect::<Vec<_>>());
        let chunks: Vec<_> = cuts
            .windows(2)
            .flat_map(|cut| bytes[cut[0]..cut[1]].chunks(INPUT_OCTETS))
            .collect();
        prop_assert_eq!(&talk(&chunks), &whole);
        if bytes.len() < 1000 {
            prop_assert_eq!(&talk(&bytes.chunks(1).collect::<Vec<_>>()), &whole);
        }
    }
}
