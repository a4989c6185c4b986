//! Accepted mail survives every end of the daemon.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use relay_tests::daemon::free_port;
use relay_tests::sink::{Script, Sink};

use crate::edge::{ARTICLE, Edge, Mode, json_line};
use crate::{PATIENCE, has_kernel};

const CONTENT: &str = "Subject: outlives\r\n\r\n.\r\n.. dots\r\nthe end\r\n";

/// The next hop is down; returns the configuration and the next hop's later address.
pub fn without_next_hop(edge: &Edge) -> (String, SocketAddr) {
    let later = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let configuration = edge.configuration(ARTICLE);
    (configuration.replace(&edge.sink.address().to_string(), &later.to_string()), later)
}

fn bodies(sink: &Sink, count: usize) -> Vec<String> {
    let messages = sink.wait_for(count, PATIENCE).unwrap();
    let mut bodies: Vec<_> = messages
        .iter()
        .map(|message| message.text().split_once("Subject: ").unwrap().1.to_owned())
        .collect();
    bodies.sort();
    bodies
}

#[test]
fn mail_survives_a_kill() {
    let edge = Edge::new(Mode::Userspace);
    let (configuration, later) = without_next_hop(&edge);
    let daemon = edge.start_with(&configuration);
    // Too large to wait in memory, so that it has its own file.
    let large = format!("Subject: large\r\n\r\n{}", "0123456789\r\n".repeat(40_000));
    let ids = [
        edge.submit("a@contoso.example", &["b@fabrikam.example"], CONTENT),
        edge.submit("a@contoso.example", &["b@fabrikam.example"], &large),
    ];
    daemon.kill().unwrap();

    let daemon = edge.start_with(&configuration);
    let list = edge.relay(&["queue", "list", "--json"]).json();
    let mut queued: Vec<_> =
        list.as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    queued.sort_unstable();
    assert_eq!(queued, ids);
    let sink = Sink::start(None, later, Script::default()).unwrap();
    let sent = [&large, CONTENT].map(|content| content["Subject: ".len()..].to_owned());
    assert_eq!(bodies(&sink, 2), sent);
    edge.wait_until(|status| status["queue"]["queued"] == 0 && status["queue"]["claimed"] == 0);

    // Delivered recipients are not delivered again.
    daemon.kill().unwrap();
    let daemon = edge.start_with(&configuration);
    let queue = &edge.status()["queue"];
    assert_eq!((&queue["queued"], &queue["claimed"]), (&0.into(), &0.into()));
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
    assert_eq!(sink.messages().len(), 2);
}

#[test]
fn deferred_mail_survives_a_kill() {
    let edge = Edge::answered(&["rcpt*1=451 4.3.0 Not now", "content*1=452 4.3.1 Full"]);
    let daemon = edge.start();
    edge.submit("a@contoso.example", &["b@fabrikam.example"], CONTENT);
    edge.wait_until(|status| status["queue"]["deferred"] != 0);
    daemon.kill().unwrap();
    let _daemon = edge.start();
    assert_eq!(bodies(&edge.sink, 1), [&CONTENT["Subject: ".len()..]]);
}

#[test]
fn pins_and_socket_of_a_killed_daemon_are_replaced_and_an_orderly_end_removes_them() {
    let test = "pins_and_socket_of_a_killed_daemon_are_replaced_and_an_orderly_end_removes_them";
    if !has_kernel(test) {
        return;
    }
    let edge = Edge::new(Mode::Kernel);
    let ranges = edge.pins.join("RANGES");
    let socket = edge.folder().join("control.sock");
    let daemon = edge.start();
    let first = map_id(&ranges);
    daemon.kill().unwrap();
    assert!(ranges.exists() && socket.exists(), "a killed daemon cannot have removed them");

    let daemon = edge.start();
    json_line(&daemon, 0, |line| line["message"] == "removed the pins of an instance that died");
    assert_ne!(map_id(&ranges), first);
    assert_eq!(edge.status()["pid"], daemon.id());
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
    assert!(!edge.pins.exists() && !socket.exists());
}

fn map_id(pin: &Path) -> u64 {
    let output = Command::new("bpftool").args(["-j", "map", "show", "pinned"]).arg(pin).output();
    let map: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    map["id"].as_u64().unwrap()
}
