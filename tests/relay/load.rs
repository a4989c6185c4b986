//! Hundreds of idle sessions, clients that send single octets and clients that never read do not
//! affect other clients.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use socket2::SockRef;

use crate::edge::{Edge, Mode, SCANNER, session_line};
use crate::idle::{self, Plan};

/// Small enough for every run of the tests.
const PLAN: Plan = Plan {
    plain: 1_000,
    encrypted: 50,
    half_open: 50,
    drips: 60,
    clients: 2,
    window: Duration::from_secs(5),
};

/// One and a half times the memory of an idle session in a build without optimisation.
const OCTETS: u64 = 24 * 1024;

#[test]
fn idle_sessions_and_single_octets_do_not_affect_the_relay_connector() {
    let outcome = idle::run(PLAN);
    println!("{outcome}");
    assert_eq!(outcome.sessions, 1_100, "{outcome}");
    assert_eq!(outcome.alive, 1_050, "no other client lost a session: {outcome}");
    for served in [outcome.quiet, outcome.attacked] {
        assert!(served.sessions > 0 && served.failed == 0, "{outcome}");
    }
    // Of thirty clients of one address twenty are served, and single octets extend no timeout.
    let drips = outcome.drips;
    assert!(drips.refused > 0 && drips.inactive > 0 && drips.timed_out > 0, "{outcome}");
    for octets in [outcome.plain_octets, outcome.encrypted_octets, outcome.half_open_octets] {
        assert!(octets <= OCTETS, "{outcome}");
    }
}

/// Each of these clients sends commands endlessly and reads no reply. The replies fill the system's
/// buffer and one of ours; then the inactivity timeout ends the session.
#[test]
fn sessions_of_clients_that_read_no_reply_end_and_use_little_memory() {
    const CLIENTS: usize = 10;
    /// A thousand recipients, commands and replies, each bounded, and the allocator's overhead.
    const OCTETS: u64 = 512 * 1024;
    const CONNECTORS: &str = r#"
[[connector]]
name = "Frontend"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
connection_inactivity_timeout = "3s"
max_recipients_per_message = 1000
tarpit_interval = "0s"
max_inbound_connection_per_source = "unlimited"

[[connector]]
name = "Scanners"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.3"]
permission_groups = ["AnonymousUsers"]
grants = { anonymous = ["ms-Exch-SMTP-Accept-Any-Recipient"] }
"#;
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start_with(&edge.configuration(CONNECTORS));
    edge.connect(SCANNER).quit();
    let before = daemon.memory("RssAnon").unwrap();
    let lines = daemon.line_count();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let stream = edge.stream(&format!("127.0.4.{}", number + 1));
            thread::spawn(move || flood(stream))
        })
        .collect();
    edge.wait_until(|status| status["sessions"] == CLIENTS);
    let mut peak = before;
    while clients.iter().any(|client| !client.is_finished()) {
        peak = peak.max(daemon.memory("RssAnon").unwrap());
        edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    }
    clients.into_iter().for_each(|client| client.join().unwrap());
    edge.wait_until(|status| status["sessions"] == 0);
    let each = (peak - before) / u64::try_from(CLIENTS).unwrap();
    println!("{CLIENTS} clients that read nothing: {each} octets each");
    assert!(each <= OCTETS, "{each} octets for each of them");
    for number in 0..CLIENTS {
        let line = session_line(&daemon, lines, &format!("127.0.4.{}", number + 1));
        let ended = (&line["connector"], &line["ending"]);
        assert_eq!(ended, (&"Frontend".into(), &"replies not read".into()), "{line}");
    }
}

/// Sends the same commands until the connection ends.
fn flood(mut stream: TcpStream) {
    SockRef::from(&stream).set_recv_buffer_size(4096).unwrap();
    let recipients = "RCPT TO:<b@contoso.example>\r\n".repeat(1_000);
    let round = format!("MAIL FROM:<a@fabrikam.example>\r\n{recipients}RSET\r\n");
    stream.write_all(b"EHLO client.example\r\n").unwrap();
    while stream.write_all(round.as_bytes()).is_ok() {}
}
