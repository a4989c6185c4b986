//! Messages received by BDAT, and their form at the next hop.

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, SCANNER};

/// Octets that confuse a parser of DATA that does not search for exactly CRLF.CRLF, with correct
/// line endings.
const DOTS: &[u8] = b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\nMAIL FROM:<e@f.example>\r\n.\r\n\
    RCPT TO:<g@h.example>\r\nDATA\r\nQUIT\r\n.\r\n";

/// Octets that only a binary body may have: each form of an end of data that some server accepts.
const BINARY: &[u8] = b"Subject: binary\r\n\r\n\n.\n\r.\r\n.\n\n.\r\n\r\n.\r\r\n\0\r\n\r\n.\r\n\r.";

/// Submits a message cut at these offsets; `body` is a parameter of MAIL or empty.
fn submit(edge: &Edge, body: &str, message: &[u8], cuts: &[usize]) {
    let mut client = edge.connect(SCANNER);
    assert!(client.hello().contains("\n250-CHUNKING\n"));
    let mail = format!("MAIL FROM:<a@contoso.example> {body}");
    assert!(client.say(mail.trim_end()).starts_with("250 "));
    assert!(client.say("RCPT TO:<b@fabrikam.example>").starts_with("250 "));
    let mut rest = message;
    for &cut in cuts {
        let (chunk, after) = rest.split_at(cut);
        rest = after;
        client.send(format!("BDAT {cut}\r\n").as_bytes());
        client.send(chunk);
        let taken = format!("250 2.6.0 CHUNK received OK, {cut} octets");
        assert_eq!(client.reply(), taken);
    }
    client.send(format!("BDAT {} LAST\r\n", rest.len()).as_bytes());
    client.send(rest);
    assert!(client.reply().ends_with(" Queued mail for delivery"));
    client.quit();
}

/// The only message at the next hop, without our Received field, and its MAIL parameters.
fn arrived(edge: &Edge) -> (Vec<u8>, String) {
    let message = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0);
    let start = message.content.windows(10).position(|part| part == b"\r\nSubject:").unwrap();
    (message.content[start + 2..].to_vec(), message.sender.parameters)
}

#[test]
fn dots_and_commands_in_chunks_arrive_unchanged_by_data() {
    let edge = Edge::answered(&[]);
    let _daemon = edge.start();
    submit(&edge, "", DOTS, &[1, 15, 3, 4, 0]);
    assert_eq!(arrived(&edge).0, DOTS);
    assert_eq!(edge.sink.messages().len(), 1, "no variant of a dot splits the message");
}

#[test]
fn dots_and_commands_in_chunks_arrive_unchanged_by_chunks() {
    let edge = Edge::answered(&["offer=CHUNKING"]);
    let _daemon = edge.start();
    // Without the last CRLF, only chunks carry it unchanged.
    let unterminated = DOTS.strip_suffix(b"\r\n").unwrap();
    submit(&edge, "", unterminated, &[17, 2]);
    assert_eq!(arrived(&edge), (unterminated.to_vec(), String::new()));
    assert_eq!(edge.sink.messages().len(), 1);
}

#[test]
fn a_binary_message_arrives_unchanged_at_a_next_hop_with_binarymime() {
    let edge = Edge::answered(&["offer=CHUNKING", "offer=BINARYMIME"]);
    let _daemon = edge.start();
    submit(&edge, "BODY=BINARYMIME", BINARY, &[20, 1, 1, 1, 1]);
    assert_eq!(arrived(&edge), (BINARY.to_vec(), "BODY=BINARYMIME".to_owned()));
    assert_eq!(edge.sink.messages().len(), 1);
}

#[test]
fn a_binary_message_is_unchanged_in_a_maildir() {
    let edge = Edge::answered(&[]);
    let maildir = edge.folder().join("mail");
    let route = format!(
        "[[route]]\nrecipient_domains = [\"fabrikam.example\"]\nmaildir = \"{}\"\n",
        maildir.display()
    );
    let daemon = edge.start_with(&(edge.configuration(ARTICLE) + &route));
    submit(&edge, "BODY=BINARYMIME", BINARY, &[30]);
    edge.wait_until(|status| status["queue"]["delivered"] == 1);
    daemon.stop().unwrap();
    let file = std::fs::read_dir(maildir.join("new")).unwrap().next().unwrap().unwrap();
    let kept = std::fs::read(file.path()).unwrap();
    let body = BINARY.strip_prefix(b"Subject: binary\r\n\r\n").unwrap();
    let header = kept.strip_suffix(body).expect("the body, octet by octet");
    assert!(header.ends_with(b"\nSubject: binary\n\n"));
    assert!(!header.contains(&b'\r'), "lines end in LF");
}

#[test]
fn a_binary_message_for_a_next_hop_without_binarymime_is_reported() {
    for offers in [&["offer=CHUNKING"][..], &[]] {
        let edge = Edge::answered(offers);
        let _daemon = edge.start();
        submit(&edge, "BODY=BINARYMIME", BINARY, &[]);
        let report = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0);
        assert_eq!(report.sender.address, "");
        let text = report.text();
        assert!(text.contains("Status: 5.6.1\r\n"), "{text}");
        assert!(text.contains("Content-Type: text/rfc822-headers\r\n"), "{text}");
        assert!(text.contains("\r\nSubject: binary\r\n"), "{text}");
        assert!(!text.replace("\r\n", "").contains(['\r', '\n', '\0']), "{text:?}");
        assert_eq!(edge.sink.messages().len(), 1);
    }
}

#[test]
fn a_message_declared_binary_without_binary_octets_is_sent_by_data() {
    let edge = Edge::answered(&[]);
    let _daemon = edge.start();
    submit(&edge, "BODY=BINARYMIME", DOTS, &[]);
    assert_eq!(arrived(&edge), (DOTS.to_vec(), String::new()));
}

/// Its chunks have other boundaries when sent, after fields of ours were removed from its header.
#[test]
fn a_large_message_arrives_in_chunks_of_any_size() {
    let edge = Edge::answered(&["offer=CHUNKING"]);
    let _daemon = edge.start();
    let message = [b"Subject: large\r\n\r\n".to_vec(), b".\r\n..\r\n0123456789\r\n".repeat(20_000)];
    let message = [message.concat(), b"no end".to_vec()].concat();
    submit(&edge, "", &message, &[100_000]);
    assert!(arrived(&edge).0 == message);
    assert_eq!(edge.sink.messages().len(), 1);
}
