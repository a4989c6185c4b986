//! Next hops that accept fewer recipients in a transaction than a message has.

use crate::tests::*;

/// The limit of a server that disconnects instead of refusing a recipient.
#[tokio::test]
async fn where_the_connection_ends_at_a_recipient_the_others_get_the_message() {
    for reply in ["421 4.5.3 enough\r\n", ""] {
        let (sink, address) = TestNextHop::start([Fault::EndsAfter(3, reply); 100]).await;
        let daemon = Daemon::start(address);
        let recipients: Vec<_> = (0..8).map(|n| format!("<r{n}@fabrikam.example>")).collect();
        let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
        daemon.accept(&recipients, b"x\r\n").await;
        assert_eq!(daemon.finish().await.delivered, 8, "{reply}");
        let counts: Vec<_> = sink.taken().iter().map(|(taken, _)| taken.len()).collect();
        assert_eq!(counts, [3, 3, 2], "{reply}");
    }
    // The server refuses one of them, at any position.
    for bad in ["r0", "r1", "r2"] {
        let (sink, address) = TestNextHop::start([Fault::EndsAt(bad, "421 no\r\n"); 100]).await;
        let daemon = Daemon::start(address);
        let recipients =
            ["<r0@fabrikam.example>", "<r1@fabrikam.example>", "<r2@fabrikam.example>"];
        daemon.accept(&recipients, b"x\r\n").await;
        let begin = Instant::now();
        while daemon.queue.counters().delivered < 2 {
            assert!(begin.elapsed() < Duration::from_secs(30), "{bad}: {:?}", sink.taken());
            sleep(Duration::from_millis(10)).await;
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn the_surplus_goes_at_once_in_further_transactions() {
    for reply in [
        "452 4.5.3 enough\r\n",
        "452 enough\r\n",
        "552 enough\r\n",
        // X.5.3 decides, with any basic code.
        "451 4.5.3 enough\r\n",
        "450 4.5.3 enough\r\n",
        "550 5.5.3 enough\r\n",
    ] {
        let (sink, address) = TestNextHop::start([Fault::TakesFew(10, reply)]).await;
        let daemon = Daemon::start(address);
        let recipients: Vec<_> = (0..35).map(|n| format!("<r{n}@fabrikam.example>")).collect();
        let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
        daemon.accept(&recipients, b"x\r\n").await;
        let counters = daemon.finish().await;
        let settled = (counters.delivered, counters.deferred, counters.failed);
        assert_eq!(settled, (35, 0, 0), "{reply}");
        let taken = sink.taken();
        let counts: Vec<_> = taken.iter().map(|(recipients, _)| recipients.len()).collect();
        assert_eq!(counts, [10, 10, 10, 5], "{reply}");
        assert_eq!(sink.connections(), 1, "{reply}");
    }
}
