//! A daemon that is told to end lets messages on their way arrive.

use relay_tests::daemon::Daemon;
use rustix::process::Signal;

use crate::PATIENCE;
use crate::edge::{Edge, Mode, SCANNER, json_line, queue_id};

#[test]
fn a_message_under_way_is_taken_before_the_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let edge = Edge::new(Mode::Userspace);
        let daemon = edge.start();
        let mut idle = edge.connect(SCANNER);
        let mut client = edge.connect(SCANNER);
        client.hello();
        client.begin("a@contoso.example", &["b@fabrikam.example"]);
        client.send(b"Subject: under way\r\n\r\n");
        daemon.signal(signal).unwrap();
        json_line(&daemon, 0, |line| line["message"] == "stopping" && line["sessions"] == 2);

        // Who is in no message is told at once; new clients find nobody.
        let farewell = "421 4.3.2 Service shutting down, closing transmission channel";
        assert_eq!(idle.reply(), farewell);
        idle.ends();
        assert!(std::net::TcpStream::connect(edge.address()).is_err());

        client.send(b"the rest\r\n");
        let id = queue_id(&client.say("."));
        assert_eq!(client.reply(), farewell);
        client.ends();
        ends_well(daemon);

        // Delivered before the end, or after the next start.
        let daemon = edge.start();
        let message = &edge.sink.wait_for(1, PATIENCE).unwrap()[0];
        assert!(message.text().ends_with("Subject: under way\r\n\r\nthe rest\r\n"));
        assert!(message.text().contains(&id));
        ends_well(daemon);
        assert_eq!(edge.sink.messages().len(), 1);
    }
}

/// A client that does not end its message in time learns why nothing of it is kept, and the record
/// has it.
#[test]
fn a_message_that_does_not_end_in_time_is_cut_off_with_a_word() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start();
    let mut client = edge.connect(SCANNER);
    client.hello();
    client.begin("slow@contoso.example", &["b@fabrikam.example"]);
    client.send(b"Subject: slow\r\n\r\n");
    daemon.signal(Signal::TERM).unwrap();
    assert!(client.reply().starts_with("421 4.3.2 "));
    client.ends();
    ends_well(daemon);
    let traced = edge.relay(&["trace", "--from", "slow@contoso.example", "--json"]);
    assert!(traced.out.contains("ABORT"), "{traced:?}");
}

fn ends_well(daemon: Daemon) {
    // Without effect where it is ending already.
    let _ = daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}
