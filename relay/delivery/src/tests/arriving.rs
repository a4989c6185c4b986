//! Which octets arrive at a next hop, and in which transactions?

use crate::tests::*;

#[tokio::test]
async fn bytes_arrive_as_they_were_accepted() {
    let (sink, address) = TestNextHop::start([]).await;
    let daemon = Daemon::start_with(address, |settings| {
        settings.timeouts = every_step(Duration::from_secs(60));
    });
    let large = "..\r\n.\r\nline \u{e9}\r\n".repeat(100_000);
    let messages = ["Subject: x\r\n\r\n.\r\n..\r\nend\r\n", "", "\r\n", &large];
    for message in messages {
        daemon.accept(&[ONE], message.as_bytes()).await;
    }
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.deferred, counters.failed), (4, 0, 0));
    let mut taken: Vec<_> = sink.taken().into_iter().map(|(_, message)| message).collect();
    // Text without a header section is sent as a body, after the empty line that makes it one.
    let is_text = |message: &str| message.starts_with('.');
    let as_body = |message: &str| if is_text(message) { "\r\n" } else { "" }.to_owned() + message;
    let mut expected: Vec<_> = messages.map(|message| as_body(message).into_bytes()).into();
    taken.sort();
    expected.sort();
    assert!(taken == expected, "the sink has other bytes");
}

#[tokio::test]
async fn a_connection_takes_message_after_message() {
    let (sink, address) = TestNextHop::start([]).await;
    let daemon = Daemon::start_with(address, |settings| settings.concurrency = 2);
    for number in 0..50 {
        daemon.accept(&[ONE], format!("message {number}\r\n").as_bytes()).await;
    }
    daemon.finish().await;
    assert_eq!(sink.taken().len(), 50);
    assert!(sink.connections() <= 2, "{} connections", sink.connections());
}

#[tokio::test]
async fn many_recipients_go_in_few_transactions() {
    let (sink, address) = TestNextHop::start([]).await;
    let daemon = Daemon::start(address);
    let recipients: Vec<_> = (0..250).map(|n| format!("<r{n}@fabrikam.example>")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    daemon.accept(&recipients, b"x\r\n").await;
    assert_eq!(daemon.finish().await.delivered, 250);
    let taken = sink.taken();
    let counts: Vec<_> = taken.iter().map(|(recipients, _)| recipients.len()).collect();
    assert_eq!(counts, [100, 100, 50]);
    assert_eq!(
        taken.into_iter().flat_map(|(recipients, _)| recipients).collect::<Vec<_>>(),
        recipients
    );
}

#[tokio::test]
async fn refused_recipients_fail_alone_and_are_reported() {
    let (sink, address) = TestNextHop::start([Fault::Replies("two", "550 5.1.1 no\r\n")]).await;
    let daemon = Daemon::start_with(address, |settings| settings.concurrency = 1);
    daemon.accept(&[ONE, "<two@fabrikam.example>"], b"x\r\n").await;
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.failed, counters.reports), (2, 1, 1));
    let taken = sink.taken();
    assert_eq!(taken[0], (vec![ONE.to_owned()], b"\r\nx\r\n".to_vec()));
    assert_eq!(taken[1].0, ["<sender@contoso.example>"]);
    let report = String::from_utf8(taken[1].1.clone()).unwrap();
    assert!(report.contains("Final-Recipient: rfc822; two@fabrikam.example\r\n"));
}

#[tokio::test]
async fn a_message_with_a_bare_line_feed_is_never_sent() {
    let (sink, address) = TestNextHop::start([]).await;
    let daemon = Daemon::start(address);
    daemon.accept(&[ONE], b"x\n.\nMAIL FROM:<evil@example>\r\n").await;
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.failed, counters.reports), (1, 1, 1));
    // The sender gets a report, without the message.
    let taken = sink.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].0, ["<sender@contoso.example>"]);
    assert!(memchr::memmem::find(&taken[0].1, b"evil@example").is_none());
}
