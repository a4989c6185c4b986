//! Next hops that violate the protocol, at every stage, and messages that must not be sent.

use std::time::Duration;

use crate::client::tests::*;

/// Brings a session to a stage, with two recipients and PIPELINING, the first refused.
fn at_stage(stage: &str) -> Hop {
    let mut hop = match stage {
        "starttls" | "handshake" | "auth" => return opening::at_stage(stage),
        "greeting" => return Hop::new(),
        "hello" => {
            let mut hop = Hop::new();
            hop.say("220 hop\r\n");
            hop.heard();
            return hop;
        }
        "ready" => return Hop::greeted(FULL),
        _ => Hop::begun(FULL, 2),
    };
    let replies = ["", "250 ok\r\n", "550 no\r\n", "250 ok\r\n", "354 go\r\n"];
    let count = match stage {
        "mail" => 1,
        "rcpt" => 3,
        "data" => 4,
        "message" | "end of data" => 5,
        other => panic!("no stage {other}"),
    };
    hop.say(&replies[..count].concat());
    if count == 5 {
        assert_eq!(hop.event(), ClientEvent::SendMessage);
        hop.session.send_message(b"part", hop.now);
    }
    if stage == "end of data" {
        hop.session.end_message(hop.now);
    }
    hop.heard();
    hop
}

const STAGES: [(&str, &str); 10] = [
    ("greeting", ""),
    ("hello", ""),
    ("starttls", ""),
    ("auth", ""),
    ("ready", ""),
    ("mail", "~~"),
    ("rcpt", "-~"),
    ("data", "-~"),
    ("message", "-~"),
    ("end of data", "-~"),
];

/// The outcomes if replies to a group are missing: the others may belong to other commands.
fn broken_off<'l>(stage: &str, letters: &'l str) -> &'l str {
    if matches!(stage, "rcpt" | "data") { "~~" } else { letters }
}

/// Applies an action to a session at every stage: outcomes stay, other recipients are deferred.
fn at_every_stage(what: &str, act: impl Fn(&mut Hop)) {
    for (stage, letters) in STAGES {
        let mut hop = at_stage(stage);
        act(&mut hop);
        if !letters.is_empty() {
            assert_eq!(hop.letters(), letters, "{what} at {stage}");
        }
        hop.is_closed();
        assert_eq!(hop.heard(), "", "{what} at {stage}: nothing is said any more");
    }
}

#[test]
fn service_not_available() {
    at_every_stage("421", |hop| hop.say("421 4.3.2 closing\r\n"));
}

#[test]
fn connection_lost() {
    for (stage, letters) in STAGES {
        let mut hop = at_stage(stage);
        hop.session.handle_closed("reset by peer");
        if !letters.is_empty() {
            assert_eq!(hop.letters(), broken_off(stage, letters), "{stage}");
        }
        hop.is_closed();
    }
}

#[test]
fn garbage() {
    for garbage in ["hello\r\n", "2500 no\r\n", "\r\n", "250-a\r\n354 b\r\n"] {
        at_every_stage(garbage, |hop| hop.say(garbage));
    }
    let endless = "250-more\r\n".repeat(limits::CLIENT_REPLY_OCTETS / 10 + 1);
    at_every_stage("an endless reply", |hop| hop.say(&endless));
}

#[test]
fn the_text_of_an_invalid_reply_is_kept() {
    for (said, then) in [
        ("550-no\r\n250 yes\x1b\r\n", "it is no reply"),
        ("550 5.7.1 blocked by us", "close"),
        ("550-5.7.1 blocked\r\n550-by us\r\n", "silence"),
    ] {
        let mut hop = Hop::begun(FULL, 1);
        hop.say("250 ok\r\n");
        hop.say(said);
        match then {
            "close" => hop.session.handle_closed("it closed"),
            "silence" => hop.session.handle_timeout(hop.session.deadline().unwrap()),
            _ => {}
        }
        let (letter, text) = hop.outcomes().remove(0);
        let words =
            said.split_whitespace().collect::<Vec<_>>().join(" ").replace('\x1b', "\\u001b");
        assert!(letter == '~' && text.contains(&words), "{text}");
        assert!(text.len() < limits::ANSWER_OCTETS + 40);
        hop.is_closed();
    }
}

#[test]
fn silence() {
    for (stage, letters) in STAGES {
        let mut hop = at_stage(stage);
        let Some(deadline) = hop.session.deadline() else {
            assert_eq!(stage, "ready");
            continue;
        };
        // Part of a reply does not count as an answer.
        hop.now = deadline - Duration::from_millis(1);
        hop.say("25");
        hop.session.handle_timeout(hop.now);
        assert_eq!(hop.session.poll_event(), None, "{stage}: too early");
        hop.session.handle_timeout(deadline);
        if !letters.is_empty() {
            let outcomes = hop.outcomes();
            let found: String = outcomes.iter().map(|(letter, _)| letter).collect();
            assert_eq!(found, broken_off(stage, letters), "{stage}");
            assert!(outcomes[1].1.contains("did not answer in time"), "{}", outcomes[1].1);
        }
        hop.is_closed();
    }
}

#[test]
fn an_unexpected_reply_or_a_refusal_of_rset() {
    for reply in ["250 ok\r\n", "550 no\r\n"] {
        let mut hop = at_stage("ready");
        hop.say(reply);
        hop.is_closed();
    }
    for reply in ["500 what\r\n", "451 no\r\n", "354 go\r\n"] {
        let mut hop = Hop::begun("250 hop\r\n", 1);
        hop.say("550 no\r\n");
        assert_eq!(hop.letters(), "-");
        hop.heard();
        hop.say(reply);
        hop.is_closed();
    }
}

#[test]
fn a_reply_before_its_command() {
    // Without PIPELINING the second would count for a RCPT that was not sent yet.
    let mut hop = Hop::begun("250 hop\r\n", 1);
    hop.say("250 ok\r\n250 ok\r\n");
    let outcomes = hop.outcomes();
    assert!(outcomes[0].1.contains("before the command was sent"), "{outcomes:?}");
    hop.is_closed();
    let mut hop = Hop::new();
    hop.say("220 hop\r\n250 hop\r\n");
    hop.is_closed();
    // That a connection closes may be said at any moment.
    let mut hop = Hop::begun("250 hop\r\n", 1);
    hop.say("250 ok\r\n421 closing\r\n");
    assert_eq!(hop.outcomes(), [('~', "421 closing, to RCPT (hop:25)".to_owned())]);
}

#[test]
fn a_reply_before_the_end_of_data() {
    for (reply, letters) in
        [("552 too much\r\n", "--"), ("451 later\r\n", "-~"), ("250 ok\r\n", "-~")]
    {
        let mut hop = at_stage("message");
        hop.say(reply);
        assert_eq!(hop.letters(), letters, "{reply}");
        hop.is_closed();
    }
}

#[test]
fn codes_without_a_meaning_are_not_believed() {
    let mut hop = Hop::begun(FULL, 1);
    hop.say("354 go\r\n");
    assert_eq!(hop.letters(), "~");
    hop.is_closed();
    let mut hop = Hop::begun(FULL, 1);
    hop.say("250 ok\r\n250 ok\r\n250 ok\r\n");
    assert_eq!(hop.letters(), "~");
    hop.is_closed();
    let mut hop = at_stage("end of data");
    hop.say("354 go on\r\n");
    assert_eq!(hop.letters(), "-~");
    hop.is_closed();
}

#[test]
fn a_recipient_that_cannot_be_named_fails_alone() {
    for hello in ["250-hop\r\n250 PIPELINING\r\n", "250-hop\r\n250-PIPELINING\r\n250 CHUNKING\r\n"]
    {
        let mut hop = Hop::greeted(hello);
        let mut mixed = transaction(3);
        mixed.recipients[1] = ForwardPath::parse("<gr\u{fc}n@fabrikam.example>").unwrap().into();
        hop.session.begin(mixed, hop.now);
        let heard = hop.heard();
        assert_eq!(
            (heard.matches("RCPT").count(), heard.contains("SMTPUTF8")),
            (2, false),
            "{heard}"
        );
        hop.say("250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n");
        assert_eq!(hop.event(), ClientEvent::SendMessage);
        hop.send("x\r\n");
        hop.say("250 taken\r\n");
        let outcomes = hop.outcomes();
        let letters: String = outcomes.iter().map(|(letter, _)| *letter).collect();
        assert_eq!(letters, "+--");
        assert!(outcomes[1].1.starts_with("5.6.7"), "{outcomes:?}");
        assert!(outcomes[2].1.starts_with("550 5.1.1"), "{outcomes:?}");
    }
}

#[test]
fn missing_extensions_of_the_next_hop() {
    let plain = "250 hop\r\n";
    let small = "250-hop\r\n250 SIZE 99\r\n";
    let eight_bit = Transaction { eight_bit: true, ..transaction(2) };
    let smtputf8 = Transaction { smtputf8: true, ..transaction(2) };
    for (hello, transaction, status) in [
        (plain, eight_bit.clone(), "5.6.3"),
        (plain, smtputf8.clone(), "5.6.7"),
        (small, transaction(2), "5.3.4"),
    ] {
        let mut hop = Hop::greeted(hello);
        hop.session.begin(transaction, hop.now);
        assert_eq!(hop.heard(), "", "{status}: nothing is asked");
        let outcomes = hop.outcomes();
        assert!(outcomes.iter().all(|(letter, text)| *letter == '-' && text.starts_with(status)));
        assert_eq!(hop.event(), ClientEvent::Ready);
    }
    let mut hop = Hop::greeted(FULL);
    let both = Transaction { smtputf8: true, ..eight_bit };
    hop.session.begin(both, hop.now);
    let heard = hop.heard();
    assert!(heard.starts_with("MAIL FROM:<s@contoso.example> SIZE=100 BODY=8BITMIME SMTPUTF8\r\n"));
}

#[test]
fn an_unsafe_message_does_not_leave() {
    for message in ["a\r\nb\nc\r\n", "a\rb\r\n", "a\0\r\n"] {
        let mut hop = Hop::begun(FULL, 2);
        hop.say("250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n");
        hop.event();
        hop.heard();
        hop.send(message);
        assert_eq!(hop.heard(), "", "{message:?}");
        let outcomes = hop.outcomes();
        assert_eq!(outcomes[0].1, "550 no, to RCPT (hop:25)");
        assert!(outcomes[1].0 == '-' && outcomes[1].1.starts_with("5.6.0 "), "{}", outcomes[1].1);
        hop.is_closed();
    }
    // Only the end shows it: the octets sent have no end of data.
    let mut hop = Hop::begun(FULL, 1);
    hop.say("250 ok\r\n250 ok\r\n354 go\r\n");
    hop.event();
    hop.heard();
    hop.send("a\r");
    assert_eq!(hop.heard(), "a\r");
    assert_eq!(hop.letters(), "-");
    hop.is_closed();
}

#[test]
fn a_message_that_cannot_be_read_has_no_end() {
    let mut hop = Hop::begun(FULL, 1);
    hop.say("250 ok\r\n250 ok\r\n354 go\r\n");
    hop.event();
    hop.heard();
    hop.session.send_message(b"half a mess", hop.now);
    hop.session.abort_message("the file is damaged");
    assert_eq!(hop.heard(), "half a mess");
    assert_eq!(hop.letters(), "~");
    hop.is_closed();
}

#[test]
fn out_of_turn_calls_change_nothing() {
    let mut hop = Hop::new();
    hop.session.begin(transaction(1), hop.now);
    assert_eq!(hop.letters(), "~");
    hop.session.send_message(b"x", hop.now);
    hop.session.end_message(hop.now);
    hop.session.quit(hop.now);
    assert_eq!(hop.heard(), "");
    hop.say("220 hop\r\n");
    assert_eq!(hop.heard(), "EHLO edge1\r\n");
}

#[test]
fn long_replies_are_kept_short() {
    let mut hop = Hop::begun(FULL, 1);
    let line = "x".repeat(1500);
    hop.say(&format!("550-{line}\r\n550 {line}\r\n"));
    hop.say("503 no\r\n503 no\r\n");
    let outcomes = hop.outcomes();
    assert!(outcomes[0].1.len() < limits::ANSWER_OCTETS + 40);
}

/// A server that drops RCPT gives DATA's refusal to the recipient.
#[test]
fn a_missing_reply_to_a_group_gives_no_recipient_an_outcome() {
    for replies in ["250 ok\r\n554 no recipients\r\n", "503 need MAIL\r\n503 need MAIL\r\n"] {
        let mut hop = Hop::begun(FULL, 1);
        hop.say(replies);
        hop.session.handle_timeout(hop.session.deadline().unwrap());
        assert_eq!(hop.letters(), "~", "{replies}");
        assert!(hop.session.was_misled());
        // With one command at a time, each reply belongs to its command.
        let mut hop = Hop::begun("250 hop\r\n", 2);
        hop.say("250 ok\r\n");
        hop.say("550 no\r\n");
        hop.session.handle_timeout(hop.session.deadline().unwrap());
        assert_eq!(hop.letters(), "-~");
    }
}
