//! Clients that send all commands at once and close their sending side, and connections without any
//! command.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, Mode, SCANNER, json_line, session_line};
use crate::encrypted::Terms;
use crate::starttls::{with_tls, write_certificate};

/// A whole session with one recipient that is refused, at a connector with a tarpit.
const EVERYTHING: &str = "EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<no@elsewhere.example>\r\n\
    RCPT TO:<yes@contoso.example>\r\nDATA\r\nSubject: at once\r\n\r\nbody\r\n.\r\nQUIT\r\n";

const FRONTEND: &str = r#"
[[connector]]
name = "Front"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
auth_mechanism = ["Tls"]
permission_groups = ["AnonymousUsers"]
tarpit_interval = "1s"
"#;

const PROXIES: &str = "[proxies]\nproxy_protocol_from = [\"127.0.0.8\"]\n";

fn codes(said: &str) -> Vec<&str> {
    let last = said.lines().filter(|line| line.as_bytes().get(3) == Some(&b' '));
    last.map(|line| &line[..3]).collect()
}

/// Sends it in one write, closes its sending side, and reads to the end.
fn at_once(mut stream: TcpStream, octets: &[u8]) -> String {
    stream.write_all(octets).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).unwrap();
    heard
}

fn served(edge: &Edge, said: &str) {
    assert_eq!(codes(said), ["220", "250", "250", "550", "250", "354", "250", "221"], "{said}");
    let message = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0).text();
    assert!(message.contains("Subject: at once"), "{message}");
}

#[test]
fn a_client_that_closes_its_sending_side_is_served_to_the_end() {
    let edge = Edge::new(Mode::Userspace);
    write_certificate(edge.folder());
    let _daemon = edge.start_with(&with_tls(&edge, FRONTEND));
    served(&edge, &at_once(edge.stream(SCANNER), EVERYTHING.as_bytes()));
}

#[test]
fn a_client_that_closes_its_sending_side_behind_a_proxy_is_served_to_the_end() {
    let edge = Edge::new(Mode::Userspace);
    write_certificate(edge.folder());
    let _daemon = edge.start_with(&with_tls(&edge, &format!("{PROXIES}{FRONTEND}")));
    let octets = format!("PROXY TCP4 127.0.0.3 10.0.0.1 4711 25\r\n{EVERYTHING}");
    served(&edge, &at_once(edge.stream("127.0.0.8"), octets.as_bytes()));
}

/// With a close_notify, and without one.
#[test]
fn a_client_that_closes_its_sending_side_within_tls_is_served_to_the_end() {
    for says_so in [true, false] {
        let edge = Edge::new(Mode::Userspace);
        let certificate = write_certificate(edge.folder());
        let _daemon = edge.start_with(&with_tls(&edge, FRONTEND));
        let client = Terms::trusting(&certificate).start_tls(&edge, SCANNER).unwrap();
        let mut stream = client.into_stream();
        stream.write_all(EVERYTHING.as_bytes()).unwrap();
        if says_so {
            stream.conn.send_close_notify();
        }
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        served(&edge, &format!("220 \r\n{heard}"));
    }
}

#[test]
fn probes_of_a_proxy_are_counted_and_not_logged() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start_with(&edge.configuration(&format!("{PROXIES}{ARTICLE}")));
    let before = daemon.line_count();
    // A connection and its end, by FIN and by RST; and one on which the proxy speaks for itself.
    drop(edge.stream("127.0.0.8"));
    let reset = edge.stream("127.0.0.8");
    socket2::SockRef::from(&reset).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(reset);
    let own = at_once(edge.stream("127.0.0.8"), b"PROXY UNKNOWN\r\n");
    assert!(own.starts_with("220 "), "{own}");
    edge.wait_until(|status| {
        let of_connectors = status["connectors"].as_array().unwrap().iter();
        let of_connectors = of_connectors.map(|it| it["daemon"]["probes"].as_u64().unwrap());
        let probes =
            of_connectors.sum::<u64>() + status["no_connector"]["probes"].as_u64().unwrap();
        probes == 3
    });
    // An incomplete header is not a health check.
    assert_eq!(at_once(edge.stream("127.0.0.8"), b"PROXY TCP4"), "");
    let line = json_line(&daemon, before, |line| line["rule"] == "proxy_protocol_from");
    assert_eq!((&line["level"], &line["reply"]), (&"INFO".into(), &Value::Null), "{line}");
    assert!(line["found"].as_str().unwrap().contains("within the header"), "{line}");
    let output = daemon.output();
    let lines: Vec<_> = output.lines().skip(before).collect();
    assert!(lines.iter().all(|line| !line.contains("\"session\"")), "{lines:?}");
    assert_eq!(lines.iter().filter(|line| line.contains("127.0.0.8")).count(), 1, "{lines:?}");
}

#[test]
fn a_session_line_says_why_a_handshake_failed() {
    let edge = Edge::new(Mode::Userspace);
    let certificate = write_certificate(edge.folder());
    let daemon = edge.start_with(&with_tls(&edge, FRONTEND));
    let failure = |from: &str, handshake: &dyn Fn(TcpStream)| {
        let mut client = edge.connect(from);
        client.hello();
        assert!(client.say("STARTTLS").starts_with("220 "));
        handshake(client.into_stream());
        let line = session_line(&daemon, 0, from);
        assert_eq!(line["ending"], "TLS handshake failed", "{line}");
        assert_eq!(line["level"], "INFO");
        line["tls_failure"].as_str().unwrap().to_owned()
    };
    let gone = failure("127.0.0.21", &|stream| drop(stream));
    assert!(gone.contains("the client closed"), "{gone}");
    let plain = failure("127.0.0.22", &|mut stream| {
        stream.write_all(b"EHLO client.example\r\n").unwrap();
        let mut heard = Vec::new();
        if let Err(error) = stream.read_to_end(&mut heard) {
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
    assert!(plain.contains("did not send TLS"), "{plain}");
    let other = rcgen::generate_simple_self_signed(["edge.test".to_owned()]).unwrap();
    let distrust = failure("127.0.0.23", &|stream| {
        assert!(Terms::trusting(other.cert.der()).shake_hands(stream).is_err());
    });
    assert!(distrust.contains("the client"), "{distrust}");
    assert!(Terms::trusting(&certificate).start_tls(&edge, "127.0.0.24").is_ok());
}
