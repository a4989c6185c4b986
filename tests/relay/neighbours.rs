//! Two instances on one host: at the same time, or with an error about a resource that they cannot
//! share.

use relay_tests::daemon::Daemon;

use crate::edge::{ARTICLE, Edge, Mode, Ran, SCANNER, session_line};
use crate::{PATIENCE, has_kernel};

#[test]
fn two_instances_classify_by_their_own_tables() {
    if !has_kernel("two_instances_classify_by_their_own_tables") {
        return;
    }
    let (one, other) = (Edge::new(Mode::Kernel), Edge::new(Mode::Kernel));
    let first = one.start();
    // Here the same ids stand for other connectors.
    let swapped = ARTICLE.replace("127.0.0.4", "KEPT").replace(SCANNER, "127.0.0.4");
    let second = other.start_with(&other.configuration(&swapped.replace("KEPT", SCANNER)));
    for round in 0..3 {
        let (line_one, line_other) = (first.line_count(), second.line_count());
        one.connect(SCANNER).quit();
        assert_eq!(other.connect(SCANNER).greeting, "421 4.3.2 Service not available");
        for (daemon, after, connector) in
            [(&first, line_one, "Scanners"), (&second, line_other, "Refused")]
        {
            let line = session_line(daemon, after, SCANNER);
            let said = (&line["connector"], &line["decided_by"]);
            assert_eq!(said, (&connector.into(), &"kernel".into()), "round {round}");
        }
        if round == 0 {
            assert_eq!(one.relay(&["reload"]).code, 0);
        }
    }
    // Pins that end with one instance are not the other's.
    assert_eq!(first.stop().unwrap().code(), Some(0));
    other.connect("127.0.0.4").quit();
    assert_eq!(other.connector("Scanners")["daemon"]["by_kernel"], 1);
    assert!(other.pins.join("RANGES").exists() && !one.pins.exists());
}

#[test]
fn a_pin_directory_is_not_shared() {
    if !has_kernel("a_pin_directory_is_not_shared") {
        return;
    }
    let (edge, other) = (Edge::new(Mode::Kernel), Edge::new(Mode::Kernel));
    let daemon = edge.start();
    let share = |text: String| text.replace(pins(&other), pins(&edge));
    for mode in ["kernel", "auto"] {
        let configuration = share(other.configuration(ARTICLE));
        let ran = other.fail_to_start(
            &configuration.replace("mode = \"kernel\"", &format!("mode = \"{mode}\"")),
        );
        assert_refused(&ran, &[pins(&edge), "another running instance", "pin_directory"]);
        assert!(edge.pins.join("RANGES").exists());
    }
    assert_unharmed(&edge, daemon);
    assert!(!edge.pins.exists());
}

fn pins(edge: &Edge) -> &str {
    edge.pins.to_str().unwrap()
}

#[test]
fn queue_control_socket_and_port_are_not_shared() {
    let (edge, other) = (Edge::new(Mode::Userspace), Edge::new(Mode::Userspace));
    let daemon = edge.start();
    let configuration = other.configuration(ARTICLE);
    let shared = |what: &str| {
        let own = other.folder().join(what).display().to_string();
        let theirs = edge.folder().join(what).display().to_string();
        (configuration.replace(&own, &theirs), theirs)
    };
    let (configuration_of_queue, queue) = shared("queue");
    assert_refused(&other.fail_to_start(&configuration_of_queue), &[&queue, "in use by process"]);
    let (configuration_of_socket, socket) = shared("control.sock");
    let ran = other.fail_to_start(&configuration_of_socket);
    assert_refused(&ran, &[&socket, "another daemon answers on the socket"]);
    let own = format!("127.0.0.1:{}", other.port);
    let theirs = format!("127.0.0.1:{}", edge.port);
    let ran = other.fail_to_start(&configuration.replace(&own, &theirs));
    assert_refused(&ran, &[&format!("cannot listen on {theirs}"), "in use"]);
    assert_unharmed(&edge, daemon);
}

fn assert_refused(ran: &Ran, needles: &[&str]) {
    assert_eq!(ran.code, 2, "{ran:?}");
    let last = ran.err.lines().last().unwrap();
    assert!(last.starts_with("relay: "), "{ran:?}");
    assert!(needles.iter().all(|needle| last.contains(needle)), "{needles:?} in {last}");
}

fn assert_unharmed(edge: &Edge, daemon: Daemon) {
    edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.sink.wait_for(1, PATIENCE).unwrap();
    assert_eq!(edge.status()["pid"], daemon.id());
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
}
