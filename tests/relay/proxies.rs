//! Clients behind a proxy: their address for us, and which hosts may state it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use crate::PATIENCE;
use crate::dialogue::Dialogue;
use crate::edge::{ARTICLE, Edge, Mode, SCANNER, json_line};
use relay_tests::sink::Message;
use serde_json::Value;

/// The host whose PROXY header is accepted, and the one whose XCLIENT is accepted.
const PROXY: &str = "127.0.0.8";
const XCLIENT: &str = "127.0.0.9";

const PROXIES: &str = r#"
[proxies]
proxy_protocol_from = ["127.0.0.8"]
xclient_from = ["127.0.0.9"]
"#;

fn configuration(edge: &Edge, connectors: &str) -> String {
    edge.configuration(&format!("{PROXIES}{connectors}"))
}

/// A connection from the proxy without any octets.
fn connect(edge: &Edge) -> TcpStream {
    let stream = edge.stream(PROXY);
    stream.set_nodelay(true).unwrap();
    stream
}

/// Sends the header in pieces of `size`, then a client's commands without waiting.
fn speak(edge: &Edge, header: &[u8], size: usize, rest: &str) -> String {
    let mut stream = connect(edge);
    for piece in header.chunks(size) {
        stream.write_all(piece).unwrap();
    }
    stream.write_all(rest.as_bytes()).unwrap();
    let mut heard = Vec::new();
    if let Err(error) = stream.read_to_end(&mut heard) {
        // Unread output of ours turns the end into a reset.
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    String::from_utf8(heard).unwrap()
}

fn version_2(client: [u8; 4]) -> Vec<u8> {
    let fixed = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0f".to_vec();
    let addresses = [&client[..], &[10, 0, 0, 1, 0x12, 0x67, 0, 25], &[4, 0, 0]].concat();
    [fixed, addresses].concat()
}

const RELAYING: &str = "EHLO c\r\nMAIL FROM:<a@contoso.example>\r\n\
    RCPT TO:<b@fabrikam.example>\r\nQUIT\r\n";

#[test]
fn the_address_that_a_proxy_states_selects_the_connector_for_all_cuts_of_the_header() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start_with(&configuration(&edge, ARTICLE));
    let line = b"PROXY TCP4 127.0.0.3 10.0.0.1 4711 25\r\n";
    let of_scanner = version_2([127, 0, 0, 3]);
    for header in [&line[..], &of_scanner] {
        for size in [1, 2, 7, header.len()] {
            let heard = speak(&edge, header, size, RELAYING);
            assert!(heard.contains("\r\n250-edge.test Hello [127.0.0.3]\r\n"), "{heard}");
            assert!(heard.contains("\r\n250 2.1.5 Recipient OK\r\n"), "{heard}");
        }
    }
    let stranger = speak(&edge, b"PROXY TCP4 127.0.0.77 10.0.0.1 4711 25\r\n", 100, RELAYING);
    assert!(stranger.contains("\r\n550 5.7.54 "), "{stranger}");
    let refused = speak(&edge, &version_2([127, 0, 0, 4]), 100, "");
    assert!(refused.starts_with("421 4.3.2 "), "{refused}");
    let unmatched = speak(&edge, b"PROXY TCP4 192.0.2.1 10.0.0.1 4711 25\r\n", 100, "");
    assert!(unmatched.starts_with("421 4.3.2 "), "{unmatched}");
    // For itself, a proxy is a client with its own address.
    let own = speak(&edge, b"PROXY UNKNOWN\r\n", 100, RELAYING);
    assert!(own.contains(" Hello [127.0.0.8]\r\n") && own.contains("\r\n550 5.7.54 "), "{own}");
}

/// Every connection that sent an octet has a record, even if nothing could be answered.
#[test]
fn a_connection_without_a_valid_proxy_header_has_a_record() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start_with(&configuration(&edge, ARTICLE));
    let records = || {
        let trace = edge.relay(&["trace", "--json", "--remote", PROXY, "--since", "1h"]).json();
        trace["refusals"].as_array().unwrap().clone()
    };
    for (number, octets) in ["EHLO c\r\n", "PROXY TCP4 x\r\n", "PROXY TCP4 "].iter().enumerate() {
        let mut stream = connect(&edge);
        stream.write_all(octets.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let refused = |status: &Value| status["no_connector"]["connections_refused"] == number + 1;
        edge.wait_until(refused);
    }
    let found = records();
    assert_eq!(found.len(), 3, "{found:?}");
    for record in &found {
        assert_eq!((&record["event"], &record["command"]), (&"REFUSE".into(), &"CONNECT".into()));
        assert_eq!(record["rule"], "proxy_protocol_from");
        assert!(record["remote"].as_str().unwrap().starts_with(PROXY), "{record}");
        assert_eq!(record["reply"], Value::Null, "none was sent");
    }
    // A health check without an octet is no client.
    drop(connect(&edge));
    edge.wait_until(|status| status["no_connector"]["probes"] == 1);
    assert_eq!(records().len(), 3);
}

/// An IPv6 client behind a proxy that connects to us over IPv4: the ranges of the client's own
/// family count.
#[test]
fn a_client_of_the_other_family_belongs_to_the_connector_with_its_range() {
    let edge = Edge::new(Mode::Userspace);
    let connectors = ARTICLE
        .replace("\"127.0.0.3\",", "\"127.0.0.3\", \"2001:db8:5::/64\",")
        .replace("\"127.0.0.0/8\"", "\"127.0.0.0/8\", \"::/0\"");
    let _daemon = edge.start_with(&configuration(&edge, &connectors));
    let header = |client| format!("PROXY TCP6 {client} 2001:db8::25 4711 25\r\n");
    let scanner = speak(&edge, header("2001:db8:5::7").as_bytes(), 100, RELAYING);
    assert!(scanner.contains(" Hello [2001:db8:5::7]\r\n"), "{scanner}");
    assert!(scanner.contains("\r\n250 2.1.5 Recipient OK\r\n"), "{scanner}");
    let stranger = speak(&edge, header("2001:db8:6::7").as_bytes(), 100, RELAYING);
    assert!(stranger.contains("\r\n550 5.7.54 "), "{stranger}");

    let mut told = edge.connect(XCLIENT);
    assert!(told.say("XCLIENT ADDR=IPV6:2001:db8:5::7").starts_with("220 "));
    assert!(told.hello().starts_with("250-edge.test Hello [2001:db8:5::7]\n"));
    assert!(told.say("MAIL FROM:<a@contoso.example>").starts_with("250 "));
    assert!(told.say("RCPT TO:<b@fabrikam.example>").starts_with("250 "));
}

#[test]
fn a_proxy_without_a_header_is_disconnected_without_a_reply() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start_with(&configuration(&edge, ARTICLE));
    for octets in ["EHLO client.example\r\n", "PROXY TCP4 nonsense\r\n", "\r\n\r\nNOOP\r\n"] {
        assert_eq!(speak(&edge, octets.as_bytes(), 100, ""), "");
    }
    // From any other client a header is an unknown command.
    let mut forger = edge.connect("127.0.0.5");
    let reply = forger.say("PROXY TCP4 127.0.0.3 10.0.0.1 4711 25");
    assert_eq!(reply, "500 5.3.3 Unrecognized command");
    assert!(forger.hello().starts_with("250-edge.test Hello [127.0.0.5]\n"));
    assert_eq!(forger.say("XCLIENT ADDR=127.0.0.3"), "500 5.3.3 Unrecognized command");
}

#[test]
fn limits_count_the_client_and_not_the_proxy() {
    const ONE_EACH: &str = r#"
[[connector]]
name = "One each"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
max_inbound_connection_per_source = 1
max_inbound_connection_percentage_per_source = 100
"#;
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start_with(&configuration(&edge, ONE_EACH));
    let open = |client: &str| {
        let mut stream = connect(&edge);
        let header = format!("PROXY TCP4 {client} 10.0.0.1 4711 25\r\n");
        stream.write_all(header.as_bytes()).unwrap();
        Dialogue::on(stream)
    };
    let first = open("127.0.0.20");
    let second = open("127.0.0.21");
    assert!(first.greeting.starts_with("220 ") && second.greeting.starts_with("220 "));
    assert!(open("127.0.0.20").greeting.starts_with("421 4.3.2 The maximum number"));

    // The same behind XCLIENT: the session's permit changes from the proxy's to the client's.
    let mut told = edge.connect(XCLIENT);
    assert!(told.hello().contains("\n250-XCLIENT NAME ADDR PORT"));
    assert!(told.say("XCLIENT ADDR=127.0.0.20").starts_with("421 4.3.2 The maximum number"));
    told.ends();
    edge.wait_until(|status| status["sessions"] == 2);
    let mut told = edge.connect(XCLIENT);
    assert!(told.say("XCLIENT ADDR=127.0.0.22").starts_with("220 "));
    let again = edge.connect(XCLIENT);
    assert!(again.greeting.starts_with("220 "));
    first.quit();
    edge.wait_until(|status| status["sessions"] == 3);
    assert!(open("127.0.0.20").greeting.starts_with("220 "));
}

/// If a proxy names no client, the address is that of the connection, and nothing claims that a
/// proxy has stated it.
#[test]
fn a_proxy_that_states_no_address_is_the_client() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start_with(&configuration(&edge, ARTICLE));
    let mut told = edge.connect(XCLIENT);
    assert!(told.say("XCLIENT NAME=printer.example PORT=1").starts_with("220 "));
    assert!(told.hello().starts_with("250-edge.test Hello [127.0.0.9]\n"));
    told.quit();
    let line = json_line(&daemon, 0, |line| line["message"] == "session");
    let port =
        |line: &Value| line["remote"].as_str().unwrap().rsplit(':').next().map(str::to_owned);
    assert!(!["0", "1"].map(|it| Some(it.to_owned())).contains(&port(&line)), "{line}");
    assert_eq!(line["proxy"], Value::Null, "{line}");
    assert!(!line["why"].as_str().unwrap().contains("stated the address"), "{line}");

    let own = speak(&edge, b"PROXY UNKNOWN\r\n", 100, "EHLO c\r\nQUIT\r\n");
    assert!(own.contains(" Hello [127.0.0.8]\r\n"), "{own}");
    let of_proxy = |line: &Value| line["remote"].as_str().is_some_and(|it| it.starts_with(PROXY));
    let line = json_line(&daemon, 0, |line| line["message"] == "session" && of_proxy(line));
    assert_eq!(line["proxy"], Value::Null, "{line}");
    assert_eq!(line["why"], "the userspace classifier is in use", "{line}");
}

fn arrived(edge: &Edge) -> Message {
    edge.sink.wait_for(1, PATIENCE).unwrap().remove(0)
}

#[test]
fn a_message_by_xclient_names_the_client_in_its_trace_field() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start_with(&configuration(&edge, ARTICLE));
    let mut client = edge.connect(XCLIENT);
    client.hello();
    let told =
        format!("XCLIENT NAME=printer.example ADDR={SCANNER} PORT=4711 HELO=printer.example");
    assert!(client.say(&told).starts_with("220 "));
    assert!(client.hello().starts_with("250-edge.test Hello [127.0.0.3]\n"));
    let content = b"Subject: a scan\r\n\r\nhello\r\n";
    let reply = client.message("a@contoso.example", &["b@fabrikam.example"], content);
    assert!(reply.ends_with("Queued mail for delivery"), "{reply}");
    client.quit();
    let text = arrived(&edge).text();
    assert!(text.starts_with("Received: from printer.example ([127.0.0.3])\r\n"), "{text}");
    assert!(text.contains("(connector \"Scanners\", anonymous)"), "{text}");
    let line = json_line(&daemon, 0, |line| line["accepted"] == 1);
    assert_eq!(line["remote"], "127.0.0.3:4711");
    assert!(line["proxy"].as_str().unwrap().starts_with("127.0.0.9:"), "{line}");
    assert_eq!(line["connector"], "Scanners");
}
