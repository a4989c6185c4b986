//! Messages whose recipients have different next hops, next hops that replace each other, and next
//! hops that must not delay the others.

use crate::route::{RecipientPattern, SenderPattern};
use crate::tests::*;

/// A route to a server for one domain.
fn route(domain: &str, address: SocketAddr) -> Route {
    Route {
        line: 1,
        recipients: vec![RecipientPattern::Domain(domain.parse().unwrap())],
        senders: vec![SenderPattern::Any],
        next_hop: to_servers(&[address], Security::default()),
    }
}

/// Delivery to one server for `far.example` and to another for all other domains.
fn start(near: SocketAddr, far: SocketAddr) -> Daemon {
    Daemon::start_with(near, |settings| {
        let otherwise = to_servers(&[near], Security::default());
        settings.routes = Routes::new(vec![route("far.example", far)], otherwise);
    })
}

const FAR: &str = "<two@far.example>";

/// An address without a listener.
async fn closed_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn each_recipient_goes_to_its_own_next_hop() {
    let (near, near_address) = TestNextHop::start([]).await;
    let (far, far_address) = TestNextHop::start([]).await;
    let daemon = start(near_address, far_address);
    daemon.accept(&[ONE, FAR, "<three@fabrikam.example>"], b"x\r\n").await;
    assert_eq!(daemon.finish().await.delivered, 3);
    assert_eq!(near.taken()[0].0, [ONE, "<three@fabrikam.example>"]);
    assert_eq!(far.taken()[0].0, [FAR]);
}

#[tokio::test]
async fn a_message_accepted_by_one_next_hop_is_not_sent_again_while_another_is_dead() {
    let (near, near_address) = TestNextHop::start([]).await;
    let daemon = start(near_address, closed_address().await);
    let id = daemon.accept(&[ONE, FAR], b"x\r\n").await;
    sleep(Duration::from_secs(2)).await;
    assert_eq!(near.taken().len(), 1, "delivered once");
    let counters = daemon.queue.counters();
    assert_eq!((counters.delivered, counters.lengths.queued), (1, 1));
    let entry = daemon.queue.store().find(id).await.unwrap();
    let waiting: Vec<_> = entry.pending().map(|(place, _)| place).collect();
    assert_eq!(waiting, [1]);
    daemon.stop().await;
}

#[tokio::test]
async fn a_delivery_is_recorded_before_the_other_next_hops_have_replied() {
    let (near, near_address) = TestNextHop::start([]).await;
    let (_far, far_address) = TestNextHop::start([Fault::Silent]).await;
    let daemon = Daemon::start_with(near_address, |settings| {
        *settings = patient(near_address);
        let otherwise = to_servers(&[near_address], Security::default());
        settings.routes = Routes::new(vec![route("far.example", far_address)], otherwise);
    });
    let id = daemon.accept(&[ONE, FAR], b"x\r\n").await;
    while daemon.queue.counters().delivered == 0 {
        sleep(Duration::from_millis(10)).await;
    }
    let entry = daemon.queue.store().find(id).await.unwrap();
    assert_eq!(entry.pending().count(), 1, "what a crash would leave is on disk");
    assert_eq!(daemon.queue.counters().lengths.claimed, 1, "the attempt goes on");
    let queue = daemon.queue.clone();
    daemon.stop().await;
    let lengths = queue.counters().lengths;
    assert_eq!((lengths.queued, lengths.claimed), (1, 0));
    assert_eq!(near.taken().len(), 1);
}

#[tokio::test]
async fn a_dead_or_silent_next_hop_delays_no_other() {
    let (near, near_address) = TestNextHop::start([]).await;
    let (_far, far_address) = TestNextHop::start([Fault::Silent; 100]).await;
    let daemon = Daemon::start_with(near_address, |settings| {
        *settings = patient(near_address);
        let otherwise = to_servers(&[near_address], Security::default());
        settings.routes = Routes::new(vec![route("far.example", far_address)], otherwise);
    });
    // More than may be in hand at one time.
    for _ in 0..limits::DELIVERY_CLAIMS + 200 {
        daemon.accept(&[FAR], b"x\r\n").await;
    }
    for _ in 0..50 {
        daemon.accept(&[ONE], b"x\r\n").await;
    }
    let begin = Instant::now();
    while near.taken().len() < 50 {
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", daemon.queue.counters());
        sleep(Duration::from_millis(10)).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn messages_without_room_follow_when_there_is_room() {
    let (sink, address) =
        TestNextHop::start([Fault::Silent; limits::DELIVERY_CONCURRENCY_FIRST]).await;
    let daemon = Daemon::start_with(address, |settings| {
        settings.timeouts = every_step(Duration::from_secs(5));
    });
    let many = limits::DELIVERY_CLAIMS + 200;
    for _ in 0..many {
        daemon.accept(&[ONE], b"x\r\n").await;
    }
    // The first messages are retried by their own schedule, long after all the others.
    let begin = Instant::now();
    while sink.taken().len() < many - limits::DELIVERY_CONCURRENCY_FIRST {
        let counters = daemon.queue.counters();
        assert!(begin.elapsed() < Duration::from_secs(60), "{counters:?}, {}", sink.taken().len());
        sleep(Duration::from_millis(50)).await;
    }
    daemon.stop().await;
}

#[tokio::test]
async fn the_next_smart_host_stands_in() {
    let (sink, address) = TestNextHop::start([]).await;
    let dead = closed_address().await;
    let daemon = Daemon::start_with(address, |settings| {
        settings.routes = Routes::new(vec![], to_servers(&[dead, address], Security::default()));
    });
    for _ in 0..20 {
        daemon.accept(&[ONE], b"x\r\n").await;
    }
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.deferred), (20, 0));
    assert_eq!(sink.taken().len(), 20);
}

#[tokio::test]
async fn a_recipient_without_a_domain_fails_where_dns_would_have_to_tell() {
    let (sink, address) = TestNextHop::start([]).await;
    let daemon = Daemon::start_with(address, |settings| {
        let otherwise = NextHop::Exchangers { security: Arc::default() };
        settings.routes = Routes::new(vec![route("contoso.example", address)], otherwise);
    });
    daemon.accept(&["<postmaster>"], b"x\r\n").await;
    let counters = daemon.finish().await;
    assert_eq!((counters.failed, counters.reports), (1, 1));
    let report = String::from_utf8(sink.taken()[0].1.clone()).unwrap();
    assert!(report.contains("Status: 5.1.2"), "{report}");
}
