//! Next hops that accept BDAT.

use crate::client::tests::*;

const CHUNKING: &str = "250-hop\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 CHUNKING\r\n";
const BINARY: &str = "250-hop\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 BINARYMIME\r\n";

/// A message that DATA would change.
fn unterminated(recipients: usize) -> Transaction {
    Transaction { unterminated: true, ..transaction(recipients) }
}

#[test]
fn a_message_that_data_carries_unchanged_is_sent_by_data() {
    let mut hop = Hop::begun(CHUNKING, 1);
    assert!(hop.heard().ends_with("\r\nDATA\r\n"));
    let mut hop = Hop::begun_with("250-hop\r\n250 PIPELINING\r\n", unterminated(1));
    assert!(hop.heard().ends_with("\r\nDATA\r\n"), "there is no other way");
}

#[test]
fn one_chunk_once_the_recipients_are_known() {
    let mut hop = Hop::begun_with(CHUNKING, unterminated(2));
    assert_eq!(
        hop.heard(),
        "MAIL FROM:<s@contoso.example>\r\nRCPT TO:<r0@fabrikam.example>\r\n\
         RCPT TO:<r1@fabrikam.example>\r\n"
    );
    hop.say("250 ok\r\n250 ok\r\n");
    assert_eq!(hop.session.poll_event(), None);
    hop.say("550 no\r\n");
    assert_eq!(hop.event(), ClientEvent::SendMessage);
    let message = ".\r\n".repeat(33) + "x";
    hop.send(&message);
    assert_eq!(hop.heard(), format!("BDAT 100 LAST\r\n{message}QUIT\r\n"));
    hop.say("250 taken\r\n");
    assert!(hop.session.awaits_end_of_data(), "the reply to QUIT shows whose reply that was");
    assert_eq!(hop.session.poll_event(), None);
    hop.say("221 bye\r\n");
    assert_eq!(hop.letters(), "+-");
    hop.is_closed();
}

#[test]
fn no_chunk_without_an_accepted_recipient() {
    let mut hop = Hop::begun_with(CHUNKING, unterminated(1));
    hop.heard();
    hop.say("250 ok\r\n550 no\r\n");
    assert_eq!(hop.letters(), "-");
    assert_eq!(hop.heard(), "RSET\r\n");
}

#[test]
fn a_message_that_is_not_binary_keeps_the_rules_of_lines_in_a_chunk() {
    let mut hop = Hop::begun_with(CHUNKING, unterminated(1));
    hop.say("250 ok\r\n250 ok\r\n");
    assert_eq!(hop.event(), ClientEvent::SendMessage);
    hop.heard();
    hop.session.send_message(b"a\nb", hop.now);
    assert_eq!(hop.heard(), "", "nothing of the piece");
    assert_eq!(hop.letters(), "-");
    hop.is_closed();
}

#[test]
fn the_size_is_that_of_what_is_sent() {
    let mut hop = Hop::begun_with(CHUNKING, unterminated(1));
    hop.say("250 ok\r\n250 ok\r\n");
    assert_eq!(hop.event(), ClientEvent::SendMessage);
    hop.heard();
    // A field was removed before sending: 100 octets were recorded.
    hop.send("shorter");
    assert_eq!(hop.heard(), "BDAT 7 LAST\r\nshorterQUIT\r\n");
    hop.say("250 taken\r\n221 bye\r\n");
    assert_eq!(hop.letters(), "+");
}

/// A message of three chunks on its way, the last included.
fn three_chunks() -> Hop {
    let mut hop = Hop::begun_with(CHUNKING, unterminated(1));
    hop.say("250 ok\r\n250 ok\r\n");
    assert_eq!(hop.event(), ClientEvent::SendMessage);
    let chunk = "x".repeat(limits::CLIENT_CHUNK_OCTETS);
    hop.session.send_message(chunk.as_bytes(), hop.now);
    hop.session.send_message(chunk.as_bytes(), hop.now);
    hop.say("250 first\r\n");
    assert_eq!(hop.session.poll_event(), None);
    hop.session.send_message(b"\r\n", hop.now);
    hop.session.end_message(hop.now);
    hop
}

#[test]
fn each_chunk_has_its_reply_and_the_last_one_counts() {
    let mut hop = three_chunks();
    hop.say("250 second\r\n");
    assert_eq!(hop.session.poll_event(), None);
    hop.say("250 taken\r\n221 bye\r\n");
    assert_eq!(hop.outcomes(), [('+', "250 taken (hop:25)".to_owned())]);
    hop.is_closed();
}

#[test]
fn a_refused_chunk_refuses_the_message() {
    let mut hop = three_chunks();
    hop.say("552 too large\r\n");
    assert_eq!(hop.outcomes(), [('-', "552 too large, to the message (hop:25)".to_owned())]);
    hop.is_closed();
    let mut hop = three_chunks();
    hop.say("354 what\r\n");
    assert_eq!(hop.letters(), "~");
    hop.is_closed();
}

#[test]
fn an_unknown_bdat_is_no_refusal_of_the_message() {
    let mut hop = three_chunks();
    hop.say("502 what\r\n");
    let outcomes = hop.outcomes();
    assert!(outcomes[0].0 == '~' && outcomes[0].1.contains("502 what"), "{outcomes:?}");
    assert!(hop.session.was_misled());
    hop.is_closed();
    // Spoken to plainly, it gets DATA.
    let mut hop = Hop::opened_with(ClientOpening { use_basic_smtp: true, ..plain() });
    hop.say("220 hop\r\n");
    hop.say(CHUNKING);
    hop.session.begin(unterminated(1), hop.now);
    hop.say("250 ok\r\n");
    hop.say("250 ok\r\n");
    assert!(hop.heard().ends_with("DATA\r\n"));
}

#[test]
fn without_pipelining_there_are_no_chunks() {
    let mut hop = Hop::begun_with("250-hop\r\n250 CHUNKING\r\n", unterminated(1));
    hop.say("250 ok\r\n");
    hop.say("250 ok\r\n");
    assert!(hop.heard().ends_with("DATA\r\n"));
}

#[test]
fn a_binary_message_needs_both_extensions() {
    let binary = Transaction { binary: true, eight_bit: true, ..transaction(1) };
    for (hello, offered) in [(FULL, false), (CHUNKING, false), (BINARY, true)] {
        let mut hop = Hop::greeted(hello);
        hop.session.begin(binary.clone(), hop.now);
        let heard = hop.heard();
        if offered {
            assert!(heard.starts_with("MAIL FROM:<s@contoso.example> BODY=BINARYMIME\r\n"));
            hop.say("250 ok\r\n250 ok\r\n");
            assert_eq!(hop.event(), ClientEvent::SendMessage);
            hop.send(&"\n\r\0.\n".repeat(20));
            assert!(hop.heard().ends_with("\n\r\0.\nQUIT\r\n"));
        } else {
            assert_eq!(heard, "", "not a word");
            let said = "5.6.1 the message needs BINARYMIME, which the next hop does not offer";
            assert_eq!(hop.outcomes(), [('-', format!("{said} (hop:25)"))]);
            assert_eq!(hop.event(), ClientEvent::Ready);
        }
    }
}
