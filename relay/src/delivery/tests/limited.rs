//! Next hops that serve one or two connections of a client at a time, and refuse more.

use super::*;

/// How a server refuses a connection.
const REFUSALS: [Fault; 8] = [
    Fault::Says("greeting", "421 4.7.0 too many connections\r\n"),
    Fault::Says("greeting", "554 5.7.1 too many connections\r\n"),
    Fault::Says("greeting", ""),
    Fault::Says("EHLO", "421 4.7.0 too many connections\r\n"),
    Fault::Says("MAIL", "421 4.7.0 too many connections\r\n"),
    Fault::Replies("MAIL", "450 4.7.1 too many connections\r\n"),
    Fault::Replies("MAIL", "451 4.7.1 too many connections\r\n"),
    Fault::Replies("MAIL", "454 4.7.0 too many connections\r\n"),
];

#[tokio::test]
async fn what_is_served_keeps_its_work_and_no_attempt_fails() {
    for most in [1, 2] {
        for refusal in REFUSALS {
            let (sink, address) = Sink::limited(most, refusal).await;
            let daemon = Daemon::start_with(address, |settings| {
                // A back-off would be noticed: no message could come in time.
                settings.pause_first = Duration::from_secs(3600);
                settings.pause_longest = Duration::from_secs(3600);
            });
            for _ in 0..100 {
                daemon.accept(&[ONE], b"x\r\n").await;
            }
            let counters = daemon.finish().await;
            assert_eq!((counters.delivered, counters.deferred), (100, 0), "{refusal:?}");
            let refused = sink.connections() - most;
            assert!(refused < limits::DELIVERY_CONCURRENCY_FIRST * 2, "{refusal:?}: {refused}");
        }
    }
}

/// Messages in a second, at a server that takes 10 ms for each.
async fn rate(most: Option<usize>, concurrency: usize) -> f64 {
    const MESSAGES: usize = 300;
    let served = Fault::IsSlow(Duration::from_millis(10));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refusal = Fault::Says("greeting", "421 4.7.0 too many connections\r\n");
    let sink = Sink { limit: most.map(|most| (most, refusal)), ..Sink::default() };
    sink.state.lock().unwrap().faults.extend([served; 1000]);
    sink.clone().serve(listener);
    let daemon = Daemon::start_with(address, |settings| settings.concurrency = concurrency);
    let accepted = (0..MESSAGES).map(|_| daemon.accept(&[ONE], b"x\r\n"));
    futures_util::future::join_all(accepted).await;
    let begin = Instant::now();
    let before = sink.taken().len();
    while sink.taken().len() < MESSAGES {
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", daemon.queue.counters());
        sleep(Duration::from_millis(1)).await;
    }
    let rate = (MESSAGES - before) as f64 / begin.elapsed().as_secs_f64();
    daemon.stop().await;
    rate
}

/// Prints how well a limited next hop is used:
/// `cargo test -p relay --lib limited -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn how_well_a_limited_next_hop_is_used() {
    for most in [1, 2] {
        let alone = rate(None, most).await;
        let limited = rate(Some(most), limits::DELIVERY_CONCURRENCY).await;
        let share = 100.0 * limited / alone;
        println!(
            "{most} allowed: {limited:.0} messages/s, {alone:.0} over {most} connection(s) of a \
             server without a limit: {share:.0} %"
        );
        assert!(share >= 80.0);
    }
}
