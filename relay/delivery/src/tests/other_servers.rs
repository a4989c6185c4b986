//! Refusals and missing extensions of one server of a next hop; the other servers accept.

use crate::tests::*;

/// A next hop with a server that has this fault, before a server without a fault.
async fn two(fault: Fault) -> (TestNextHop, TestNextHop, Daemon) {
    let (first, first_address) = TestNextHop::start([fault; 100]).await;
    let (second, second_address) = TestNextHop::start([]).await;
    let daemon = Daemon::start_with(first_address, |settings| {
        let both = to_servers(&[first_address, second_address], Security::default());
        settings.routes = Routes::new(vec![], both);
    });
    (first, second, daemon)
}

#[tokio::test]
async fn a_deferral_of_one_server_leads_to_another_in_the_same_attempt() {
    for fault in [
        Fault::Replies("MAIL", "452 4.3.1 insufficient system resources\r\n"),
        Fault::Replies("RCPT", "450 4.2.0 later\r\n"),
        Fault::Replies("DATA", "451 4.3.0 later\r\n"),
        Fault::Replies("end", "452 4.3.1 later\r\n"),
    ] {
        let (first, second, daemon) = two(fault).await;
        daemon.accept(&[ONE, "<two@fabrikam.example>"], b"x\r\n").await;
        let counters = daemon.finish().await;
        assert_eq!((counters.delivered, counters.deferred), (2, 0), "{fault:?}");
        assert_eq!(second.taken().len(), 1, "{fault:?}");
        assert_eq!(second.taken()[0].0.len(), 2, "{fault:?}");
        assert_eq!(first.connections(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn only_recipients_deferred_by_one_server_go_to_another() {
    let (first, second, daemon) = two(Fault::Replies("two", "450 4.2.0 later\r\n")).await;
    daemon.accept(&[ONE, "<two@fabrikam.example>"], b"x\r\n").await;
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.deferred), (2, 0));
    assert_eq!(first.taken()[0].0, [ONE]);
    assert_eq!(second.taken()[0].0, ["<two@fabrikam.example>"]);
}

#[tokio::test]
async fn a_deferral_by_all_servers_has_their_reason() {
    let fault = Fault::Replies("MAIL", "452 4.3.1 insufficient system resources\r\n");
    let (_first, second, daemon) = two(fault).await;
    second.state.lock().faults.extend([fault; 100]);
    let id = daemon.accept(&[ONE], b"x\r\n").await;
    let queue = daemon.queue.clone();
    while queue.counters().deferred == 0 {
        sleep(Duration::from_millis(1)).await;
    }
    assert!(second.connections() >= 1);
    daemon.stop().await;
    let entry = queue.store().find(id).await.unwrap();
    let state = format!("{:?}", entry.recipients[0].state);
    assert!(state.contains("insufficient"), "{state}");
}

#[tokio::test]
async fn a_missing_extension_of_one_server_leads_to_another() {
    // Neither 8BITMIME nor so large a SIZE.
    let (first, second, daemon) = two(Fault::OffersLittle).await;
    daemon.accept(&[ONE], "caf\u{e9} and a little more\r\n".as_bytes()).await;
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.failed), (1, 0));
    assert_eq!((first.taken().len(), second.taken().len()), (0, 1));
}

#[tokio::test]
async fn a_message_that_no_server_can_accept_fails_after_all_were_asked() {
    let (first, second, daemon) = two(Fault::OffersLittle).await;
    second.state.lock().faults.push_back(Fault::OffersLittle);
    daemon.accept(&[ONE], b"more than ten octets\r\n").await;
    let begin = Instant::now();
    while daemon.queue.counters().failed == 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", daemon.queue.counters());
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((first.taken().len(), second.taken().len()), (0, 0));
    assert!(second.connections() >= 1);
    daemon.stop().await;
}

#[tokio::test]
async fn a_message_that_one_server_cannot_accept_waits_while_the_other_is_dead() {
    let (first, first_address) = TestNextHop::start([Fault::OffersLittle; 100]).await;
    let dead = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let daemon = Daemon::start_with(first_address, |settings| {
        let both = to_servers(&[first_address, dead], Security::default());
        settings.routes = Routes::new(vec![], both);
    });
    daemon.accept(&[ONE], b"more than ten octets\r\n").await;
    let begin = Instant::now();
    while daemon.queue.counters().deferred == 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", daemon.queue.counters());
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(daemon.queue.counters().failed, 0);
    assert!(first.connections() >= 1);
    daemon.stop().await;
}

#[tokio::test]
async fn one_server_may_know_smtputf8_for_a_recipient_that_needs_it() {
    let (first, second, daemon) = two(Fault::None).await;
    second.state.lock().faults.push_back(Fault::KnowsSmtpUtf8);
    let foreign = "<gr\u{fc}n@fabrikam.example>";
    daemon.accept(&[ONE, foreign], b"x\r\n").await;
    let counters = daemon.finish().await;
    assert_eq!((counters.delivered, counters.failed), (2, 0));
    assert_eq!(first.taken()[0].0, [ONE]);
    assert!(second.taken()[0].0[0].starts_with(foreign));
}
