//! A stopping daemon lets incoming messages arrive.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;

use relay_tests::daemon::Daemon;
use rustix::process::Signal;
use serde_json::Value;

use crate::PATIENCE;
use crate::edge::{Edge, Mode, SCANNER, json_line, queue_id};

#[test]
fn an_incoming_message_is_accepted_before_the_end() {
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

        // A client without a message gets the reply when it is silent; new clients find no listener.
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

/// A restart must not refuse the clients that are connected: each can send one message.
#[test]
fn a_connected_client_can_send_a_message_before_the_end() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start();
    let greeted = edge.connect(SCANNER);
    let mut client = edge.connect(SCANNER);
    client.hello();
    daemon.signal(Signal::TERM).unwrap();
    json_line(&daemon, 0, |line| line["message"] == "stopping" && line["sessions"] == 2);
    for mut client in [client, greeted] {
        client.hello();
        client.begin("a@contoso.example", &["b@fabrikam.example"]);
        client.send(b"Subject: late\r\n\r\nx\r\n");
        queue_id(&client.say("."));
        assert!(client.reply().starts_with("421 4.3.2 "));
        client.ends();
    }
    ends_well(daemon);
}

/// If a client does not end its message in time, it gets a reply with the reason, and the record
/// has it.
#[test]
fn a_message_that_does_not_end_in_time_is_cut_off_with_a_reply() {
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
    // No effect if it is already ending.
    let _ = daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().unwrap().code(), Some(0));
}

/// Accepts a message and never replies to its end of data. Reports when it has the message.
fn accepts_without_a_reply() -> (SocketAddr, mpsc::Receiver<()>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (told, has_it) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut say = |text: &str| stream.write_all(text.as_bytes()).unwrap();
        say("220 next\r\n");
        while let Some(Ok(line)) = lines.next() {
            if line == "." {
                told.send(()).unwrap();
            } else if line.starts_with("DATA") {
                say("354 go on\r\n");
                lines.by_ref().find(|line| line.as_ref().is_ok_and(String::is_empty));
            } else if line
                .split(' ')
                .next()
                .is_some_and(|verb| ["EHLO", "MAIL", "RCPT"].iter().any(|it| verb.starts_with(it)))
            {
                say("250 ok\r\n");
            }
        }
    });
    (address, has_it)
}

#[test]
fn an_attempt_that_the_end_cuts_off_is_recorded() {
    let edge = Edge::new(Mode::Userspace);
    let (address, has_it) = accepts_without_a_reply();
    let configuration = edge.configuration(crate::edge::ARTICLE);
    let sink = edge.sink.address().to_string();
    let daemon = edge.start_with(&configuration.replace(&sink, &address.to_string()));
    let id = edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    has_it.recv_timeout(PATIENCE).unwrap();
    daemon.signal(Signal::TERM).unwrap();
    json_line(&daemon, 0, |line| line["message"] == "stopped");
    assert!(!daemon.output().contains("internal error in an attempt"), "{}", daemon.output());
    ends_well(daemon);

    let events = edge.relay(&["trace", "--json", &id]).json();
    let names: Vec<_> =
        events.as_array().unwrap().iter().map(|it| it["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["RECEIVE", "DEFER", "QUEUED"], "{events:#}");
    let [_, defer, queued] = &events.as_array().unwrap()[..] else { unreachable!() };
    let of_attempt = |event: &Value| event["because"].as_str().unwrap().contains("4.3.2");
    assert_eq!((&defer["attempt"], &queued["attempts"]), (&1.into(), &1.into()));
    assert!(of_attempt(defer) && of_attempt(queued), "{events:#}");
}
