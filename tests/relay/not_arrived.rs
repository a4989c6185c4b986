//! "It did not arrive": one command says what happened to a message. The commands are those of
//! docs/it-did-not-arrive.md.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::edge::{ARTICLE, Edge, Mode, Ran, json_line, session_line};
use crate::encrypted::Terms;
use crate::starttls::{with_tls, write_certificate};

/// Connectors that reach a limit at once.
const LIMITED: &str = r#"
[[connector]]
name = "One connection"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.5"]
permission_groups = ["AnonymousUsers"]
max_inbound_connection_per_source = 1

[[connector]]
name = "One message"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.6"]
permission_groups = ["AnonymousUsers"]
grants = { anonymous = ["ms-Exch-SMTP-Accept-Authoritative-Domain-Sender"] }
message_rate_limit = 1
tarpit_interval = "0s"
"#;

/// The commands of the page, in order, each as its words without `relay`.
fn commands() -> Vec<Vec<String>> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/it-did-not-arrive.md");
    let text = fs::read_to_string(page).unwrap();
    let commands = text.lines().filter_map(|line| line.strip_prefix("$ relay "));
    commands.map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

fn found(edge: &Edge, command: &[String]) -> (i32, Value) {
    let mut words: Vec<_> = command.iter().map(String::as_str).collect();
    words.push("--json");
    let ran = edge.relay(&words);
    (ran.code, ran.json())
}

#[test]
fn each_command_of_the_page_finds_the_result_with_and_without_a_running_daemon() {
    let edge = Edge::answered(&[
        "rcpt:busy@contoso.example=450 4.2.1 Mailbox busy",
        "rcpt:gone@contoso.example=550 5.1.1 No such user",
    ]);
    let configuration = edge.configuration(&format!("{ARTICLE}{LIMITED}"));
    let daemon = edge.start_with(&configuration.replace("interval = \"1s\"", "interval = \"1h\""));
    let content =
        "Message-ID: <1@printer.contoso.example>\r\nFrom: Amy <amy@contoso.example>\r\n\r\n";
    for recipient in ["bob", "busy", "gone"] {
        edge.submit("amy@contoso.example", &[&format!("{recipient}@contoso.example")], content);
    }
    let mut stranger = edge.connect("127.0.0.1");
    stranger.hello();
    stranger.say("MAIL FROM:<eve@fabrikam.example>");
    assert!(stranger.say("RCPT TO:<carol@elsewhere.example>").starts_with("550 5.7.54 "));
    let mut pump = edge.connect("127.0.0.6");
    pump.hello();
    assert!(pump.say("MAIL FROM:<pump@contoso.example>").starts_with("250 "));
    pump.say("RSET");
    assert!(pump.say("MAIL FROM:<pump@contoso.example>").starts_with("421 "));
    let held = edge.connect("127.0.0.5");
    assert!(edge.connect("127.0.0.5").greeting.starts_with("421 4.3.2 "));
    edge.wait_until(|status| {
        // The report about the failed recipient has also been sent.
        status["queue"]["queued"] == 1 && status["queue"]["claimed"] == 0
    });

    let commands = commands();
    let [delivered, waiting, bounced, at_rcpt, by_rate, by_connections, never] = &commands[..]
    else {
        panic!("{commands:?}")
    };
    let check = |is_running: bool| {
        for (command, verdict) in
            [(delivered, "delivered"), (waiting, "waiting"), (bounced, "failed")]
        {
            let (code, found) = found(&edge, command);
            assert_eq!((code, &found["messages"][0]["verdict"]), (0, &verdict.into()), "{found:#}");
            assert_eq!(found["messages"].as_array().unwrap().len(), 1, "{found:#}");
            let receive = &found["messages"][0]["events"][0];
            assert_eq!(receive["message_id"], "<1@printer.contoso.example>");
            assert_eq!(receive["from"], "Amy <amy@contoso.example>");
        }
        let (_, found_waiting) = found(&edge, waiting);
        let events = found_waiting["messages"][0]["events"].as_array().unwrap();
        let reason = events.last().unwrap()["reason"].as_str().unwrap();
        assert!(reason.contains("450 4.2.1") || !is_running, "{reason}");
        for (command, verb, sender, rule) in [
            (at_rcpt, "RCPT", "eve@fabrikam.example".into(), "ms-Exch-SMTP-Accept-Any-Recipient"),
            (by_rate, "MAIL", "pump@contoso.example".into(), "message_rate_limit"),
            (by_connections, "CONNECT", Value::Null, "max_inbound_connection_per_source"),
        ] {
            let (code, found) = found(&edge, command);
            let refusals = found["refusals"].as_array().unwrap();
            assert_eq!((code, refusals.len()), (0, 1), "{found:#}");
            let refusal = &refusals[0];
            assert_eq!((&refusal["event"], &refusal["command"]), (&"REFUSE".into(), &verb.into()));
            assert_eq!((&refusal["sender"], &refusal["rule"]), (&sender, &rule.into()));
        }
        let (code, found) = found(&edge, never);
        // The log began a moment ago, not two hours ago; and the connection below may be the
        // message.
        assert_eq!((code, &found["whole"]), (3, &Value::Bool(false)), "{found:#}");
        assert_eq!(
            (&found["messages"], &found["refusals"]),
            (&Value::Array(vec![]), &Value::Array(vec![]))
        );
        // A connection was refused, and its message is not known.
        let perhaps = found["perhaps"].as_array().unwrap();
        assert_eq!(perhaps.len(), 1, "{found:#}");
        assert_eq!(perhaps[0]["connector"], "One connection");
        let searched = &found["searched"];
        assert!(searched["begin"].is_string() && searched["refusals_begin"].is_string());
        let queue = if is_running { "daemon" } else { "stopped" };
        assert_eq!(searched["queue"], queue, "{found:#}");
        assert!(searched["begin"].as_str() <= searched["end"].as_str(), "{found:#}");
        // Within the time of the log, and from another client: the answer is no.
        let ran = edge.relay(&["trace", "--json", "--to", "dan@*", "--remote", "127.0.0.77"]);
        assert_eq!((ran.code, &ran.json()["whole"]), (1, &Value::Bool(true)), "{ran:?}");
    };
    // While the refused sessions are still open.
    check(true);
    for kind in ["connection refused", "refused"] {
        let line = json_line(&daemon, 0, |line| line["message"] == kind);
        assert!(line["rule"].is_string() && line["remote"].is_string(), "{line:#}");
    }
    drop((stranger, pump, held));
    assert!(daemon.stop().unwrap().success());
    check(false);
    for command in &commands {
        let words: Vec<_> = command.iter().map(String::as_str).collect();
        println!("{}", edge.relay(&words).out);
    }

    // The queue of a stopped daemon is listed and shown, and not changed.
    let before = files(&edge);
    let list = edge.relay(&["queue", "list", "--json"]);
    assert_eq!(list.code, 0, "{list:?}");
    let row = &list.json()[0];
    assert_eq!(row["pending"], serde_json::json!(["busy@contoso.example"]));
    let shown = edge.relay(&["queue", "show", "--json", row["id"].as_str().unwrap()]);
    assert_eq!((shown.code, &shown.json()["id"]), (0, &row["id"]), "{shown:?}");
    assert_eq!(edge.relay(&["queue", "hold", row["id"].as_str().unwrap()]).code, 3);
    assert_eq!(files(&edge), before);
}

/// Names, sizes and times of the files in the queue's directory.
fn files(edge: &Edge) -> Vec<String> {
    let entries = fs::read_dir(edge.folder().join("queue")).unwrap();
    let mut files: Vec<_> = entries
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            format!("{:?} {} {:?}", entry.file_name(), metadata.len(), metadata.modified().unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn read_only_commands_work_with_a_broken_configuration() {
    let edge = Edge::answered(&["rcpt=451 4.3.0 Not now"]);
    let sound = edge.configuration(ARTICLE);
    let _daemon = edge.start_with(&sound.replace("interval = \"1s\"", "interval = \"1h\""));
    let id = edge.submit("amy@contoso.example", &["bob@fabrikam.example"], "Subject: x\r\n\r\n");
    edge.wait_until(|status| status["queue"]["claimed"] == 0 && status["queue"]["deferred"] == 1);
    let broken = [
        format!("colour = \"red\"\n{sound}"),
        format!("{sound}\n[[connector]]\nname = \n"),
        sound.replace("hostname = \"edge.test\"", "hostname = 7"),
    ];
    for text in &broken {
        fs::write(edge.folder().join("relay.toml"), text).unwrap();
        assert_eq!(edge.relay(&["check"]).code, 2);
        for command in [
            &["queue", "list"][..],
            &["queue", "show", &id],
            &["queue", "hold", &id],
            &["queue", "release", &id],
            &["status"],
            &["trace", &id],
            &["trace", "--from", "amy@*"],
        ] {
            let ran: Ran = edge.relay(command);
            assert_eq!(ran.code, 0, "{command:?} {ran:?}");
            assert!(ran.err.contains("relay.toml"), "it says so: {ran:?}");
        }
    }
    // No configuration file, and an explicit socket.
    fs::remove_file(edge.folder().join("relay.toml")).unwrap();
    let socket = edge.folder().join("control.sock");
    let list = edge.relay(&["queue", "list", "--socket", socket.to_str().unwrap()]);
    assert_eq!((list.code, list.err.as_str()), (0, ""), "{list:?}");
}

#[test]
fn a_session_that_ends_before_its_message_has_a_reply_is_recorded() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start();
    let mut client = edge.connect("127.0.0.1");
    client.hello();
    client.begin("eve@fabrikam.example", &["bob@contoso.example"]);
    client.send(b"Message-ID: <half@fabrikam.example>\r\n\r\nhalf a mess");
    drop(client);
    edge.wait_until(|status| status["sessions"] == 0);
    let find = || {
        let ran = edge.relay(&["trace", "--json", "--to", "bob@*", "--message-id", "half@*"]);
        ran.json()["refusals"].as_array().unwrap().clone()
    };
    let refusals = find();
    assert_eq!(refusals.len(), 1, "{refusals:#?}");
    assert_eq!(refusals[0]["event"], "ABORT");
    assert_eq!(refusals[0]["sender"], "eve@fabrikam.example");
}

/// Searches for a recipient that got no message.
fn seek(edge: &Edge, more: &[&str]) -> (i32, Value) {
    let ran = edge.relay(&[&["trace", "--json", "--to", "dan@contoso.example"], more].concat());
    (ran.code, ran.json())
}

#[test]
fn incomplete_records_never_give_a_plain_no() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start();
    edge.submit("amy@contoso.example", &["bob@contoso.example"], "Subject: x\r\n\r\n");
    edge.wait_until(|status| status["queue"]["queued"] == 0);
    let (code, found) = seek(&edge, &[]);
    assert_eq!((code, &found["whole"], &found["gaps"]), (1, &true.into(), &Value::Array(vec![])));
    // Nor is there a log of the time before it began.
    let (code, found) = seek(&edge, &["--until", "2h"]);
    assert_eq!((code, &found["whole"]), (3, &false.into()), "{found:#}");
    // A running daemon with another socket has a queue that no other process can read.
    let (code, found) = seek(&edge, &["--socket", "/nonexistent/socket"]);
    assert_eq!((code, &found["whole"]), (3, &false.into()), "{found:#}");
    assert!(found["searched"]["queue"].as_str().unwrap().contains("/nonexistent/socket"));

    daemon.kill().unwrap();
    // Before the next start, and after it.
    let gap = |found: &Value| {
        let gaps = found["gaps"].as_array().unwrap();
        assert_eq!(gaps.len(), 1, "{found:#}");
        (gaps[0]["event"].clone(), gaps[0]["since"].clone())
    };
    let (code, found) = seek(&edge, &[]);
    let before = gap(&found);
    assert_eq!((code, &before.0), (3, &"LOST".into()), "{found:#}");
    let daemon = edge.start();
    let (code, found) = seek(&edge, &[]);
    assert_eq!((code, gap(&found)), (3, before), "{found:#}");
    let ran = edge.relay(&["trace", "--to", "dan@contoso.example"]);
    assert!(ran.out.contains("LOST") && !ran.out.contains("no message and no refusal"), "{ran:?}");
    // The log of the time after it is complete.
    let (code, found) = seek(&edge, &["--since", "0s"]);
    assert_eq!((code, &found["whole"]), (1, &true.into()), "{found:#}");
    assert!(daemon.stop().unwrap().success());

    // A message whose first line was lost is found by its other lines.
    let folder = edge.folder().join("queue/message_tracking");
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let kept = text.lines().filter(|line| !line.contains("\"RECEIVE\""));
        fs::write(&path, kept.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    }
    for more in [&[][..], &["--from", "amy@contoso.example"]] {
        let ran = edge.relay(&[&["trace", "--json", "--to", "bob@contoso.example"], more].concat());
        assert_eq!(ran.code, 0, "{ran:?}");
        let messages = ran.json()["messages"].clone();
        assert_eq!(messages[0]["events"][0]["event"], "SEND", "{messages:#}");
    }
}

/// Clients whose message never began: each has a record, so that the answer is not "never
/// received".
#[test]
fn a_client_without_a_message_is_found_by_its_address() {
    let edge = Edge::new(Mode::Userspace);
    write_certificate(edge.folder());
    let daemon = edge.start_with(&with_tls(&edge, ARTICLE));
    let of = |from: &str| edge.stream(from);
    for (from, says, found) in [
        ("127.0.0.21", "EHLO scanner\n", "LF alone"),
        ("127.0.0.22", "GET / HTTP/1.1\r\n\r\n", "another protocol"),
        ("127.0.0.23", "\u{16}\u{3}\u{1}\u{2}", "another protocol"),
        ("127.0.0.24", "EHLO scanner\r\nMAIL FROM:<scan@contoso.example>\r\n", "disconnected"),
        ("127.0.0.25", "EHLO scanner\r\nSTARTTLS\r\nx\r\n", "plain text after STARTTLS"),
        ("127.0.0.26", "EHLO s\r\nMAIL FROM:<scan@contoso.example>\r\nQUIT\r\n", "QUIT"),
    ] {
        let mut stream = of(from);
        stream.write_all(says.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
        session_line(&daemon, 0, from);
        let ran = edge.relay(&["trace", "--remote", from, "--json"]);
        assert_eq!(ran.code, 0, "{from}: {ran:?}");
        let refusal = ran.json()["refusals"][0].clone();
        assert_eq!(refusal["event"], "ABORT", "{from}: {refusal}");
        assert!(refusal["found"].as_str().unwrap().contains(found), "{from}: {refusal}");
    }
    let ran = edge.relay(&["trace", "--from", "scan@*", "--json"]);
    assert_eq!(ran.json()["refusals"][0]["sender"], "scan@contoso.example", "{ran:?}");

    // This client does not trust our certificate.
    let stranger = Terms::trusting(&write_certificate(TempDir::new().unwrap().path()));
    assert!(stranger.start_tls(&edge, "127.0.0.27").is_err());
    session_line(&daemon, 0, "127.0.0.27");
    let refusal = edge.relay(&["trace", "--remote", "127.0.0.27", "--json"]).json();
    let refusal = refusal["refusals"][0]["found"].as_str().unwrap().to_owned();
    assert!(refusal.starts_with("TLS handshake failed: the client"), "{refusal}");

    // A health check leaves no record.
    for says in ["", "QUIT\r\n", "EHLO monitor\r\nQUIT\r\n", "EHLO monitor\r\n"] {
        let mut stream = of("127.0.0.28");
        stream.write_all(says.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    session_line(&daemon, 0, "127.0.0.28");
    let ran = edge.relay(&["trace", "--remote", "127.0.0.28", "--json"]);
    assert_eq!((ran.code, ran.json()["refusals"].as_array().unwrap().len()), (1, 0), "{ran:?}");
}
