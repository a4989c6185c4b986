//! Scripted next hops at every stage, without a socket or a clock.

mod chunking;
mod counting;
mod dsn;
mod lmtp;
mod misbehaviour;
mod opening;
mod refusals;

use crate::client::*;
use relay_mail::dsn::MailDsn;
use relay_mail::outcome::OutcomeReason;
use relay_mail::path::{ForwardPath, ReversePath};

use crate::limits;

const FULL: &str = "250-hop\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 SIZE 1000\r\n";

/// A session and its clock.
struct Hop {
    session: ClientSession,
    now: Instant,
    /// Octets that were sent and not examined yet.
    sent: Vec<u8>,
}

impl Hop {
    fn new() -> Self {
        Self::opened_with(plain())
    }

    fn opened_with(opening: ClientOpening) -> Self {
        let now = Instant::now();
        let session = ClientSession::new("hop:25", opening, Timeouts::default(), now);
        Self { session, now, sent: Vec::new() }
    }

    /// A session that has said EHLO and got this answer.
    fn greeted(hello: &str) -> Self {
        let mut hop = Self::new();
        hop.say("220 hop\r\n");
        assert_eq!(hop.heard(), "EHLO edge1\r\n");
        hop.say(hello);
        assert_eq!(hop.event(), ClientEvent::Ready);
        hop
    }

    /// A session that has begun a transaction for this many recipients.
    fn begun(hello: &str, recipients: usize) -> Self {
        Self::begun_with(hello, transaction(recipients))
    }

    fn begun_with(hello: &str, transaction: Transaction) -> Self {
        let mut hop = Self::greeted(hello);
        hop.session.begin(transaction, hop.now);
        hop
    }

    /// The next hop sends a text after it has received all commands.
    fn say(&mut self, text: &str) {
        self.sent.extend(self.session.poll_output().unwrap_or_default());
        self.session.handle_written();
        self.session.handle_bytes(text.as_bytes(), self.now);
        self.session.accept_result();
    }

    /// The octets that the next hop has received since.
    fn heard(&mut self) -> String {
        let mut sent = mem::take(&mut self.sent);
        sent.extend(self.session.poll_output().unwrap_or_default());
        self.session.handle_written();
        String::from_utf8(sent).unwrap()
    }

    #[track_caller]
    fn event(&mut self) -> ClientEvent {
        self.session.poll_event().expect("an event")
    }

    /// The outcome of each recipient: a letter and the reason.
    #[track_caller]
    fn outcomes(&mut self) -> Vec<(char, String)> {
        let ClientEvent::Done(outcomes) = self.event() else { panic!("the transaction goes on") };
        let (letters, answers): (Vec<_>, Vec<OutcomeReason>) = outcomes
            .into_iter()
            .map(|outcome| match outcome {
                Outcome::Delivered(answer) | Outcome::Relayed(answer) => ('+', answer),
                Outcome::Deferred(answer) => ('~', answer),
                Outcome::Failed(answer) => ('-', answer),
            })
            .unzip();
        letters.into_iter().zip(answers.iter().map(OutcomeReason::to_string)).collect()
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
        assert!(matches!(self.event(), ClientEvent::Closed(_)));
        assert!(self.session.is_closed() && self.session.deadline().is_none());
        assert_eq!(self.session.poll_event(), None);
    }
}

/// Without TLS and AUTH.
fn plain() -> ClientOpening {
    ClientOpening::plain_text("edge1")
}

fn transaction(recipients: usize) -> Transaction {
    let path = |n: usize| ForwardPath::parse(&format!("<r{n}@fabrikam.example>")).unwrap().into();
    Transaction {
        sender: ReversePath::parse("<s@contoso.example>").unwrap(),
        dsn: MailDsn::default(),
        recipients: (0..recipients).map(path).collect(),
        size: 100,
        unterminated: false,
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
    assert_eq!(hop.event(), ClientEvent::SendMessage);
    hop.send(".dot\r\n");
    assert_eq!(hop.heard(), "..dot\r\n.\r\n");
    hop.say("250 2.6.0 taken\r\n");
    let taken = ('+', "250 2.6.0 taken (hop:25)".to_owned());
    assert_eq!(hop.outcomes(), [taken.clone(), taken]);
    assert_eq!(hop.event(), ClientEvent::Ready);
    assert_eq!(hop.session.deadline(), None);
    hop.session.quit(hop.now);
    assert_eq!(hop.heard(), "QUIT\r\n");
    hop.say("221 bye\r\n");
    assert_eq!(hop.event(), ClientEvent::Closed(None));
}

#[test]
fn one_by_one_without_pipelining_and_after_helo() {
    let mut hop = Hop::new();
    hop.say("220-one\r\n220 two\r\n");
    assert_eq!(hop.heard(), "EHLO edge1\r\n");
    hop.say("502 what\r\n");
    assert_eq!(hop.heard(), "HELO edge1\r\n");
    hop.say("250 hop\r\n");
    assert_eq!(hop.event(), ClientEvent::Ready);
    hop.session.begin(transaction(1), hop.now);
    assert_eq!(hop.heard(), "MAIL FROM:<s@contoso.example>\r\n");
    hop.say("250 ok\r\n");
    assert_eq!(hop.heard(), "RCPT TO:<r0@fabrikam.example>\r\n");
    hop.say("251 will forward\r\n");
    assert_eq!(hop.heard(), "DATA\r\n");
    hop.say("354 go\r\n");
    assert_eq!(hop.event(), ClientEvent::SendMessage);
    hop.send("x\r\n");
    assert_eq!(hop.heard(), "x\r\n.\r\n");
    hop.say("250 taken\r\n");
    assert_eq!(hop.letters(), "+");
    assert_eq!(hop.event(), ClientEvent::Ready);
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
        assert_eq!(hop.event(), ClientEvent::SendMessage);
        hop.send("x\r\n");
        hop.say("250 taken\r\n");
        let outcomes = hop.outcomes();
        assert_eq!(outcomes[0], ('+', "250 taken (hop:25)".to_owned()));
        assert_eq!(outcomes[1], ('-', "550 5.1.1 no, to RCPT (hop:25)".to_owned()));
        assert_eq!(outcomes[2], ('~', "450 busy, to RCPT (hop:25)".to_owned()));
        assert_eq!(hop.event(), ClientEvent::Ready);
    }
}
