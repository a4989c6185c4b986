//! Next hops that disconnect, fall silent or violate the protocol before they have the message: who
//! accepts it then, and when?

use crate::tests::*;

/// Faults that end an attempt before the end of data.
const BREAKS: [Fault; 8] = [
    Fault::Says("MAIL", "421 later\r\n"),
    Fault::Says("MAIL", ""),
    Fault::Says("MAIL", "nonsense\r\n"),
    Fault::Says("RCPT", "421 later\r\n"),
    Fault::Says("RCPT", ""),
    Fault::Says("DATA", "421 later\r\n"),
    Fault::Says("DATA", ""),
    Fault::ResetsInData,
];

/// Large enough that a reset arrives while it is being sent.
fn large() -> Vec<u8> {
    [b"Subject: x\r\n\r\n".to_vec(), b"0123456789abcde\r\n".repeat(40_000)].concat()
}

#[tokio::test]
async fn the_next_server_takes_over_at_once() {
    for fault in BREAKS {
        let (bad, bad_address) = TestNextHop::start([fault; 100]).await;
        let (good, good_address) = TestNextHop::start([]).await;
        let daemon = Daemon::start_with(good_address, |settings| {
            let both = to_servers(&[bad_address, good_address], Security::default());
            settings.routes = Routes::new(vec![], both);
        });
        daemon.accept(&[ONE, "<two@fabrikam.example>"], &large()).await;
        let counters = daemon.finish().await;
        assert_eq!((counters.delivered, counters.deferred), (2, 0), "{fault:?}");
        assert_eq!((good.taken().len(), bad.taken().len()), (1, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn a_message_that_may_have_been_accepted_is_not_sent_to_another_server() {
    for fault in [Fault::Says("end", "421 later\r\n"), Fault::Says("end", "")] {
        let (_bad, bad_address) = TestNextHop::start([fault; 100]).await;
        let (good, good_address) = TestNextHop::start([]).await;
        let daemon = Daemon::start_with(good_address, |settings| {
            let both = to_servers(&[bad_address, good_address], Security::default());
            settings.routes = Routes::new(vec![], both);
        });
        daemon.accept(&[ONE], b"x\r\n").await;
        while daemon.queue.counters().deferred == 0 {
            assert!(good.taken().is_empty(), "{fault:?}");
            sleep(Duration::from_millis(1)).await;
        }
        daemon.stop().await;
    }
}

#[tokio::test]
async fn a_message_that_all_servers_broke_off_is_deferred_with_their_reason() {
    let fault = Fault::Says("MAIL", "421 4.3.2 later\r\n");
    let (one, one_address) = TestNextHop::start([fault; 100]).await;
    let (two, two_address) = TestNextHop::start([fault; 100]).await;
    let daemon = Daemon::start_with(one_address, |settings| {
        let both = to_servers(&[one_address, two_address], Security::default());
        settings.routes = Routes::new(vec![], both);
    });
    let id = daemon.accept(&[ONE], b"x\r\n").await;
    let queue = daemon.queue.clone();
    while queue.counters().deferred == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    daemon.stop().await;
    assert!(one.connections() >= 1 && two.connections() >= 1);
    let entry = queue.store().find(id).await.unwrap();
    let state = format!("{:?}", entry.recipients[0].state);
    assert!(state.contains("421") && state.contains("later"), "{state}");
}

#[tokio::test]
async fn a_connection_that_has_served_its_time_costs_no_attempt() {
    for said in [
        "421 4.7.0 enough for one connection\r\n",
        "",
        "550 5.7.1 one message for each connection\r\n",
        "503 5.5.1 MAIL already given\r\n",
        "452 4.5.3 too many messages\r\n",
        "451 4.7.1 too many messages\r\n",
    ] {
        let (sink, address) = TestNextHop::start([Fault::Retires(3, said); 100]).await;
        let daemon = Daemon::start_with(address, |settings| settings.concurrency = 1);
        for _ in 0..10 {
            daemon.accept(&[ONE], b"x\r\n").await;
        }
        let counters = daemon.finish().await;
        assert_eq!((counters.delivered, counters.deferred), (10, 0), "{said:?}");
        assert_eq!(sink.taken().len(), 10);
        assert!(sink.connections() >= 4, "{}", sink.connections());
    }
}

#[tokio::test]
async fn a_server_that_fails_with_its_extensions_gets_basic_smtp() {
    let unterminated = large().strip_suffix(b"\r\n").unwrap().to_vec();
    // Only octets that DATA would change are sent by BDAT.
    for (fault, message) in [
        (Fault::DropsPipelined, large()),
        (Fault::DropsSecond, large()),
        (Fault::KnowsNoChunks, unterminated),
    ] {
        let (sink, address) = TestNextHop::start([fault; 100]).await;
        let daemon = Daemon::start_with(address, |settings| settings.concurrency = 1);
        for _ in 0..5 {
            daemon.accept(&[ONE, "<two@fabrikam.example>"], &message).await;
        }
        let counters = daemon.finish().await;
        assert_eq!((counters.delivered, counters.deferred), (10, 0), "{fault:?}");
        assert!(sink.taken().iter().all(|(_, message)| *message == large()), "{fault:?}");
        assert_eq!(sink.connections(), 2, "{fault:?}: it is found out once");
    }
}
