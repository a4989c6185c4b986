//! Certificates and handshakes: one for each connector, from the first octet, and renewed.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::pki_types::CertificateDer;

use crate::PATIENCE;
use crate::edge::{Edge, Mode, SCANNER, json_line, session_line};
use crate::encrypted::Terms;

const CONNECTORS: &str = r#"
[[certificate]]
name = "modern"
certificate = "FOLDER/modern.pem"
key = "FOLDER/modern.key"

[[connector]]
name = "Submission"
implicit_tls_bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
tarpit_interval = "0s"
max_inbound_connection_per_source = 10000
max_inbound_connection_percentage_per_source = 100

[[connector]]
name = "Modern"
implicit_tls_bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.2"]
permission_groups = ["AnonymousUsers"]
tls_certificate_name = "modern"
tls_minimum_version = "1.3"
"#;

#[test]
fn each_connector_presents_its_certificate_and_requires_its_version() {
    let edge = Edge::new(Mode::Userspace);
    let ordinary = write_pair(edge.folder(), "ordinary");
    let modern = write_pair(edge.folder(), "modern");
    let daemon = edge.start_with(&configuration(&edge, CONNECTORS));
    let connect = |from: &str| edge.stream(from);

    let mut client = Terms::trusting(&ordinary).only_tls_1_2().shake_hands(connect("127.0.0.1"));
    let client = client.as_mut().unwrap();
    assert_eq!(client.reply(), "220 edge.test ESMTP");
    assert_eq!((client.version().as_str(), client.shown()), ("TLSv1_2", ordinary.clone()));
    let keywords = client.say("EHLO client.example");
    assert!(!keywords.contains("STARTTLS"), "{keywords}");
    assert!(client.say("QUIT").starts_with("221 "));
    let line = session_line(&daemon, 0, "127.0.0.1");
    assert!(line["tls"].as_str().unwrap().starts_with("TLS1.2 TLS_"), "{line}");

    let mut client = Terms::trusting(&modern).shake_hands(connect("127.0.0.2"));
    let client = client.as_mut().unwrap();
    assert_eq!(client.reply(), "220 edge.test ESMTP");
    assert_eq!((client.version().as_str(), client.shown()), ("TLSv1_3", modern.clone()));
    let old = Terms::trusting(&modern).only_tls_1_2().shake_hands(connect("127.0.0.2"));
    let problem = old.err().unwrap();
    assert!(problem.contains("ProtocolVersion"), "{problem}");
    // This connector does not present the other's certificate, for any trust of the client.
    assert!(Terms::trusting(&ordinary).shake_hands(connect("127.0.0.2")).is_err());
}

#[test]
fn a_certificate_renewed_on_disk_is_used_while_sessions_continue() {
    let edge = Edge::new(Mode::Userspace);
    let first = write_pair(edge.folder(), "ordinary");
    write_pair(edge.folder(), "modern");
    let daemon = edge.start_with(&configuration(&edge, CONNECTORS));
    let mut open = Terms::trusting(&first).shake_hands(edge.stream(SCANNER)).unwrap();
    open.reply();
    open.say("EHLO client.example");

    let second = write_pair(edge.folder(), "ordinary");
    wait_until(|| Terms::trusting(&second).shake_hands(edge.stream(SCANNER)).is_ok());
    json_line(&daemon, 0, |line| line["message"] == "the certificate was renewed");
    assert!(Terms::trusting(&first).shake_hands(edge.stream(SCANNER)).is_err());
    assert_eq!(open.say("NOOP"), "250 2.0.0 OK");
    assert!(open.say("MAIL FROM:<a@contoso.example>").starts_with("250 "));

    // If the new pair cannot be used, the old one stays in use, and the log says so.
    fs::write(edge.folder().join("ordinary.key"), "no key").unwrap();
    let problem = |status: &serde_json::Value| status["certificates"][0]["problem"].clone();
    edge.wait_until(|status| problem(status).is_string());
    assert!(problem(&edge.status()).as_str().unwrap().contains("ordinary.key"));
    json_line(&daemon, 0, |line| {
        let message = line["message"].as_str().unwrap_or_default();
        line["level"] == "ERROR" && message.starts_with("the new certificate cannot be used; ")
    });
    assert!(Terms::trusting(&second).shake_hands(edge.stream(SCANNER)).is_ok());
    let third = write_pair(edge.folder(), "ordinary");
    edge.wait_until(|status| problem(status).is_null());
    assert!(Terms::trusting(&third).shake_hands(edge.stream(SCANNER)).is_ok());
}

/// Octets that are not a handshake; none of them reaches the protocol.
#[test]
fn octets_that_are_not_a_handshake_end_only_their_connection() {
    let edge = Edge::new(Mode::Userspace);
    let certificate = write_pair(edge.folder(), "ordinary");
    write_pair(edge.folder(), "modern");
    let daemon = edge.start_with(&configuration(&edge, CONNECTORS));
    let hostile: [&[u8]; 5] = [
        b"EHLO client.example\r\nMAIL FROM:<a@b.example>\r\n",
        // A record of 65,535 octets, which no version allows.
        b"\x16\x03\x01\xff\xff\x01\x00\xff\xff",
        // A ClientHello of SSL 2.
        b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80",
        // An alert, and application data.
        b"\x15\x03\x03\x00\x02\x02\x28\x17\x03\x03\x00\x05hello",
        &[0; 20_000],
    ];
    for octets in hostile {
        let before = daemon.line_count();
        let mut stream = edge.stream(SCANNER);
        // The daemon may close before all of it is written.
        let _ = stream.write_all(octets);
        let line = session_line(&daemon, before, SCANNER);
        let ending = "TLS handshake failed";
        assert_eq!((&line["accepted"], &line["ending"]), (&0.into(), &ending.into()));
        assert!(line["tls_failure"].is_string(), "{line}");
        assert_eq!((&line["hello"], &line["tls"]), (&().into(), &().into()), "{line}");
    }
    assert!(Terms::trusting(&certificate).shake_hands(edge.stream(SCANNER)).is_ok());
}

/// 2,000 clients connect and then stop: other clients are served meanwhile.
#[test]
fn half_open_handshakes_use_little_memory_and_do_not_delay_other_clients() {
    const HALF_OPEN: usize = 2000;
    let edge = Edge::new(Mode::Userspace);
    let certificate = write_pair(edge.folder(), "ordinary");
    write_pair(edge.folder(), "modern");
    let daemon = edge.start_with(&configuration(&edge, CONNECTORS));
    let before = daemon.memory("VmRSS").unwrap();
    let half_open: Vec<TcpStream> = (0..HALF_OPEN)
        .map(|_| {
            let mut stream = edge.stream(SCANNER);
            // The beginning of a ClientHello that is never completed.
            stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").unwrap();
            stream
        })
        .collect();
    edge.wait_until(|status| status["sessions"] == HALF_OPEN);
    let each = daemon.memory("VmRSS").unwrap().saturating_sub(before) / HALF_OPEN as u64;
    println!("{HALF_OPEN} half-open handshakes: {each} octets each");
    assert!(each < 64 * 1024, "{each} octets for a half-open handshake");
    let mut client = Terms::trusting(&certificate).shake_hands(edge.stream(SCANNER)).unwrap();
    assert_eq!(client.reply(), "220 edge.test ESMTP");
    drop(half_open);
    drop(client);
    edge.wait_until(|status| status["sessions"] == 0);
}

fn wait_until(mut wanted: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !wanted() {
        assert!(Instant::now() < deadline, "the expected line does not come");
        sleep(Duration::from_millis(100));
    }
}

fn configuration(edge: &Edge, connectors: &str) -> String {
    let folder = edge.folder().display().to_string();
    let tls = "[tls]\ncertificate = \"FOLDER/ordinary.pem\"\nkey = \"FOLDER/ordinary.key\"\n";
    edge.configuration(&format!("{tls}{connectors}").replace("FOLDER", &folder))
}

/// Writes a new certificate with its key, and returns it.
fn write_pair(folder: &Path, name: &str) -> CertificateDer<'static> {
    let made = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).unwrap();
    fs::write(folder.join(format!("{name}.pem")), made.cert.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), made.signing_key.serialize_pem()).unwrap();
    made.cert.der().clone()
}
