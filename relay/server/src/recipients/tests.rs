use std::net::SocketAddr;

use crate::recipients::*;
use relay_mail::protocol::DeliveryProtocol;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

/// A server with configured replies that records the commands.
struct Server {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Server {
    async fn start(answer: fn(&str) -> &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let kept = Arc::clone(&lines);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let kept = Arc::clone(&kept);
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut reply = answer("");
                    loop {
                        stream.write_all(format!("{reply}\r\n").as_bytes()).await?;
                        let mut line = String::new();
                        if stream.read_line(&mut line).await? == 0 {
                            return std::io::Result::Ok(());
                        }
                        reply = answer(line.trim_end());
                        kept.lock().push(line.trim_end().to_owned());
                    }
                });
            }
        });
        Self { address, lines }
    }

    fn lookup(&self, protocol: DeliveryProtocol) -> RecipientLookup {
        RecipientLookup { protocol, server: self.address.to_string().parse().unwrap() }
    }

    fn lines(&self) -> Vec<String> {
        self.lines.lock().clone()
    }

    fn count(&self, verb: &str) -> usize {
        self.lines().iter().filter(|line| line.starts_with(verb)).count()
    }
}

fn usual(line: &str) -> &'static str {
    match line.split([' ', ':']).next().unwrap_or_default() {
        "" => "220 mail.example ready",
        "RCPT" if line.contains("<alice@") => "250 2.1.5 Ok",
        "RCPT" if line.contains("<busy@") => "450 4.2.1 Later",
        "RCPT" if line.contains("<blocked@") => "550 5.7.1 We do not like you",
        "RCPT" => "550 5.1.1 No such user",
        "QUIT" => "221 2.0.0 Bye",
        _ => "250 Ok",
    }
}

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn recipients() -> RecipientLookups {
    let recipients = RecipientLookups::new();
    recipients.set_hello_name("edge.example");
    recipients
}

#[tokio::test]
async fn an_answer_is_remembered_and_nothing_is_sent() {
    let server = Server::start(usual).await;
    let recipients = recipients();
    let find = |text| recipients.find(server.lookup(DeliveryProtocol::Smtp), mailbox(text));
    for _ in 0..2 {
        assert_eq!(find("alice@contoso.example").await, RecipientFinding::Known);
        let unknown = RecipientFinding::Unknown("550 5.1.1 No such user".to_owned());
        assert_eq!(find("bob@contoso.example").await, unknown);
    }
    assert_eq!(server.count("RCPT"), 2);
    let lines = server.lines();
    assert_eq!(lines[..2], ["EHLO edge.example", "MAIL FROM:<>"], "{lines:?}");
    assert_eq!(server.count("DATA"), 0);
}

#[tokio::test]
async fn errors_are_not_cached_and_a_refusal_of_us_is_an_error() {
    let server = Server::start(usual).await;
    let recipients = recipients();
    let find = |text| recipients.find(server.lookup(DeliveryProtocol::Smtp), mailbox(text));
    for text in ["busy@contoso.example", "blocked@contoso.example"] {
        for _ in 0..2 {
            let finding = find(text).await;
            assert!(matches!(finding, RecipientFinding::Unavailable(_)), "{text}: {finding:?}");
        }
    }
    assert_eq!(server.count("RCPT"), 4);

    let server = Server::start(|line| match line.starts_with("MAIL") {
        true => "550 5.1.1 No null sender here",
        false => usual(line),
    });
    let lookup = server.await.lookup(DeliveryProtocol::Smtp);
    let finding = recipients.find(lookup, mailbox("alice@contoso.example")).await;
    assert!(matches!(finding, RecipientFinding::Unavailable(_)), "{finding:?}");
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_an_error() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = closed.local_addr().unwrap().to_string().parse().unwrap();
    drop(closed);
    let lookup = RecipientLookup { protocol: DeliveryProtocol::Smtp, server };
    let finding = recipients().find(lookup, mailbox("alice@contoso.example")).await;
    let RecipientFinding::Unavailable(why) = finding else { panic!("{finding:?}") };
    assert!(why.contains("cannot connect to"), "{why}");
}

#[tokio::test]
async fn an_lmtp_server_is_greeted_with_lhlo() {
    let server = Server::start(usual).await;
    let lookup = server.lookup(DeliveryProtocol::Lmtp);
    let finding = recipients().find(lookup, mailbox("alice@contoso.example")).await;
    assert_eq!(finding, RecipientFinding::Known);
    assert_eq!(server.lines()[0], "LHLO edge.example");
}

#[tokio::test]
async fn all_sessions_wait_for_one_look_up() {
    let server = Server::start(usual).await;
    let recipients = recipients();
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let (recipients, lookup) = (recipients.clone(), server.lookup(DeliveryProtocol::Smtp));
            let mailbox = mailbox("alice@contoso.example");
            tokio::spawn(async move { recipients.find(lookup, mailbox).await })
        })
        .collect();
    for asking in asking {
        assert_eq!(asking.await.unwrap(), RecipientFinding::Known);
    }
    assert_eq!(server.count("RCPT"), 1);
    assert!(recipients.0.table.lock().under_way.is_empty());
}

#[test]
fn answers_grow_old_and_are_bounded() {
    let lookup = RecipientLookup {
        protocol: DeliveryProtocol::Smtp,
        server: "mail.contoso.example:25".parse().unwrap(),
    };
    let key = |number: usize| (lookup.clone(), mailbox(&format!("u{number}@contoso.example")));
    let unknown = || RecipientFinding::Unknown("550 No".to_owned());
    let mut table = Table::default();
    let now = Instant::now();
    table.keep(&key(0), RecipientFinding::Known, now);
    table.keep(&key(1), unknown(), now);
    assert_eq!(table.answer(&key(1), now + RECIPIENT_UNKNOWN / 2), Some(unknown()));
    assert_eq!(table.answer(&key(1), now + RECIPIENT_UNKNOWN), None);
    assert_eq!(table.answer(&key(0), now + RECIPIENT_UNKNOWN), Some(RecipientFinding::Known));
    assert_eq!(table.answer(&key(0), now + RECIPIENT_KNOWN), None);

    for number in 0..RECIPIENT_ANSWERS + 10 {
        table.keep(&key(number), unknown(), now);
    }
    assert_eq!(table.answers.len(), RECIPIENT_ANSWERS);
    table.keep(&key(RECIPIENT_ANSWERS + 20), unknown(), now + RECIPIENT_KNOWN);
    assert_eq!(table.answers.len(), 1, "those that were too old are gone");
}
