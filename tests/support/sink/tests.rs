use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// Sends `lines` in one write and returns all lines received until the end.
fn dialogue(sink: &Sink, bytes: &[u8]) -> Vec<String> {
    let mut stream = TcpStream::connect(sink.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(bytes).unwrap();
    BufReader::new(stream).lines().map_while(Result::ok).collect()
}

fn envelope_and(content: &str) -> Vec<u8> {
    let head = "EHLO edge.example\r\nMAIL FROM:<a@contoso.example> SIZE=9\r\n\
                RCPT TO:<b@fabrikam.example>\r\nDATA\r\n";
    format!("{head}{content}QUIT\r\n").into_bytes()
}

#[test]
fn stores_envelope_and_exact_content() {
    let sink = Sink::on_loopback(Script::default()).unwrap();
    let content = "Subject: x\r\n\r\n..dot\r\nbare\n.\nlf\r\n.\r\n";
    let replies = dialogue(&sink, &envelope_and(content));
    assert_eq!(replies.last().map(String::as_str), Some("221 2.0.0 Bye"), "{replies:?}");
    let messages = sink.wait_for(1, PATIENCE).unwrap();
    assert_eq!(messages[0].helo, "edge.example");
    assert_eq!(messages[0].sender, Path::parse("<a@contoso.example> SIZE=9").unwrap());
    assert_eq!(messages[0].recipients, [Path::parse("<b@fabrikam.example>").unwrap()]);
    assert_eq!(messages[0].content, b"Subject: x\r\n\r\n.dot\r\nbare\n.\nlf\r\n");
}

#[test]
fn an_empty_content_is_a_message() {
    let sink = Sink::on_loopback(Script::default()).unwrap();
    dialogue(&sink, &envelope_and(".\r\n"));
    assert_eq!(sink.wait_for(1, PATIENCE).unwrap()[0].content, b"");
}

#[test]
fn a_refused_recipient_is_not_in_the_envelope() {
    let script = Script::parse(["rcpt:b@fabrikam.example=550 5.1.1 No such user"]).unwrap();
    let sink = Sink::on_loopback(script).unwrap();
    let replies = dialogue(&sink, &envelope_and(""));
    assert!(replies.contains(&"550 5.1.1 No such user".to_owned()), "{replies:?}");
    assert!(replies.contains(&"503 5.5.1 RCPT first".to_owned()), "{replies:?}");
    assert!(sink.messages().is_empty());
}

#[test]
fn closes_after_421_as_many_times_as_the_script_says() {
    let sink = Sink::on_loopback(Script::parse(["connect*1=421 4.3.2 Later"]).unwrap()).unwrap();
    assert_eq!(dialogue(&sink, b""), ["421 4.3.2 Later"]);
    let replies = dialogue(&sink, b"QUIT\r\n");
    assert_eq!(replies, ["220 sink.example ESMTP", "221 2.0.0 Bye"]);
}

#[test]
fn a_message_without_a_reply_to_its_content_is_not_stored() {
    let sink = Sink::on_loopback(Script::parse(["content*1=close"]).unwrap()).unwrap();
    let replies = dialogue(&sink, &envelope_and("x\r\n.\r\n"));
    assert_eq!(replies.last().map(String::as_str), Some("354 Go ahead"));
    assert!(sink.messages().is_empty());
    dialogue(&sink, &envelope_and("x\r\n.\r\n"));
    assert_eq!(sink.wait_for(1, PATIENCE).unwrap().len(), 1);
}

#[test]
fn a_missing_message_is_an_error_and_not_a_hang() {
    let sink = Sink::on_loopback(Script::default()).unwrap();
    let error = sink.wait_for(1, Duration::from_millis(20)).expect_err("nothing was sent");
    assert!(error.to_string().starts_with("0 of 1"), "{error}");
}

#[test]
fn a_dropped_sink_no_longer_listens() {
    let sink = Sink::on_loopback(Script::default()).unwrap();
    let address = sink.address();
    drop(sink);
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn a_printed_message_has_no_terminal_control_characters() {
    let message = Message {
        client: (Ipv4Addr::LOCALHOST, 1).into(),
        helo: "edge\u{1b}[2J".to_owned(),
        sender: Path::parse("<>").unwrap(),
        recipients: Vec::new(),
        content: b"Subject: \x1b]0;x\x07\r\n".to_vec(),
    };
    let text = message.to_string();
    assert!(!text.contains('\u{1b}') && text.contains("MAIL FROM:<>\n"), "{text}");
}
