//! Next hops that send a reply too many: a refused message never counts as delivered.

use relay_mail::protocol::DeliveryProtocol;

use crate::client::tests::*;

const CHUNKING: &str = "250-hop\r\n250-PIPELINING\r\n250-DSN\r\n250 CHUNKING\r\n";

/// The replies of a next hop for each step, and the way of sending to it: the EHLO reply, whether
/// BDAT is used, and whether its replies arrive one by one or all due replies at once.
struct Way {
    hello: &'static str,
    protocol: DeliveryProtocol,
    in_chunks: bool,
}

const WAYS: [Way; 6] = [
    Way { hello: FULL, protocol: DeliveryProtocol::Smtp, in_chunks: false },
    Way { hello: "250 hop\r\n", protocol: DeliveryProtocol::Smtp, in_chunks: false },
    Way { hello: CHUNKING, protocol: DeliveryProtocol::Smtp, in_chunks: false },
    Way { hello: CHUNKING, protocol: DeliveryProtocol::Smtp, in_chunks: true },
    Way { hello: FULL, protocol: DeliveryProtocol::Lmtp, in_chunks: false },
    Way { hello: CHUNKING, protocol: DeliveryProtocol::Lmtp, in_chunks: true },
];

/// A server that replies to the commands it has read, and to some of them more often than it
/// should. All its replies are late: they are read only when the session has nothing more to write.
struct Server {
    unread: Vec<u8>,
    in_data: bool,
    recipients: usize,
    is_lmtp: bool,
    hello: &'static str,
    /// The verb, or `end`, whose reply is followed by others, and these replies.
    surplus: (&'static str, &'static str),
    /// The result of the message.
    verdict: &'static str,
}

impl Server {
    fn take(&mut self, octets: &[u8]) -> Vec<String> {
        self.unread.extend_from_slice(octets);
        let mut replies = Vec::new();
        while let Some(at) = memchr::memmem::find(&self.unread, b"\r\n") {
            let line = String::from_utf8(self.unread.drain(..at + 2).collect()).unwrap();
            if self.in_data {
                if line == ".\r\n" {
                    self.in_data = false;
                    self.end(&mut replies);
                }
                continue;
            }
            let verb = line.split([' ', '\r']).next().unwrap();
            match verb {
                "EHLO" | "LHLO" => self.reply("EHLO", self.hello, &mut replies),
                "DATA" if self.recipients > 0 => {
                    self.in_data = true;
                    self.reply("DATA", "354 go\r\n", &mut replies);
                }
                "BDAT" => {
                    let size: usize = line.split([' ', '\r']).nth(1).unwrap().parse().unwrap();
                    self.unread.drain(..size);
                    match line.contains("LAST") {
                        true => self.end(&mut replies),
                        false => self.reply("BDAT", "250 chunk\r\n", &mut replies),
                    }
                }
                "QUIT" => self.reply("QUIT", "221 bye\r\n", &mut replies),
                verb => {
                    self.recipients += usize::from(verb == "RCPT");
                    self.reply(verb, "250 ok\r\n", &mut replies);
                }
            }
        }
        replies
    }

    fn end(&mut self, replies: &mut Vec<String>) {
        for _ in 0..if self.is_lmtp { self.recipients } else { 1 } {
            self.reply("end", self.verdict, replies);
        }
        self.recipients = 0;
    }

    fn reply(&self, verb: &str, reply: &str, replies: &mut Vec<String>) {
        replies.push(reply.to_owned());
        if self.surplus.0 == verb {
            replies.extend(self.surplus.1.split_inclusive('\n').map(ToOwned::to_owned));
        }
    }
}

/// Sends two messages to a server; returns the outcomes of each recipient. With `late` the session
/// reads a reply only after it has written everything, otherwise as soon as the reply has arrived.
fn letters(
    way: &Way,
    surplus: (&'static str, &'static str),
    verdict: &'static str,
    late: bool,
) -> String {
    let mut hop = Hop::opened_with(ClientOpening { protocol: way.protocol, ..plain() });
    let mut server = Server {
        unread: Vec::new(),
        in_data: false,
        recipients: 0,
        is_lmtp: way.protocol == DeliveryProtocol::Lmtp,
        hello: way.hello,
        surplus,
        verdict,
    };
    let mut unheard = VecDeque::new();
    server.reply("connect", "220 hop\r\n", &mut Vec::new());
    unheard.push_back("220 hop\r\n".to_owned());
    if surplus.0 == "connect" {
        unheard.extend(surplus.1.split_inclusive('\n').map(ToOwned::to_owned));
    }
    let (mut left, mut letters) = (2, String::new());
    loop {
        while let Some(octets) = hop.session.poll_output() {
            hop.session.handle_written();
            unheard.extend(server.take(&octets));
        }
        if hop.session.has_event() {
            match hop.session.poll_event().unwrap() {
                ClientEvent::Ready if left == 0 => hop.session.quit(hop.now),
                ClientEvent::Ready => {
                    left -= 1;
                    let unterminated = way.in_chunks;
                    hop.session.begin(Transaction { unterminated, ..transaction(2) }, hop.now);
                }
                ClientEvent::SendMessage => {
                    let chunk = format!("{}\r\n", "x".repeat(limits::CLIENT_CHUNK_OCTETS));
                    hop.session.send_message(chunk.as_bytes(), hop.now);
                    hop.session.send_message(b"x", hop.now);
                    hop.session.end_message(hop.now);
                }
                ClientEvent::Done(outcomes) => letters.extend(outcomes.iter().map(|it| match it {
                    Outcome::Delivered(_) | Outcome::Relayed(_) => '+',
                    Outcome::Deferred(_) => '~',
                    Outcome::Failed(_) => '-',
                })),
                ClientEvent::Closed(_) => return letters,
                ClientEvent::StartTls => panic!("there is no TLS"),
            }
            continue;
        }
        let Some(reply) = unheard.pop_front() else {
            hop.session.handle_closed("there is no more");
            continue;
        };
        hop.session.handle_bytes(reply.as_bytes(), hop.now);
        if !late {
            for reply in unheard.drain(..) {
                hop.session.handle_bytes(reply.as_bytes(), hop.now);
            }
        }
        hop.session.accept_result();
    }
}

/// Any command may have its reply twice, or three times, and each reply may arrive as late as
/// possible.
#[test]
fn a_refused_message_is_never_delivered() {
    for (number, way) in WAYS.iter().enumerate() {
        for verdict in ["550 5.7.1 no\r\n", "451 4.3.0 later\r\n"] {
            for verb in ["connect", "EHLO", "MAIL", "RCPT", "DATA", "BDAT", "RSET", "end", "QUIT"] {
                for times in 1..4 {
                    let reply: &str = match verb {
                        "connect" => "220 hop\r\n220 hop\r\n220 hop\r\n",
                        "EHLO" | "MAIL" | "RCPT" | "BDAT" | "RSET" => {
                            "250 ok\r\n250 ok\r\n250 ok\r\n"
                        }
                        "DATA" => "354 go\r\n354 go\r\n354 go\r\n",
                        "QUIT" => "221 bye\r\n221 bye\r\n221 bye\r\n",
                        _ => "250 ok\r\n250 ok\r\n250 ok\r\n",
                    };
                    let surplus = (verb, &reply[..reply.len() / 3 * times]);
                    for late in [false, true] {
                        let found = letters(way, surplus, verdict, late);
                        // If there is a negative and a positive reply, one of them is too many.
                        let is_right = !found.contains('+');
                        assert!(is_right, "{number} {verb} {times} {verdict} {late}: {found}");
                    }
                }
            }
        }
        let none = ("none", "");
        assert_eq!(letters(way, none, "250 taken\r\n", true)[..2], *"++", "{number}");
        assert_eq!(letters(way, none, "550 no\r\n", true)[..2], *"--", "{number}");
    }
}

/// The result of a message counts only after the message has been written.
#[test]
fn a_reply_to_an_end_that_has_not_been_written() {
    for (hello, transaction) in
        [(FULL, transaction(1)), (CHUNKING, Transaction { unterminated: true, ..transaction(1) })]
    {
        let mut hop = Hop::begun_with(hello, transaction);
        hop.say("250 ok\r\n250 ok\r\n");
        if hello == FULL {
            hop.say("354 go\r\n");
        }
        assert_eq!(hop.event(), ClientEvent::SendMessage);
        hop.send("x");
        assert!(hop.session.poll_output().is_some());
        hop.session.handle_bytes(b"250 ok\r\n", hop.now);
        let outcomes = hop.outcomes();
        assert!(outcomes[0].0 == '~' && outcomes[0].1.contains("250 ok"), "{outcomes:?}");
        hop.is_closed();
    }
}

#[test]
fn replies_that_contradict_each_other_defer_the_message() {
    for (replies, letters) in [
        ("250 ok\r\n550 no\r\n", "~"),
        ("550 no\r\n250 ok\r\n", "~"),
        ("250 ok\r\n250 ok\r\n451 later\r\n", "~"),
        ("250 ok\r\n250 ok\r\n", "+"),
        ("550 no\r\n550 no\r\n", "-"),
        ("250 ok\r\n421 closing\r\n", "+"),
        ("221 bye\r\n", "~"),
        ("220 hop\r\n", "~"),
    ] {
        let mut hop = Hop::begun(FULL, 1);
        hop.say("250 ok\r\n250 ok\r\n354 go\r\n");
        assert_eq!(hop.event(), ClientEvent::SendMessage);
        hop.send("x\r\n");
        hop.say(replies);
        assert_eq!(hop.letters(), letters, "{replies}");
        hop.is_closed();
    }
}

/// The purpose of QUIT after the last chunk.
#[test]
fn nothing_but_the_result_comes_before_221() {
    for (replies, letters) in [
        ("250 ok\r\n221 bye\r\n", "+-"),
        ("550 no\r\n221 bye\r\n", "--"),
        ("250 ok\r\n", "+-"),
        ("250 ok\r\n421 closing\r\n", "+-"),
        ("250 ok\r\n550 no\r\n221 bye\r\n", "~-"),
        ("250 ok\r\n250 ok\r\n550 no\r\n221 bye\r\n", "~-"),
        ("550 no\r\n250 ok\r\n221 bye\r\n", "~-"),
        ("221 bye\r\n", "~-"),
    ] {
        let mut hop =
            Hop::begun_with(CHUNKING, Transaction { unterminated: true, ..transaction(2) });
        hop.say("250 ok\r\n250 ok\r\n550 5.1.1 unknown\r\n");
        assert_eq!(hop.event(), ClientEvent::SendMessage);
        hop.send("x");
        for reply in replies.split_inclusive('\n') {
            hop.say(reply);
        }
        hop.session.handle_closed("it has ended");
        assert_eq!(hop.letters(), letters, "{replies}");
        hop.is_closed();
    }
}

/// A reply too many may have given outcomes to the wrong recipients.
#[test]
fn recipients_are_deferred_where_replies_are_shifted() {
    let mut hop = Hop::begun(FULL, 2);
    hop.say("250 ok\r\n550 5.1.1 one\r\n550 5.1.1 one\r\n250 two\r\n");
    assert_eq!(hop.letters(), "~~");
    hop.is_closed();
}

#[test]
fn a_second_reply_to_ehlo_is_named_as_what_it_is() {
    let mut hop = Hop::new();
    hop.say("220 hop\r\n");
    hop.say("250 CHUNKING\r\n250 late\r\n");
    let ClientEvent::Closed(Some(Cause::Local { status, text })) = hop.event() else { panic!() };
    assert_eq!(status, Enhanced(4, 5, 0));
    assert!(text.contains("250 late") && text.len() > "250 late".len(), "{text}");
}
