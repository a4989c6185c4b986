//! The command line beside a running daemon: every verb, its JSON, and its exit code.

use serde_json::Value;

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, Mode, Ran};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

fn exits(ran: Ran, code: i32) -> Ran {
    assert_eq!(ran.code, code, "{ran:?}");
    ran
}

#[test]
fn commands_that_need_no_daemon_work_without_one() {
    let edge = Edge::new(Mode::Userspace);
    std::fs::write(edge.folder().join("relay.toml"), edge.configuration(ARTICLE)).unwrap();
    let check = exits(edge.relay(&["check", "--json"]), 0).json();
    assert_eq!(keys(&check), ["digest", "errors", "file", "sound", "warnings"]);
    assert_eq!(check["sound"], true);
    // The file may also come from the environment.
    let file = edge.folder().join("relay.toml");
    let by_environment = std::process::Command::new(relay_tests::daemon::binary().unwrap())
        .args(["check", "--json"])
        .env("RELAY_CONFIG", &file)
        .output()
        .unwrap();
    let by_environment: Value = serde_json::from_slice(&by_environment.stdout).unwrap();
    assert_eq!(by_environment, check);

    let rows = exits(edge.relay(&["connectors", "--json"]), 0).json();
    let row = &rows["connectors"][0];
    let columns = [
        "binding",
        "connector",
        "permissions",
        "principal",
        "range",
        "refuse",
        "rights",
        "through_proxy_only",
    ];
    assert_eq!(keys(row), columns);

    let binding = edge.address().to_string();
    let question = |from: &'static str| {
        let to = ["--to-binding", &binding, "--mail-from", "a@b.example"];
        let all = [&["explain", "--json", "--from", from, "--rcpt-to", "c@d.example"], &to[..]];
        edge.relay(&all.concat())
    };
    let yes = exits(question("127.0.0.3"), 0).json();
    let fields = [
        "accepted",
        "beaten",
        "binding",
        "connector",
        "connector_line",
        "live",
        "permissions",
        "principal",
        "range",
        "range_line",
        "replies",
        "rights",
        "routes",
        "user",
    ];
    assert_eq!(keys(&yes), fields);
    assert_eq!(keys(&yes["replies"][0]), ["because", "code", "command", "enhanced", "text"]);
    let no = exits(question("127.0.0.1"), 1).json();
    assert_eq!((&no["accepted"], &no["connector"]), (&false.into(), &"Default Frontend".into()));

    let no_daemon = format!("no daemon answers on {}", edge.folder().display());
    for verb in [&["status"][..], &["reload"], &["queue", "list"]] {
        // Not an error in the command line, which has another exit code for scripts.
        let ran = exits(edge.relay(verb), 3);
        assert!(ran.err.contains(&no_daemon) && ran.out.is_empty(), "{ran:?}");
        let ran = exits(edge.relay(&[verb, &["--json"]].concat()), 3);
        assert!(ran.json()["error"].as_str().unwrap().contains(&no_daemon), "{ran:?}");
    }
    exits(edge.relay(&["dance"]), 2);
}

#[test]
fn explain_predicts_the_replies_of_a_session() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start();
    let binding = edge.address().to_string();
    for from in ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"] {
        let ran = edge.relay(&[
            "explain",
            "--json",
            "--from",
            from,
            "--to-binding",
            &binding,
            "--helo",
            "client.example",
            "--mail-from",
            "a@b.example",
            "--rcpt-to",
            "c@d.example",
            "--rcpt-to",
            "c@contoso.example",
        ]);
        let explained = ran.json();
        let replies = explained["replies"].as_array().unwrap();
        let mut client = edge.connect(from);
        assert_eq!(client.greeting, written(&replies[0]), "{from}");
        for reply in &replies[1..] {
            let command = reply["command"].as_str().unwrap();
            // The keywords of EHLO and the end of data are not explained word by word.
            if command.starts_with("MAIL") || command.starts_with("RCPT") {
                assert_eq!(client.say(command), written(reply), "{from}");
            } else if command.starts_with("EHLO") {
                client.say(command);
            }
        }
        assert_eq!(explained["accepted"] == true, ran.code == 0);
    }
}

#[test]
fn explain_asks_the_running_daemon() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start();
    let _held = [edge.connect("127.0.0.1"), edge.connect("127.0.0.1"), edge.connect("127.0.0.4")];
    let binding = edge.address().to_string();
    let question = [
        "explain",
        "--live",
        "--from",
        "127.0.0.1",
        "--to-binding",
        &binding,
        "--mail-from",
        "<>",
        "--rcpt-to",
        "c@d.example",
    ];
    // The command asks about the configuration in force, not about the changed file.
    std::fs::write(
        edge.folder().join("relay.toml"),
        edge.configuration(&ARTICLE.replace("Default Frontend", "Renamed")),
    )
    .unwrap();
    let explained = exits(edge.relay(&[&question[..], &["--json"]].concat()), 1).json();
    assert_eq!(explained["connector"], "Default Frontend");
    let limits = explained["live"]["limits"].as_array().unwrap();
    let used = |name: &str| {
        let limit = limits.iter().find(|limit| limit["limit"] == name).unwrap();
        (limit["used"].as_u64().unwrap(), limit["most"].as_u64().unwrap())
    };
    assert_eq!(used("max_inbound_connection_per_source"), (2, 20));
    assert_eq!(used("max_inbound_connection").1, 5000);
    let told = exits(edge.relay(&question), 1);
    assert!(
        told.out.contains("  limit      max_inbound_connection_per_source: 2 of 20\n"),
        "{told:?}"
    );
    assert!(told.out.contains("S: 550 5.7.54 "), "{told:?}");
}

fn written(reply: &Value) -> String {
    let text = reply["text"].as_str().unwrap();
    match reply["enhanced"].as_str() {
        Some(enhanced) => format!("{} {enhanced} {text}", reply["code"]),
        None => format!("{} {text}", reply["code"]),
    }
}

#[test]
fn status_has_its_fields_in_json_and_its_names_in_text() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start();
    let status = edge.status();
    let fields = [
        "back_pressure",
        "capabilities",
        "certificates",
        "classifier",
        "configuration",
        "connectors",
        "disk",
        "log",
        "message_tracking_log",
        "next_hops",
        "no_connector",
        "pid",
        "queue",
        "sessions",
        "uptime_seconds",
        "version",
    ];
    assert_eq!(keys(&status), fields);
    let fields = ["absent_addresses", "bindings", "digest", "file", "generation", "refused"];
    assert_eq!(keys(&status["configuration"]), fields);
    assert_eq!(status["pid"], daemon.id());
    let log = &status["message_tracking_log"];
    let fields =
        ["dropped", "enabled", "gap", "path", "problem", "shortened", "suppressed", "written"];
    assert_eq!(keys(log), fields);
    let check = edge.relay(&["check", "--json"]).json();
    assert_eq!(status["configuration"]["digest"], check["digest"]);

    let waiting = edge.connect("127.0.0.1");
    assert_eq!(edge.status()["sessions"], 1);
    waiting.quit();
    edge.wait_until(|status| status["sessions"] == 0);
    let text = exits(edge.relay(&["status"]), 0).out;
    for name in ["Default Frontend", "SMTP Relay EXCH01", "Scanners", "Refused"] {
        assert!(text.contains(&format!("connector {name} (id ")), "{text}");
    }

    let reloaded = exits(edge.relay(&["reload", "--json"]), 0).json();
    let fields = [
        "checked_ms",
        "connectors",
        "digest",
        "file",
        "generation",
        "published_ms",
        "ranges",
        "warnings",
    ];
    assert_eq!(keys(&reloaded), fields);
    assert_eq!((&reloaded["connectors"], &reloaded["ranges"]), (&4.into(), &5.into()));
}

#[test]
fn a_message_is_held_released_and_removed() {
    let edge = Edge::answered(&["rcpt=451 4.3.0 Not now"]);
    let _daemon = edge.start_with(
        &edge.configuration(ARTICLE).replace("retry_interval = \"1s\"", "retry_interval = \"1h\""),
    );
    let id = edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.wait_until(|status| status["queue"]["deferred"] == 1);

    let list = exits(edge.relay(&["queue", "list", "--json"]), 0).json();
    let fields = [
        "arrived", "attempts", "because", "due", "held", "id", "pending", "reason", "sender",
        "size",
    ];
    assert_eq!(keys(&list[0]), fields);
    assert!(list[0]["reason"].as_str().unwrap().contains("451 4.3.0 Not now"), "{list}");
    assert_eq!((&list[0]["id"], &list[0]["attempts"]), (&id.as_str().into(), &1.into()));
    assert!(list[0]["because"].as_str().unwrap().contains("451 4.3.0 Not now"), "{list}");
    let show = |verb: &str| exits(edge.relay(&["queue", verb, &id, "--json"]), 0).json();
    let shown = show("show");
    let recipient = &shown["recipients"][0];
    assert_eq!((&recipient["state"], &recipient["code"]), (&"pending".into(), &451.into()));

    assert_eq!(show("hold")["held"], true);
    assert_eq!(edge.status()["queue"]["held"], 1);
    assert_eq!(show("release")["held"], false);
    show("retry");
    edge.wait_until(|status| status["queue"]["deferred"] == 2);
    let ran = exits(edge.relay(&["queue", "remove", "--yes", &id]), 0);
    assert_eq!(ran.out, format!("removed {id}\n"));
    assert_eq!(exits(edge.relay(&["queue", "list", "--json"]), 0).json(), serde_json::json!([]));
    for verb in ["show", "hold", "release", "retry", "remove"] {
        let yes: &[&str] = if verb == "remove" { &["--yes"] } else { &[] };
        let ran = exits(edge.relay(&[&["queue", verb, &id], yes].concat()), 1);
        assert!(ran.err.contains(&id), "{ran:?}");
    }
    exits(edge.relay(&["queue", "show", "no id"]), 2);
    assert!(edge.sink.messages().is_empty());
    // No sender gets a report about a message that an administrator removed.
    assert_eq!(edge.status()["queue"]["reports"], 0);
}

#[test]
fn a_command_does_not_wait_for_a_daemon_that_does_not_answer() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start();
    edge.submit("a@contoso.example", &["b@contoso.example"], "Subject: x\r\n\r\nx\r\n");
    edge.sink.wait_for(1, PATIENCE).unwrap();
    // Idle connections do not prevent an answer to a command.
    let socket = edge.folder().join("control.sock");
    let idle: Vec<_> =
        (0..100).map(|_| std::os::unix::net::UnixStream::connect(&socket).unwrap()).collect();
    assert_eq!(edge.relay(&["status"]).code, 0);
    drop(idle);

    let process = rustix::process::Pid::from_raw(daemon.id().cast_signed()).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::STOP).unwrap();
    let ran = edge.relay(&["status"]);
    let traced = edge.relay(&["trace", "--to", "b@contoso.example", "--json"]);
    rustix::process::kill_process(process, rustix::process::Signal::CONT).unwrap();
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("has not answered"), "{ran:?}");
    // The files have the message, and the output says that the queue's state is unknown.
    let found = traced.json();
    assert_eq!(found["messages"][0]["verdict"], "delivered", "{found}");
    assert!(found["searched"]["queue"].as_str().unwrap().contains("has not answered"), "{found}");
}

#[test]
fn a_search_for_a_future_time_is_an_error() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start();
    // Nor is a domain an address.
    let ran = edge.relay(&["trace", "--to", "b.example"]);
    assert!(ran.code == 2 && ran.err.contains("*@b.example"), "{ran:?}");
    let ran = edge.relay(&["trace", "--to", "b@contoso.example", "--since", "2999-01-01T00:00"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("in the future") && ran.err.contains("UTC"), "{ran:?}");
}
