use std::time::Instant;

use super::*;
use crate::tests::{Outcome, VERBOSE, perform, session_with};

/// The records of a session that receives these octets at once, without the greeting, EHLO and the
/// end.
fn noted(octets: &[u8]) -> Vec<String> {
    let mut session = session_with(VERBOSE);
    let mut outcome = Outcome::default();
    perform(&mut session, &mut outcome);
    session.handle_bytes(Instant::now(), b"EHLO c\r\n");
    perform(&mut session, &mut outcome);
    outcome.protocol.clear();
    session.handle_bytes(Instant::now(), octets);
    perform(&mut session, &mut outcome);
    lines(&outcome.protocol)
}

fn lines(records: &[ProtocolRecord]) -> Vec<String> {
    records.iter().map(|record| format!("{} {}", record.event.sign(), record.data)).collect()
}

/// Of these, the lines of the client.
fn heard(octets: &[u8]) -> Vec<String> {
    let lines = noted(octets);
    lines.iter().filter_map(|line| line.strip_prefix("< ").map(str::to_owned)).collect()
}

#[test]
fn commands_and_replies_keep_their_order() {
    let dialogue = noted(
        b"MAIL FROM:<a@b>\r\nRCPT TO:<c@elsewhere.example>\r\nRCPT TO:<c@accepted.example>\r\n\
          DATA\r\nSubject: x\r\n\r\nbody\r\n.\r\nSTARTTLS\r\n",
    );
    let expected = [
        "< MAIL FROM:<a@b>",
        "> 250 2.1.0 Sender OK",
        "< RCPT TO:<c@elsewhere.example>",
        "> 550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
        "< RCPT TO:<c@accepted.example>",
        "> 250 2.1.5 Recipient OK",
        "< DATA",
        "> 354 Start mail input; end with <CRLF>.<CRLF>",
        "< <20 octets>",
        "* message 0000000000000 committed",
        "> 250 2.6.0 0000000000000 Queued mail for delivery",
        "< STARTTLS",
        "> 220 2.0.0 SMTP server ready",
    ];
    assert_eq!(dialogue, expected);
}

/// Every line of a reply, as it was sent.
#[test]
fn client_lines_are_recorded_completely() {
    let mut session = session_with(VERBOSE);
    let mut outcome = Outcome::default();
    session.handle_bytes(Instant::now(), b"EHLO c\r\nHELP\r\nFOO\r\nQUIT\r\n");
    perform(&mut session, &mut outcome);
    let of_event = |event| {
        let records = outcome.protocol.iter().filter(move |record| record.event == event);
        records.map(|record| record.data.as_str())
    };
    let sent: String = of_event(ProtocolEvent::Sent).map(|line| format!("{line}\r\n")).collect();
    assert_eq!(sent.as_bytes(), outcome.sent);
    assert!(of_event(ProtocolEvent::Received).eq(["EHLO c", "HELP", "FOO", "QUIT"]));
    assert_eq!(lines(&outcome.protocol).last().unwrap(), "* ended: QUIT");
}

#[test]
fn other_connectors_have_no_records() {
    let mut session = session_with("");
    let mut outcome = Outcome::default();
    session.handle_bytes(Instant::now(), b"EHLO c\r\nFOO\r\nQUIT\r\n");
    perform(&mut session, &mut outcome);
    assert!(session.output.protocol.noted.is_none());
    assert_eq!(outcome.protocol, []);
}

#[test]
fn messages_are_counted_and_not_noted() {
    let begin = "MAIL FROM:<a@b>\r\nRCPT TO:<c@accepted.example>\r\n";
    for (rest, expected) in [
        ("DATA\r\nsecret: 1\r\n.\r\n", &["DATA", "<11 octets>"][..]),
        (
            "BDAT 5\r\nA: b\nBDAT 3 LAST\r\n\r\n!",
            &["BDAT 5", "<5 octets>", "BDAT 3 LAST", "<3 octets>"],
        ),
        // Refused, and read all the same.
        ("RSET\r\nBDAT 5\r\nA: b\nNOOP\r\n", &["RSET", "BDAT 5", "<5 octets>", "NOOP"]),
    ] {
        assert_eq!(heard(format!("{begin}{rest}").as_bytes())[2..], *expected, "{rest:?}");
    }

    let mut session = session_with(VERBOSE);
    let mut outcome = Outcome::default();
    let unfinished = format!("EHLO c\r\n{begin}DATA\r\nsecret: 1\r\n");
    session.handle_bytes(Instant::now(), unfinished.as_bytes());
    perform(&mut session, &mut outcome);
    session.handle_disconnect();
    perform(&mut session, &mut outcome);
    let lines = lines(&outcome.protocol);
    let expected = ["< <11 octets, unfinished>", "* ended: disconnected"];
    assert_eq!(lines[lines.len() - 2..], expected);
}

#[test]
fn authentication_data_is_not_recorded() {
    for (line, expected) in [
        ("AUTH PLAIN AGEAYg==", "AUTH PLAIN <authentication data>"),
        ("auth plain AGEAYg== more", "auth plain <authentication data>"),
        ("AUTH CRAM-MD5", "AUTH CRAM-MD5"),
        ("AUTH", "AUTH <authentication data>"),
        // An unknown name in lower case could be a password.
        ("AUTH d29uZGVybGFuZA", "AUTH <authentication data>"),
        ("AUTH  AGEAYg==", "AUTH <authentication data>"),
        ("AUTH\tPLAIN  AGEAYg==", "AUTH PLAIN <authentication data>"),
        (" AUTH PLAIN AGEAYg==", "AUTH PLAIN <authentication data>"),
        ("AUTH  PLAIN\tsecret", "AUTH PLAIN <authentication data>"),
        ("AUTH\tsecret", "AUTH <authentication data>"),
        ("Proxy-Authorization: Basic YTpi", "AUTH <authentication data>"),
        (
            "XCLIENT ADDR=192.0.2.7 login=alice",
            "XCLIENT ADDR=192.0.2.7 LOGIN=<authentication data>",
        ),
        (" XCLIENT\tlogin=alice", " XCLIENT LOGIN=<authentication data>"),
        ("MAIL FROM:<a@b> AUTH=c@d", "MAIL FROM:<a@b> AUTH=c@d"),
    ] {
        assert_eq!(heard(format!("{line}\r\n").as_bytes()), [expected]);
    }
}

#[test]
fn the_lines_of_an_exchange_are_not_noted() {
    let hidden = "<authentication data>";
    let dialogue = noted(b"AUTH LOGIN\r\nYQ==\r\nYg==\r\nNOOP\r\n");
    let exchange = ["< AUTH LOGIN", "> 334 <authentication data>", "< <authentication data>"];
    assert_eq!(dialogue[..3], exchange);
    assert_eq!(
        heard(b"AUTH LOGIN\r\nYQ==\r\nYg==\r\nNOOP\r\n"),
        ["AUTH LOGIN", hidden, hidden, "NOOP"]
    );
    assert_eq!(heard(b"AUTH PLAIN\r\n*\r\nNOOP\r\n"), ["AUTH PLAIN", hidden, "NOOP"]);
    // The client continues an exchange that has not begun.
    let blind = heard(b"AUTH NTLM\r\nYQ==\r\nYg==\r\nNOOP\r\nFOO\r\n");
    assert_eq!(blind, ["AUTH NTLM", hidden, hidden, "NOOP", "FOO"]);
    let no_line = "<the line has a bare CR or a NUL>";
    let blind = heard(b"AUTH LOGIN\0\r\nYQ==\r\nNOOP\r\nFOO\r\n");
    assert_eq!(blind, [no_line, hidden, "NOOP", "FOO"]);
}

#[test]
fn no_client_writes_a_line_of_its_own() {
    for (octets, expected) in [
        (&b"EHLO \x1b[2J\x07\t"[..], "EHLO \\u{1b}[2J\\u{7}\\t"),
        (b"a\r\n> 250 OK", "a\\r\\n> 250 OK"),
        ("\u{2028}\u{202e}é\"'\\".as_bytes(), "\\u{2028}\\u{202e}é\"'\\\\"),
        (b"\xc3(\xff", "\\xc3(\\xff"),
    ] {
        assert_eq!(printable(octets), expected);
    }
    let most = PROTOCOL_LOG_LINE_OCTETS;
    assert_eq!(printable(&b"x".repeat(most)), "x".repeat(most));
    for octets in [b"x".repeat(most + 1), b"\0".repeat(most), "é".repeat(most).into_bytes()] {
        let line = printable(&octets);
        assert!((most - 8..=most).contains(&line.len()), "{}", line.len());
        assert!(line.ends_with(&format!("… {} octets", octets.len())), "{line}");
    }
}

/// As many commands as may arrive at once: if the driver fetches the records, none is missing; if
/// they are not fetched, their number is bounded.
#[test]
fn records_are_bounded() {
    let connector = format!("{VERBOSE}max_refused_recipients = \"unlimited\"\n");
    let commands = b"RCPT TO:<a@elsewhere.example>\r\n".repeat(1000);
    let commands = [&b"EHLO c\r\nMAIL FROM:<a@b>\r\n"[..], &commands].concat();
    let mut session = session_with(&connector);
    let mut outcome = Outcome::default();
    session.handle_bytes(Instant::now(), &commands);
    perform(&mut session, &mut outcome);
    let received = outcome.protocol.iter().filter(|record| record.event == ProtocolEvent::Received);
    assert_eq!(received.count(), 1002);
    assert!(!lines(&outcome.protocol).iter().any(|line| line.contains("left out")));

    let mut session = session_with(&connector);
    session.handle_bytes(Instant::now(), &commands);
    while session.poll_action().is_some() {}
    let records = session.take_protocol_records();
    let octets: usize = records.iter().map(|record| record.data.len()).sum();
    assert!((PROTOCOL_LOG_OCTETS / 2..PROTOCOL_LOG_OCTETS).contains(&octets), "{octets}");
    let last = lines(&records).pop().unwrap();
    assert!(last.starts_with("* ") && last.ends_with(" records left out"), "{last}");
    assert_eq!(session.take_protocol_records(), []);
}
