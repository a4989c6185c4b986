//! LMTP (RFC 2033).

use relay_mail::protocol::DeliveryProtocol;

use crate::client::tests::*;

const LHLO: &str = "250-hop\r\n250-PIPELINING\r\n250 8BITMIME\r\n";

fn greeted() -> Hop {
    let mut hop = Hop::opened_with(ClientOpening { protocol: DeliveryProtocol::Lmtp, ..plain() });
    hop.say("220 hop LMTP\r\n");
    assert_eq!(hop.heard(), "LHLO edge1\r\n");
    hop
}

/// A session that has sent a message for three recipients; the second was refused.
fn sent() -> Hop {
    let mut hop = greeted();
    hop.say(LHLO);
    assert_eq!(hop.event(), ClientEvent::Ready);
    hop.session.begin(transaction(3), hop.now);
    hop.say("250 ok\r\n250 ok\r\n550 5.1.1 no\r\n250 ok\r\n354 go\r\n");
    assert_eq!(hop.event(), ClientEvent::SendMessage);
    hop.send("x\r\n");
    hop.heard();
    hop
}

#[test]
fn each_recipient_has_a_reply_after_the_data() {
    let mut hop = sent();
    hop.say("250 2.1.5 stored\r\n");
    assert_eq!(hop.session.poll_event(), None, "there is one more to come");
    assert!(hop.session.awaits_end_of_data() && hop.session.deadline().is_some());
    hop.say("452 4.2.2 full\r\n");
    assert_eq!(hop.session.poll_event(), None, "the reply to QUIT shows whose replies these were");
    hop.say("221 bye\r\n");
    let outcomes = hop.outcomes();
    assert_eq!(outcomes[0], ('+', "250 2.1.5 stored (hop:25)".to_owned()));
    assert_eq!(outcomes[1], ('-', "550 5.1.1 no, to RCPT (hop:25)".to_owned()));
    assert_eq!(outcomes[2], ('~', "452 4.2.2 full, to the message (hop:25)".to_owned()));
    hop.is_closed();
}

#[test]
fn a_connection_goes_on_after_a_message_for_one() {
    let mut hop = greeted();
    hop.say(LHLO);
    assert_eq!(hop.event(), ClientEvent::Ready);
    hop.session.begin(transaction(2), hop.now);
    hop.say("250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n");
    assert_eq!(hop.event(), ClientEvent::SendMessage);
    hop.heard();
    hop.send("x\r\n");
    assert_eq!(hop.heard(), "x\r\n.\r\n");
    hop.say("250 stored\r\n");
    assert_eq!(hop.letters(), "+-");
    assert_eq!(hop.event(), ClientEvent::Ready);
}

#[test]
fn all_replies_in_one_packet_and_one_for_good() {
    let mut hop = sent();
    hop.say("550 5.2.1 no\r\n250 stored\r\n221 bye\r\n");
    assert_eq!(hop.letters(), "--+");
}

#[test]
fn recipients_without_a_reply_are_tried_again() {
    let mut hop = sent();
    hop.say("250 stored\r\n");
    hop.session.handle_closed("reset by peer");
    assert_eq!(hop.letters(), "+-~");
    hop.is_closed();
    let mut hop = sent();
    hop.say("250 stored\r\n421 4.3.2 closing\r\n");
    assert_eq!(hop.letters(), "+-~");
    hop.is_closed();
    let mut hop = sent();
    hop.say("250 stored\r\n");
    hop.session.handle_timeout(hop.session.deadline().unwrap());
    assert_eq!(hop.letters(), "+-~");
    hop.is_closed();
}

#[test]
fn one_reply_too_many() {
    let mut hop = sent();
    hop.say("250 stored\r\n250 stored\r\n250 stored\r\n221 bye\r\n");
    assert_eq!(hop.letters(), "+-+", "whichever is too many");
    hop.is_closed();
    let mut hop = sent();
    hop.say("250 stored\r\n250 stored\r\n452 full\r\n221 bye\r\n");
    assert_eq!(hop.letters(), "~-~", "it is unknown which");
    hop.is_closed();
}

#[test]
fn a_message_without_an_accepted_recipient_is_not_sent() {
    let mut hop = greeted();
    hop.say(LHLO);
    hop.event();
    hop.session.begin(transaction(1), hop.now);
    hop.heard();
    hop.say("250 ok\r\n550 no\r\n354 go\r\n");
    assert_eq!(hop.heard(), "");
    assert_eq!(hop.letters(), "-");
    hop.is_closed();
}

#[test]
fn there_is_no_helo_in_lmtp() {
    let mut hop = greeted();
    hop.say("500 what\r\n");
    hop.is_closed();
}
