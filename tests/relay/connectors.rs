//! Each client's connector: replies, the octets at the next hop, the log and the counters.

use relay_tests::daemon::Daemon;
use relay_tests::namespace::Namespace;
use relay_tests::requirements::{Requirement, met};
use serde_json::{Value, json};

use crate::dialogue::Dialogue;
use crate::edge::{ARTICLE, Edge, Mode, json_line, session_line};
use crate::{PATIENCE, has_kernel};

const DENIED: &str = "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain";

/// The client's message; it may not write the organization fields.
const SENT: &str = "X-MS-Exchange-Organization-AuthAs: Internal\r\n\
    Subject: a test\r\n\
    x-ms-exchange-organization-scl: -1\r\n\
    \tfolded\r\n\
    X-Other: kept \r\n\
    \r\n\
    .one dot\r\n\
    ..two dots\r\n\
    .\t\r\n\
    \r\n\
    last line\r\n";
/// The part that must arrive, after the field that the daemon adds.
const ARRIVES: &str = "Subject: a test\r\n\
    X-Other: kept \r\n\
    \r\n\
    .one dot\r\n\
    ..two dots\r\n\
    .\t\r\n\
    \r\n\
    last line\r\n";

#[test]
fn each_source_gets_its_connector_from_the_kernel() {
    if has_kernel("each_source_gets_its_connector_from_the_kernel") {
        let edge = Edge::new(Mode::Kernel);
        let daemon = play_the_article(&edge, "kernel");
        let status = edge.status();
        assert_eq!(status["classifier"]["pins"], edge.pins.to_str().unwrap());
        for name in ["Default Frontend", "SMTP Relay EXCH01", "Scanners", "Refused"] {
            assert_eq!(edge.connector(name)["kernel"]["tagged"], 1, "{name}");
        }
        assert_eq!(daemon.stop().unwrap().code(), Some(0));
    }
}

#[test]
fn each_source_gets_its_connector_from_the_daemon() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = play_the_article(&edge, "daemon");
    assert_eq!(edge.status()["classifier"]["why"], "classifier.mode is \"userspace\"");
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
}

fn play_the_article(edge: &Edge, decided_by: &str) -> Daemon {
    let daemon = edge.start();
    let cases = [
        ("127.0.0.1", "Default Frontend", "127.0.0.0/8", "anonymous"),
        ("127.0.0.2", "SMTP Relay EXCH01", "127.0.0.2", "externally-secured"),
        ("127.0.1.20", "Scanners", "127.0.1.10-127.0.1.40", "anonymous"),
    ];
    for (number, (from, connector, range, principal)) in cases.into_iter().enumerate() {
        let before = daemon.line_count();
        let mut client = edge.connect(from);
        assert_eq!(client.greeting, "220 edge.test ESMTP");
        client.hello();
        let relays = connector != "Default Frontend";
        client.say("MAIL FROM:<a@contoso.example>");
        let reply = client.say("RCPT TO:<b@fabrikam.example>");
        assert_eq!(reply, if relays { "250 2.1.5 Recipient OK" } else { DENIED });
        client.say("RSET");
        let recipient = if relays { "b@fabrikam.example" } else { "b@contoso.example" };
        let reply = client.message("a@contoso.example", &[recipient], SENT.as_bytes());
        assert!(reply.starts_with("250 2.6.0 "), "{reply}");
        client.quit();

        let messages = edge.sink.wait_for(number + 1, PATIENCE).unwrap();
        let message = &messages[number];
        assert_eq!(message.sender.address, "a@contoso.example");
        assert_eq!(message.recipients.len(), 1);
        assert_eq!(message.recipients[0].address, recipient);
        let (received, rest) = split_received(&message.text());
        assert_eq!(rest, ARRIVES);
        assert!(received.contains(&format!("(connector \"{connector}\", {principal});")));

        let line = session_line(&daemon, before, from);
        let said = |key: &str| line[key].clone();
        assert_eq!(said("connector"), connector, "{line}");
        assert_eq!(said("range"), range, "{line}");
        assert_eq!(said("principal"), principal, "{line}");
        assert_eq!(said("decided_by"), decided_by, "{line}");
        assert_eq!((said("accepted"), said("ending")), (1.into(), "QUIT".into()), "{line}");
        let verdict =
            "RCPT 550 5.7.54 (ms-Exch-SMTP-Accept-Any-Recipient: not granted to anonymous)";
        assert_eq!(said("verdicts"), if relays { Value::Null } else { verdict.into() }, "{line}");
    }
    let before = daemon.line_count();
    let client = edge.connect("127.0.0.4");
    assert_eq!(client.greeting, "421 4.3.2 Service not available");
    client.ends();
    let line = session_line(&daemon, before, "127.0.0.4");
    assert_eq!((&line["connector"], &line["ending"]), (&"Refused".into(), &"refused".into()));

    let counts = |accepted: u64, refused: u64, turned_away: u64| {
        let (by_kernel, by_daemon) = if decided_by == "kernel" { (1, 0) } else { (0, 1) };
        json!({
            "by_kernel": by_kernel, "by_daemon": by_daemon,
            "tags_missing": 0, "tags_disagreeing": 0,
            "connections_refused": turned_away, "probes": 0,
            "logon_failures": 0, "logons_refused": 0,
            "messages_accepted": accepted, "commands_refused": refused, "messages_refused": 0,
        })
    };
    assert_eq!(edge.connector("Default Frontend")["daemon"], counts(1, 1, 0));
    assert_eq!(edge.connector("SMTP Relay EXCH01")["daemon"], counts(1, 0, 0));
    assert_eq!(edge.connector("Scanners")["daemon"], counts(1, 0, 0));
    assert_eq!(edge.connector("Refused")["daemon"], counts(0, 0, 1));
    // The sink has a message a moment before the daemon has recorded it.
    edge.wait_until(|status| status["queue"]["delivered"] == 3);
    daemon
}

/// The authentication of the sender is sent to servers of our own organization only.
#[test]
fn organization_fields_are_sent_only_if_configured() {
    let stamp = |auth_as: &str, mechanism: &str| {
        format!(
            "X-MS-Exchange-Organization-AuthSource: edge.test\r\n\
             X-MS-Exchange-Organization-AuthAs: {auth_as}\r\n\
             X-MS-Exchange-Organization-AuthMechanism: {mechanism}\r\n"
        )
    };
    for is_internal in [false, true] {
        let edge = Edge::new(Mode::Userspace);
        let configuration = edge.configuration(ARTICLE).replace(
            "[delivery]\n",
            &format!("[delivery]\nsend_organization_headers = {is_internal}\n"),
        );
        let _daemon = edge.start_with(&configuration);
        for (number, (from, stamp)) in
            [("127.0.0.3", stamp("Anonymous", "00")), ("127.0.0.2", stamp("Internal", "10"))]
                .into_iter()
                .enumerate()
        {
            let mut client = edge.connect(from);
            client.hello();
            let to = &["b@contoso.example"];
            let reply = client.message("a@contoso.example", to, SENT.as_bytes());
            assert!(reply.starts_with("250 2.6.0 "), "{reply}");
            client.quit();
            let message = edge.sink.wait_for(number + 1, PATIENCE).unwrap()[number].text();
            let (_, rest) = split_received(&message);
            let expected = if is_internal { stamp + ARRIVES } else { ARRIVES.to_owned() };
            assert_eq!(rest, expected);
        }
    }
}

/// The daemon's own Received field, and the rest.
fn split_received(message: &str) -> (String, String) {
    let is_continued = |line: &&str| line.starts_with([' ', '\t']);
    let field: String = std::iter::once(message.split_inclusive('\n').next().unwrap())
        .chain(message.split_inclusive('\n').skip(1).take_while(is_continued))
        .collect();
    assert!(field.starts_with("Received: from client.example ("), "{message}");
    (field.clone(), message[field.len()..].to_owned())
}

/// Bindings of both families, as in a deployment. A message from each side must use its own.
const BOTH_FAMILIES: &str = r#"
[[connector]]
name = "IPv4"
bindings = ["0.0.0.0:PORT"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]

[[connector]]
name = "IPv6"
bindings = ["[::]:PORT"]
remote_ip_ranges = ["::/0"]
permission_groups = ["AnonymousUsers"]

[[connector]]
name = "Exact"
bindings = ["127.0.0.9:PORT", "[fd38::9]:PORT"]
remote_ip_ranges = ["127.0.0.0/8", "fd38::/64"]
permission_groups = ["AnonymousUsers"]
"#;

#[test]
fn a_binding_has_one_family_and_an_exact_one_comes_first() {
    let test = "a_binding_has_one_family_and_an_exact_one_comes_first";
    if !has_kernel(test) || !met(test, &[Requirement::NetworkNamespaces]) {
        return;
    }
    let place = Namespace::new("both").unwrap();
    for address in ["fd38::1/128", "fd38::9/128"] {
        place.add_address("lo", address).unwrap();
    }
    let edge = Edge::new(Mode::Kernel);
    let configuration = edge.configuration(BOTH_FAMILIES);
    let daemon = Daemon::start(Some(&place), edge.folder(), &configuration).unwrap();
    for (from, to, connector) in [
        ("127.0.0.5", "127.0.0.1", "IPv4"),
        ("127.0.0.5", "127.0.0.9", "Exact"),
        ("::1", "::1", "IPv6"),
        ("fd38::1", "fd38::1", "IPv6"),
        ("fd38::1", "fd38::9", "Exact"),
        ("::1", "fd38::9", ""),
    ] {
        let before = daemon.line_count();
        let to = std::net::SocketAddr::new(to.parse().unwrap(), edge.port);
        let client = place.enter(|| Dialogue::connect(from.parse().unwrap(), to)).unwrap();
        if connector.is_empty() {
            // The binding is the exact one, even if the wildcard has a matching range.
            assert_eq!(client.greeting, "421 4.3.2 Service not available");
            continue;
        }
        client.quit();
        let line = json_line(&daemon, before, |line| line["message"] == "session");
        assert_eq!(
            (&line["connector"], &line["decided_by"]),
            (&connector.into(), &"kernel".into())
        );
    }
    let none = &edge.status()["no_connector"];
    assert_eq!((&none["by_kernel"], &none["tags_missing"]), (&1.into(), &0.into()));
}
