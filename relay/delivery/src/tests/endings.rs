//! How does delivery end, and what happens to running attempts?

use std::time::SystemTime;

use crate::tests::*;
use relay_mail::reply::Enhanced;
use relay_queue::RecipientState;

/// Waits until the sink has been connected to.
async fn connected(sink: &TestNextHop) {
    while sink.connections() == 0 {
        sleep(Duration::from_millis(10)).await;
    }
}

/// Stops within ten seconds; its one message is in the queue and unclaimed.
async fn stops_and_keeps_it(daemon: Daemon) -> Queue {
    let queue = daemon.queue.clone();
    tokio::time::timeout(Duration::from_secs(10), daemon.stop()).await.unwrap();
    let lengths = queue.counters().lengths;
    assert_eq!((lengths.queued, lengths.claimed), (1, 0));
    queue
}

#[tokio::test]
async fn a_job_that_is_dropped_goes_back() {
    let directory = TempDir::new().unwrap();
    let queue = open_queue(directory.path(), Duration::from_secs(60));
    accept(&queue, &[ONE], b"x\r\n").await;
    let mut claimed = queue.store().claim_due(SystemTime::now(), 1).await.unwrap();
    let group = (Destination::Nowhere, vec![0]);
    let claim =
        MessageClaim::new(queue.clone(), claimed.remove(0), [group], mpsc::unbounded_channel().0);
    let job = claim.next();
    assert!(job.is_some());
    assert_eq!(queue.counters().lengths.claimed, 1);
    drop(job);
    assert_eq!(queue.counters().lengths.claimed, 0);
    let due = queue.store().next_due().unwrap();
    assert!(due > SystemTime::now(), "a worker that panics would be tried without a pause");
}

#[tokio::test]
async fn delivery_ends_at_once_without_a_connection() {
    let (sink, address) = TestNextHop::start([Fault::Silent]).await;
    let daemon = Daemon::start_with(address, |settings| {
        *settings = DeliverySettings { drain: Duration::from_secs(3600), ..patient(address) };
    });
    daemon.accept(&[ONE], b"x\r\n").await;
    connected(&sink).await;
    let queue = stops_and_keeps_it(daemon).await;
    // No server was asked, so it was no attempt, and the message is due at once.
    assert_eq!(queue.counters().deferred, 0);
    assert!(queue.store().next_due().unwrap() <= SystemTime::now());
}

#[tokio::test]
async fn an_attempt_before_the_end_of_data_is_cut_off_and_tried_again() {
    let (sink, address) = TestNextHop::start([Fault::Replies("MAIL", "")]).await;
    let daemon = Daemon::start_with(address, |settings| *settings = patient(address));
    daemon.accept(&[ONE], b"x\r\n").await;
    connected(&sink).await;
    stops_and_keeps_it(daemon).await;
}

#[tokio::test]
async fn an_attempt_after_the_end_of_data_is_waited_for() {
    let time = Duration::from_millis(700);
    let (sink, address) = TestNextHop::start([Fault::IsSlow(time)]).await;
    let daemon = Daemon::start_with(address, |settings| *settings = patient(address));
    daemon.accept(&[ONE], b"x\r\n").await;
    connected(&sink).await;
    // The whole session needs almost no time on the loopback.
    sleep(Duration::from_millis(200)).await;
    let queue = daemon.queue.clone();
    daemon.stop().await;
    let counters = queue.counters();
    assert_eq!((counters.delivered, counters.lengths.queued), (1, 0));
    assert_eq!(sink.taken().len(), 1);
}

#[tokio::test]
async fn an_attempt_that_is_cut_off_after_the_end_of_data_is_recorded_as_an_attempt() {
    let (sink, address) = TestNextHop::start([Fault::IsSlow(Duration::from_secs(60))]).await;
    let mut cut_all = None;
    let daemon = Daemon::start_with(address, |settings| {
        *settings = DeliverySettings { drain: Duration::ZERO, ..patient(address) };
        cut_all = Some(settings.cut_all.clone());
    });
    let id = daemon.accept(&[ONE], b"x\r\n").await;
    connected(&sink).await;
    // The whole session needs almost no time on the loopback.
    sleep(Duration::from_millis(200)).await;
    cut_all.unwrap().send_replace(true);
    // The directory stays until the entry has been read.
    let Daemon { queue, stop, delivery, .. } = daemon;
    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(10), delivery).await.unwrap().unwrap();
    let entry = queue.store().find(id).await.unwrap();
    assert_eq!((entry.attempts, queue.counters().deferred), (1, 1));
    let RecipientState::Pending(Some(answer)) = &entry.recipients[0].state else {
        panic!("{:?}", entry.recipients[0].state)
    };
    let Cause::Local { status, .. } = &answer.cause else { panic!("{answer:?}") };
    assert!(matches!(status, Enhanced(4, 3, 2)), "{answer:?}");
    assert!(queue.store().next_due().unwrap() > SystemTime::now(), "it waits as after any attempt");
}
