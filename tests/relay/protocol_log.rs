//! Commands and replies of sessions on a verbose connector, in the daemon's own log, and data that
//! must never be in it.

use relay_tests::daemon::Daemon;
use relay_tests::requirements::{Requirement, met};
use serde_json::Value;

use crate::authentication::{CONNECTORS, msmtp, with_alice_on};
use crate::edge::{Edge, Mode, json_line, queue_id, session_line};

/// Verbose for all clients but 127.0.0.3.
const TWO: &str = r#"
[[connector]]
name = "Default Frontend"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.0/8"]
permission_groups = ["AnonymousUsers"]
tarpit_interval = "0s"
protocol_logging_level = "Verbose"

[[connector]]
name = "Scanners"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.3"]
permission_groups = ["AnonymousUsers"]
tarpit_interval = "0s"
"#;

/// The protocol log so far, of the client with this address.
fn records(daemon: &Daemon, remote: &str) -> Vec<Value> {
    let output = daemon.output();
    let lines = output.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines
        .filter(|line| line["target"] == "relay::protocol")
        .filter(|line| line["remote"].as_str().unwrap().starts_with(&format!("{remote}:")))
        .collect()
}

/// The same as `<event> <data>`.
fn dialogue(daemon: &Daemon, remote: &str) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let records = records(daemon, remote).into_iter();
    records.map(|line| format!("{} {}", text(&line["event"]), text(&line["data"]))).collect()
}

#[test]
fn sessions_of_a_verbose_connector_are_in_the_log() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start_with(&edge.configuration(TWO));
    let mut client = edge.connect("127.0.0.9");
    let hello = client.hello();
    client.send(
        b"MAIL FROM:<a@fabrikam.example>\r\nRCPT TO:<b@fabrikam.example>\r\n\
          RCPT TO:<b@contoso.example>\r\nDATA\r\n",
    );
    let replies = [(); 4].map(|()| client.reply());
    client.send(b"Subject: x\r\n\r\nnobody reads this\r\n.\r\n");
    let taken = client.reply();
    let noise = client.say("FOO\x1b[2J\t\"x\"");
    client.quit();
    let session = session_line(&daemon, 0, "127.0.0.9");

    let id = queue_id(&taken);
    let [mail, denied, recipient, data] = &replies;
    let mut expected = vec![
        "* connected: connector Default Frontend, range 127.0.0.0/8".to_owned(),
        "> 220 edge.test ESMTP".to_owned(),
        "< EHLO client.example".to_owned(),
    ];
    expected.extend(hello.lines().map(|line| format!("> {line}")));
    expected.extend([
        "< MAIL FROM:<a@fabrikam.example>".to_owned(),
        format!("> {mail}"),
        "< RCPT TO:<b@fabrikam.example>".to_owned(),
        format!("> {denied}"),
        "< RCPT TO:<b@contoso.example>".to_owned(),
        format!("> {recipient}"),
        "< DATA".to_owned(),
        format!("> {data}"),
        "< <33 octets>".to_owned(),
        format!("* message {id} committed"),
        format!("> {taken}"),
        "< FOO\\u{1b}[2J\\t\"x\"".to_owned(),
        format!("> {noise}"),
        "< QUIT".to_owned(),
        "> 221 2.0.0 Service closing transmission channel".to_owned(),
        "* ended: QUIT".to_owned(),
    ]);
    assert_eq!(dialogue(&daemon, "127.0.0.9"), expected);
    for (number, line) in records(&daemon, "127.0.0.9").iter().enumerate() {
        assert_eq!(line["sequence_number"], number, "{line}");
        for (key, value) in [
            ("message", &"protocol".into()),
            ("session_id", &session["session_id"]),
            ("connector", &"Default Frontend".into()),
            ("local", &edge.address().to_string().into()),
            ("remote", &session["remote"]),
        ] {
            assert_eq!(&line[key], value, "{line}");
        }
    }

    // The other connector is not verbose.
    let mut client = edge.connect("127.0.0.3");
    client.hello();
    client.quit();
    let session = session_line(&daemon, 0, "127.0.0.3");
    assert_eq!((&session["session_id"], records(&daemon, "127.0.0.3")), (&Value::Null, vec![]));
}

#[test]
fn secrets_and_messages_are_not_recorded() {
    let verbose = "\nprotocol_logging_level = \"Verbose\"\nname = ";
    let (edge, daemon) = with_alice_on(&CONNECTORS.replace("\nname = ", verbose));
    // "\0alice\0wonderland", "alice", "wonderland".
    let (plain, name, password) = ("AGFsaWNlAHdvbmRlcmxhbmQ=", "YWxpY2U=", "d29uZGVybGFuZA==");
    let ways: [&[&str]; 5] = [
        &[&format!("AUTH PLAIN {plain}")],
        &["AUTH PLAIN", plain],
        &["AUTH LOGIN", name, password],
        &[&format!("AUTH LOGIN {name}"), password],
        // The client ignores the reply that there is no such mechanism.
        &["AUTH NTLM", name, password, plain],
    ];
    for (number, way) in ways.into_iter().enumerate() {
        let address = format!("127.0.0.{}", number + 10);
        let mut client = edge.connect(&address);
        client.hello();
        let reply = way.iter().map(|line| client.say(line)).last().unwrap();
        assert_eq!(reply.starts_with("235 "), way[0] != "AUTH NTLM", "{reply}");
        if reply.starts_with("235 ") {
            let content = b"From: alice@contoso.example\r\n\r\nthe caterpillar's advice\r\n";
            client.message("alice@contoso.example", &["b@fabrikam.example"], content);
        }
        client.quit();
        session_line(&daemon, 0, &address);
        let dialogue = dialogue(&daemon, &address);
        let hidden = dialogue.iter().filter(|line| line.starts_with('<') && is_hidden(line));
        let secrets = way.len() - usize::from(way[0].matches(' ').count() == 1);
        assert_eq!(hidden.count(), secrets, "{dialogue:#?}");
        if reply.starts_with("235 ") {
            for line in ["* authenticated: alice, principal user", "< <57 octets>"] {
                assert!(dialogue.iter().any(|said| said == line), "{dialogue:#?}");
            }
        }
    }
    let mut never = vec![plain, name, password, "wonderland", "caterpillar", "from msmtp"];
    if met("secrets_and_messages_are_not_recorded", &[Requirement::Program("msmtp")]) {
        let before = daemon.line_count();
        for server in ["127.0.0.1", "127.0.0.2"] {
            let (success, said) = msmtp(&edge, server, "scram-sha-256", "wonderland");
            assert!(success, "{said}");
        }
        for connector in ["In clear", "Within TLS"] {
            json_line(&daemon, before, |line| {
                line["message"] == "session" && line["connector"] == connector
            });
        }
        let dialogue = dialogue(&daemon, "127.0.0.1");
        let hidden =
            |sign| dialogue.iter().filter(move |line| line.starts_with(sign) && is_hidden(line));
        // The initial response may come with AUTH or separately; then two messages of each side.
        assert!(hidden('<').count() >= 4 && hidden('>').count() >= 2, "{dialogue:#?}");
        assert!(dialogue.iter().any(|line| line.starts_with("* TLS established: TLS1.3 ")));
        // "n,,n=", "c=biws,r=", "r=" of the challenge, "v=" of the last message.
        never.extend(["biwsbj", "Yz1iaXdz", "> 334 cj", "> 334 dj"]);
        for secret in &never {
            assert!(!dialogue.iter().any(|line| line.contains(secret)), "{dialogue:#?}");
        }
    }
    let output = daemon.output();
    for secret in never {
        assert!(!output.contains(secret), "{secret}: {output}");
    }
}

fn is_hidden(line: &str) -> bool {
    line.ends_with("<authentication data>")
}

#[test]
fn a_reload_makes_new_sessions_verbose() {
    let edge = Edge::new(Mode::Userspace);
    let verbose = edge.configuration(TWO);
    let silent = verbose.replace("protocol_logging_level = \"Verbose\"", "");
    let daemon = edge.start_with(&silent);
    let mut running = edge.connect("127.0.0.11");
    std::fs::write(daemon.configuration(), &verbose).unwrap();
    assert_eq!(edge.relay(&["reload"]).code, 0);
    let mut new = edge.connect("127.0.0.12");
    std::fs::write(daemon.configuration(), &silent).unwrap();
    assert_eq!(edge.relay(&["reload"]).code, 0);
    let last = edge.connect("127.0.0.13");
    running.hello();
    running.quit();
    new.hello();
    new.quit();
    last.quit();
    for address in ["127.0.0.11", "127.0.0.12", "127.0.0.13"] {
        session_line(&daemon, 0, address);
    }
    assert_eq!(records(&daemon, "127.0.0.11"), [] as [Value; 0]);
    assert_eq!(dialogue(&daemon, "127.0.0.12").last().unwrap(), "* ended: QUIT");
    assert_eq!(records(&daemon, "127.0.0.13"), [] as [Value; 0]);
}

#[test]
fn after_xclient_the_setting_of_the_clients_connector_applies() {
    let edge = Edge::new(Mode::Userspace);
    let proxies = "[proxies]\nxclient_from = [\"127.0.0.3\", \"127.0.0.9\"]\n";
    let daemon = edge.start_with(&edge.configuration(&format!("{proxies}{TWO}")));
    let become_client = |proxy: &str, attributes: &str| {
        let mut client = edge.connect(proxy);
        client.hello();
        let reply = client.say(&format!("XCLIENT {attributes}"));
        assert!(reply.starts_with("220 "), "{reply}");
        client.hello();
        client.quit();
    };
    become_client("127.0.0.9", "ADDR=127.0.0.3 PORT=4711 LOGIN=alice");
    session_line(&daemon, 0, "127.0.0.3");
    let last = "< XCLIENT ADDR=127.0.0.3 PORT=4711 LOGIN=<authentication data>";
    assert_eq!(dialogue(&daemon, "127.0.0.9").last().unwrap(), last);
    assert_eq!(records(&daemon, "127.0.0.3"), [] as [Value; 0]);

    become_client("127.0.0.3", "ADDR=127.0.0.14 PORT=4711");
    session_line(&daemon, 0, "127.0.0.14");
    assert_eq!(records(&daemon, "127.0.0.3"), [] as [Value; 0]);
    let dialogue = dialogue(&daemon, "127.0.0.14");
    let through = "* connected: connector Default Frontend, range 127.0.0.0/8, through the proxy \
                   127.0.0.3:";
    assert!(dialogue[0].starts_with(through), "{dialogue:#?}");
    assert_eq!(dialogue[1..3], ["> 220 edge.test ESMTP", "< EHLO client.example"]);
}
