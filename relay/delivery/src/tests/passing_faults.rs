//! Temporary faults of a next hop: nothing is lost, and the next hop is in back-off meanwhile.

use crate::tests::*;

#[tokio::test]
async fn every_passing_fault_is_survived() {
    let faults = [
        Fault::Silent,
        Fault::Says("greeting", "554 go away\r\n"),
        Fault::Says("greeting", "421 later\r\n"),
        Fault::Says("greeting", "nonsense\r\n"),
        Fault::Says("EHLO", "421 later\r\n"),
        Fault::Says("EHLO", ""),
        Fault::Says("MAIL", "421 later\r\n"),
        Fault::Says("RCPT", "421 later\r\n"),
        Fault::Says("RCPT", "250 half a rep"),
        Fault::Says("DATA", "421 later\r\n"),
        Fault::Says("DATA", "\0\0\0\0\r\n"),
        Fault::Says("end", "421 later\r\n"),
        Fault::Says("end", ""),
        Fault::Replies("MAIL", "451 later\r\n"),
        Fault::Replies("RCPT", "450 later\r\n"),
        Fault::Replies("DATA", "451 later\r\n"),
        Fault::Replies("end", "451 later\r\n"),
        Fault::ResetsInData,
    ];
    for fault in faults {
        let (sink, address) = TestNextHop::start([fault]).await;
        // The next attempt needs a new connection to find that the fault has ended.
        let daemon = Daemon::start_with(address, |settings| settings.idle = Duration::ZERO);
        // Large enough that a reset arrives while it is being sent.
        let message = "Subject: x\r\n\r\n".to_owned() + &"0123456789abcde\r\n".repeat(40_000);
        daemon.accept(&[ONE], message.as_bytes()).await;
        let counters = daemon.finish().await;
        assert_eq!((counters.delivered, counters.failed, counters.reports), (1, 0, 0), "{fault:?}");
        // Either deferred, or tried again at once over another connection.
        assert!(sink.connections() >= 2, "{fault:?} was not noticed");
        let whole = sink.taken().iter().all(|(_, taken)| taken == message.as_bytes());
        assert!(whole && !sink.taken().is_empty(), "{fault:?}");
    }
}

#[tokio::test]
async fn a_dead_next_hop_is_in_back_off_and_then_served() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let daemon = Daemon::start(address);
    for _ in 0..100 {
        daemon.accept(&[ONE], b"x\r\n").await;
    }
    sleep(Duration::from_secs(2)).await;
    let counters = daemon.queue.counters();
    // Back-offs of 0.1, 0.2, 0.4 and 0.5 seconds, one attempt in each, and the first attempts in
    // parallel.
    let most = 8 + limits::DELIVERY_CONCURRENCY as u64;
    assert!((2..=most).contains(&counters.deferred), "{} attempts", counters.deferred);
    let sink = TestNextHop::default();
    sink.clone().serve(TcpListener::bind(address).await.unwrap());
    assert_eq!(daemon.finish().await.delivered, 100);
    assert_eq!(sink.taken().len(), 100);
}

#[tokio::test]
async fn a_stop_lets_an_attempt_end_and_keeps_the_rest() {
    let (sink, address) = TestNextHop::start([]).await;
    let daemon = Daemon::start_with(address, |settings| settings.concurrency = 1);
    for _ in 0..30 {
        daemon.accept(&[ONE], b"x\r\n").await;
    }
    let queue = daemon.queue.clone();
    daemon.stop().await;
    let counters = queue.counters();
    assert_eq!(counters.lengths.claimed, 0);
    assert_eq!(counters.delivered + counters.lengths.queued, 30);
    assert_eq!(sink.taken().len() as u64, counters.delivered);
}
