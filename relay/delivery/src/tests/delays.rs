//! Senders of waiting messages get a report of the delay, with or without an attempt.

use crate::tests::*;
use relay_host::back_off::BackOff;

const HOUR: Duration = Duration::from_secs(3600);

/// A delivery whose next hop is in back-off for an hour, since the one message could not be
/// delivered, and whose senders get a report after this time.
async fn left_alone(warning: Duration) -> (Daemon, QueueId) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let daemon = Daemon::start_with(address, |settings| {
        settings.back_off = BackOff { first: HOUR, longest: HOUR };
    });
    let schedule = Schedule { first: HOUR, longest: HOUR, lifetime: 9 * HOUR, warning };
    let hostname = Domain::parse("edge1.contoso.example").unwrap();
    daemon.queue.set_settings(relay_queue::QueueSettings { hostname, schedule });
    let tried = daemon.accept(&[ONE], b"x\r\n").await;
    while daemon.queue.counters().deferred == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    (daemon, tried)
}

async fn wait_for_reports(daemon: &Daemon, reports: u64) {
    let begin = Instant::now();
    while daemon.queue.counters().reports < reports {
        let counters = daemon.queue.counters();
        assert!(begin.elapsed() < Duration::from_secs(100), "not told of: {counters:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn all_senders_get_reports_even_if_many_messages_wait_for_a_next_hop_in_back_off() {
    // More than are claimed at one time.
    let more = limits::DELIVERY_CLAIMS + 500;
    let (daemon, _) = left_alone(Duration::from_secs(8)).await;
    let accepted = (0..more).map(|_| daemon.accept(&[ONE], b"x\r\n"));
    futures_util::future::join_all(accepted).await;
    wait_for_reports(&daemon, more as u64 + 1).await;
    daemon.stop().await;
}

#[tokio::test]
async fn messages_for_a_next_hop_in_back_off_are_reported_in_time() {
    let (daemon, tried) = left_alone(Duration::from_secs(2)).await;
    let untried = daemon.accept(&[ONE], b"x\r\n").await;
    wait_for_reports(&daemon, 2).await;
    for (id, attempts) in [(tried, 1), (untried, 0)] {
        let entry = daemon.queue.store().find(id).await.unwrap();
        assert_eq!((entry.attempts, entry.warned), (attempts, true));
    }
    // Both messages and a report for each, which wait for the same next hop.
    assert_eq!(daemon.queue.counters().lengths.queued, 4);
    daemon.stop().await;
}
