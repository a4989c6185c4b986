//! Refusals before the message has been sent, or with it.

use crate::client::tests::*;

#[test]
fn too_many_recipients_are_no_failure() {
    for (reply, letters) in [
        ("552 enough\r\n", "+~-"),
        ("552 5.5.3 enough\r\n", "+~-"),
        ("452 4.5.3 enough\r\n", "+~-"),
        // Another reason, and it is for good.
        ("552 5.2.2 mailbox full\r\n", "+--"),
    ] {
        let mut hop = Hop::begun(FULL, 3);
        hop.say("250 ok\r\n250 ok\r\n");
        hop.say(reply);
        hop.say("550 no\r\n354 go\r\n");
        assert_eq!(hop.event(), ClientEvent::SendMessage);
        hop.send("x\r\n");
        hop.say("250 taken\r\n");
        assert_eq!(hop.letters(), letters, "{reply}");
    }
    // One recipient is never too many.
    let mut hop = Hop::begun(FULL, 2);
    hop.say("250 ok\r\n552 full\r\n250 ok\r\n354 go\r\n");
    assert_eq!(hop.event(), ClientEvent::SendMessage);
    hop.send("x\r\n");
    hop.say("250 taken\r\n");
    assert_eq!(hop.letters(), "-+");
}

#[test]
fn no_recipient_is_accepted() {
    // Pipelined: DATA was sent already; a refusal of it changes nothing.
    let mut hop = Hop::begun(FULL, 2);
    hop.heard();
    hop.say("250 ok\r\n550 no\r\n450 busy\r\n503 no recipients\r\n");
    assert_eq!(hop.heard(), "RSET\r\n");
    assert_eq!(hop.letters(), "-~");
    hop.say("250 ok\r\n");
    assert_eq!(hop.event(), ClientEvent::Ready);

    // DATA accepted nevertheless: an empty message without recipients.
    let mut hop = Hop::begun(FULL, 1);
    hop.heard();
    hop.say("250 ok\r\n550 no\r\n354 go\r\n");
    assert_eq!(hop.heard(), ".\r\n");
    hop.say("250 taken\r\n");
    assert_eq!(hop.letters(), "-");
    assert_eq!(hop.event(), ClientEvent::Ready);

    // One by one: DATA is not sent.
    let mut hop = Hop::begun("250 hop\r\n", 1);
    hop.heard();
    hop.say("250 ok\r\n");
    hop.heard();
    hop.say("550 no\r\n");
    assert_eq!(hop.heard(), "RSET\r\n");
    assert_eq!(hop.letters(), "-");
}

#[test]
fn the_sender_is_refused() {
    for (reply, letters) in [
        ("550 no\r\n", "--"),
        ("451 later\r\n", "~~"),
        // We should have authenticated, or otherwise, or in TLS.
        ("530 5.7.0 Authentication required\r\n", "~~"),
        ("535 5.7.139 Authentication unsuccessful\r\n", "~~"),
        ("538 5.7.11 Encryption required\r\n", "~~"),
    ] {
        let mut hop = Hop::begun("250 hop\r\n", 2);
        hop.heard();
        hop.say(reply);
        assert_eq!(hop.heard(), "RSET\r\n");
        assert_eq!(hop.letters(), letters);

        let mut hop = Hop::begun(FULL, 2);
        hop.heard();
        hop.say(reply);
        hop.say("503 mail first\r\n503 mail first\r\n503 mail first\r\n");
        assert_eq!(hop.heard(), "RSET\r\n");
        assert_eq!(hop.letters(), letters);
    }
}

#[test]
fn no_recipient_gets_an_empty_message_when_only_the_sender_is_refused() {
    let mut hop = Hop::begun(FULL, 2);
    hop.heard();
    hop.say("550 5.7.1 not you\r\n250 ok\r\n550 no\r\n354 go\r\n");
    assert_eq!(hop.letters(), "--");
    hop.is_closed();
    assert_eq!(hop.heard(), "", "no end of data");
}

#[test]
fn data_or_its_end_is_refused() {
    for (reply, letter) in [("554 no\r\n", "-"), ("451 later\r\n", "~")] {
        let mut hop = Hop::begun(FULL, 1);
        hop.heard();
        hop.say("250 ok\r\n250 ok\r\n");
        hop.say(reply);
        assert_eq!(hop.letters(), letter);

        let mut hop = Hop::begun(FULL, 1);
        hop.say("250 ok\r\n250 ok\r\n354 go\r\n");
        hop.event();
        hop.send("x\r\n");
        hop.say(reply);
        assert_eq!(hop.letters(), letter);
        assert_eq!(hop.event(), ClientEvent::Ready);
    }
}
