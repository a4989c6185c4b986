//! Next hops that take fewer recipients in a transaction than a message has.

use super::*;

#[tokio::test]
async fn the_surplus_goes_at_once_in_further_transactions() {
    for reply in [
        "452 4.5.3 enough\r\n",
        "452 enough\r\n",
        "552 enough\r\n",
        // X.5.3 says it, whatever the basic code.
        "451 4.5.3 enough\r\n",
        "450 4.5.3 enough\r\n",
        "550 5.5.3 enough\r\n",
    ] {
        let (sink, address) = Sink::start([Fault::TakesFew(10, reply)]).await;
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
