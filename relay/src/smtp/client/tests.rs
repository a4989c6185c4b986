//! Scripted next hops at every stage, without a socket or a clock.

mod chunking;
mod dsn;
mod refusals;

use std::time::Duration;

use super::*;
use crate::limits;
use crate::queue::Answer;
use crate::smtp::dsn::MailDsn;
use crate::smtp::path::{ForwardPath, ReversePath};

const FULL: &str = "250-hop\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1000\r\n";

/// A session and the clock that it is told.
struct Hop {
    session: Session,
    now: Instant,
}

impl Hop {
    fn new() -> Self {
        let now = Instant::now();
        Self { session: Session::new("hop:25", "edge1", Timeouts::default(), now), now }
    }

    /// A session that has said EHLO and got this answer.
    fn greeted(hello: &str) -> Self {
        let mut hop = Self::new();
        hop.say("220 hop\r\n");
        assert_eq!(hop.heard(), "EHLO edge1\r\n");
        hop.say(hello);
        assert_eq!(hop.event(), Event::Ready);
        hop
    }

    /// A session that has begun a transaction for so many recipients.
    fn begun(hello: &str, recipients: usize) -> Self {
        let mut hop = Self::greeted(hello);
        hop.session.begin(transaction(recipients), hop.now);
        hop
    }

    /// The next hop says something.
    fn say(&mut self, text: &str) {
        self.session.handle_bytes(text.as_bytes(), self.now);
    }

    /// What the next hop has heard since.
    fn heard(&mut self) -> String {
        String::from_utf8(self.session.poll_output().unwrap_or_default().to_vec()).unwrap()
    }

    #[track_caller]
    fn event(&mut self) -> Event {
        self.session.poll_event().expect("an event")
    }

    /// What each recipient got: a letter and what it was because of.
    #[track_caller]
    fn outcomes(&mut self) -> Vec<(char, String)> {
        let Event::Done(outcomes) = self.event() else { panic!("the transaction goes on") };
        let (letters, answers): (Vec<_>, Vec<Answer>) = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Delivered(answer) | Outcome::Relayed(answer) => ('+', answer),
                Outcome::Deferred(answer) => ('~', answer),
                Outcome::Failed(answer) => ('-', answer),
            })
            .unzip();
        letters.into_iter().zip(answers.iter().map(Answer::to_string)).collect()
    }

    #[track_caller]
    fn letters(&mut self) -> String {
        self.outcomes().into_iter().map(|(letter, _)| letter).collect()
    }

    fn send(&mut self, message: &str) {
        self.session.send_message(message.as_bytes(), self.now);
        self.session.end_message(self.now);
    }

    #[track_caller]
    fn is_closed(&mut self) {
        assert!(matches!(self.event(), Event::Closed(_)));
        assert!(self.session.is_closed() && self.session.deadline().is_none());
        assert_eq!(self.session.poll_event(), None);
    }
}

fn transaction(recipients: usize) -> Transaction {
    let path = |n: usize| ForwardPath::parse(&format!("<r{n}@fabrikam.example>")).unwrap().into();
    Transaction {
        sender: ReversePath::parse("<s@contoso.example>").unwrap(),
        dsn: MailDsn::default(),
        recipients: (0..recipients).map(path).collect(),
        size: 100,
        eight_bit: false,
        binary: false,
        smtputf8: false,
    }
}

#[test]
fn all_in_one_write_with_pipelining() {
    let mut hop = Hop::begun(FULL, 2);
    assert_eq!(
        hop.heard(),
        "MAIL FROM:<s@contoso.example> SIZE=100\r\nRCPT TO:<r0@fabrikam.example>\r\n\
         RCPT TO:<r1@fabrikam.example>\r\nDATA\r\n"
    );
    hop.say("250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n");
    assert_eq!(hop.event(), Event::SendMessage);
    hop.send(".dot\r\n");
    assert_eq!(hop.heard(), "..dot\r\n.\r\n");
    hop.say("250 2.6.0 taken\r\n");
    let taken = ('+', "250 2.6.0 taken (hop:25)".to_owned());
    assert_eq!(hop.outcomes(), [taken.clone(), taken]);
    assert_eq!(hop.event(), Event::Ready);
    assert_eq!(hop.session.deadline(), None);
    hop.session.quit(hop.now);
    assert_eq!(hop.heard(), "QUIT\r\n");
    hop.say("221 bye\r\n");
    assert_eq!(hop.event(), Event::Closed(None));
}

#[test]
fn one_by_one_without_pipelining_and_after_helo() {
    let mut hop = Hop::new();
    hop.say("220-one\r\n220 two\r\n");
    assert_eq!(hop.heard(), "EHLO edge1\r\n");
    hop.say("502 what\r\n");
    assert_eq!(hop.heard(), "HELO edge1\r\n");
    hop.say("250 hop\r\n");
    assert_eq!(hop.event(), Event::Ready);
    hop.session.begin(transaction(1), hop.now);
    assert_eq!(hop.heard(), "MAIL FROM:<s@contoso.example>\r\n");
    hop.say("250 ok\r\n");
    assert_eq!(hop.heard(), "RCPT TO:<r0@fabrikam.example>\r\n");
    hop.say("251 will forward\r\n");
    assert_eq!(hop.heard(), "DATA\r\n");
    hop.say("354 go\r\n");
    assert_eq!(hop.event(), Event::SendMessage);
    hop.send("x\r\n");
    assert_eq!(hop.heard(), "x\r\n.\r\n");
    hop.say("250 taken\r\n");
    assert_eq!(hop.letters(), "+");
    assert_eq!(hop.event(), Event::Ready);
}

#[test]
fn each_recipient_gets_its_own_reply() {
    for hello in [FULL, "250 hop\r\n"] {
        let mut hop = Hop::begun(hello, 3);
        hop.heard();
        for reply in ["250 ok\r\n", "250 ok\r\n", "550 5.1.1 no\r\n", "450 busy\r\n", "354 go\r\n"]
        {
            hop.say(reply);
        }
        assert_eq!(hop.event(), Event::SendMessage);
        hop.send("x\r\n");
        hop.say("250 taken\r\n");
        let outcomes = hop.outcomes();
        assert_eq!(outcomes[0], ('+', "250 taken (hop:25)".to_owned()));
        assert_eq!(outcomes[1], ('-', "550 5.1.1 no (hop:25)".to_owned()));
        assert_eq!(outcomes[2], ('~', "450 busy (hop:25)".to_owned()));
        assert_eq!(hop.event(), Event::Ready);
    }
}

#[test]
fn an_offer_of_starttls_is_not_taken() {
    let mut hop = Hop::begun("250-hop\r\n250 STARTTLS\r\n", 1);
    assert_eq!(hop.heard(), "MAIL FROM:<s@contoso.example>\r\n");
}

/// Brings a session to a stage, with two recipients and PIPELINING, the first refused.
fn at_stage(stage: &str) -> Hop {
    let mut hop = match stage {
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
        assert_eq!(hop.event(), Event::SendMessage);
        hop.session.send_message(b"part", hop.now);
    }
    if stage == "end of data" {
        hop.session.end_message(hop.now);
    }
    hop.heard();
    hop
}

const STAGES: [(&str, &str); 8] = [
    ("greeting", ""),
    ("hello", ""),
    ("ready", ""),
    ("mail", "~~"),
    ("rcpt", "-~"),
    ("data", "-~"),
    ("message", "-~"),
    ("end of data", "-~"),
];

/// Does something to a session at every stage: what is settled stays, the rest is deferred.
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
    at_every_stage("close", |hop| hop.session.handle_closed("reset by peer"));
}

#[test]
fn garbage() {
    for garbage in ["hello\r\n", "250 bare\n", "\r\n", "250-a\r\n354 b\r\n"] {
        at_every_stage(garbage, |hop| hop.say(garbage));
    }
    let endless = "250-more\r\n".repeat(limits::CLIENT_REPLY_LINES + 1);
    at_every_stage("an endless reply", |hop| hop.say(&endless));
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
            assert_eq!(found, letters, "{stage}");
            assert!(outcomes[1].1.contains("did not answer in time"), "{}", outcomes[1].1);
        }
        hop.is_closed();
    }
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
fn what_the_next_hop_lacks() {
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
        assert_eq!(hop.event(), Event::Ready);
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
        assert_eq!(outcomes[0].1, "550 no (hop:25)");
        assert!(outcomes[1].0 == '-' && outcomes[1].1.starts_with("5.6.0 "), "{}", outcomes[1].1);
        hop.is_closed();
    }
    // Only the end shows it: what was sent has no end of data.
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
    assert!(outcomes[0].1.len() < limits::ANSWER_OCTETS + 20);
}
