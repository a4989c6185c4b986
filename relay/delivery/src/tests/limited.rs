//! Next hops that serve one or two connections of a client at a time, and refuse more.
//! tests/relay/limited_hops.rs measures how much of their capacity is used.

use crate::tests::*;
use relay_host::back_off::BackOff;

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
async fn served_connections_continue_and_no_attempt_fails() {
    for most in [1, 2] {
        for refusal in REFUSALS {
            let (sink, address) = TestNextHop::limited(most, refusal).await;
            let daemon = Daemon::start_with(address, |settings| {
                // A back-off would be noticed: no message could come in time.
                let hour = Duration::from_secs(3600);
                settings.back_off = BackOff { first: hour, longest: hour };
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
