//! `relay trace`: the timeline of one message, from the session that brought it to its end.

use std::fs;

use relay_tests::daemon::Daemon;
use serde_json::{Value, json};

use crate::durability::without_next_hop;
use crate::edge::{ARTICLE, Edge, Mode, Ran, SCANNER, queue_id};

const CONTENT: &str = "Subject: a secret\r\n\r\nhello\r\n";

fn trace(edge: &Edge, id: &str) -> Vec<Value> {
    let ran = edge.relay(&["trace", "--json", id]);
    assert_eq!(ran.code, 0, "{ran:?}");
    ran.json().as_array().unwrap().clone()
}

fn names(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event"].as_str().unwrap()).collect()
}

fn is_idle(edge: &Edge) {
    edge.wait_until(|status| {
        let queue = &status["queue"];
        (&queue["queued"], &queue["claimed"]) == (&0.into(), &0.into())
    });
}

/// Ends the daemon, which first writes all waiting events.
fn stop(daemon: Daemon) {
    assert!(daemon.stop().unwrap().success());
}

#[test]
fn a_message_is_traced_from_its_session_to_its_end() {
    let edge = Edge::answered(&[
        "rcpt:busy@contoso.example*1=450 4.2.1 Mailbox busy",
        "rcpt:gone@contoso.example=550 5.1.1 No such user",
    ]);
    let daemon = edge.start();
    let mut client = edge.connect("127.0.0.1");
    client.hello();
    assert!(client.say("MAIL FROM:<amy@fabrikam.example>").starts_with("250 "));
    assert!(client.say("RCPT TO:<bob@elsewhere.example>").starts_with("550 5.7.54 "));
    for recipient in ["busy", "gone"] {
        let reply = client.say(&format!("RCPT TO:<{recipient}@contoso.example>"));
        assert!(reply.starts_with("250 "), "{reply}");
    }
    client.say("DATA");
    client.send(CONTENT.as_bytes());
    let id = queue_id(&client.say("."));
    client.quit();
    // Two recipients of the message, and the report about one of them.
    edge.sink.wait_for(2, crate::PATIENCE).unwrap();
    is_idle(&edge);
    stop(daemon);

    let events = trace(&edge, &id);
    // The outcomes of one attempt have the same time, and no order.
    let mut events = events;
    if names(&events)[1] == "FAIL" {
        events.swap(1, 2);
    }
    assert_eq!(names(&events), ["RECEIVE", "DEFER", "FAIL", "DSN", "SEND", "END"], "{events:#?}");
    assert!(events.iter().all(|event| event["id"] == id.as_str()));
    let times: Vec<_> = events.iter().map(|event| event["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let [receive, defer, fail, dsn, send, _] = &events[..] else { unreachable!() };
    for (field, value) in [
        ("connector", json!("Default Frontend")),
        ("range", json!("127.0.0.0/8")),
        ("decided_by", json!("daemon")),
        ("principal", json!("anonymous")),
        ("hello", json!("client.example")),
        ("sender", json!("amy@fabrikam.example")),
        ("kept", json!("database")),
        ("answered", json!(true)),
        ("tls", Value::Null),
    ] {
        assert_eq!(receive[field], value, "{field} of {receive:#}");
    }
    assert!(receive["remote"].as_str().unwrap().starts_with("127.0.0.1:"));
    let decisions = receive["decisions"].as_array().unwrap();
    let told: Vec<_> = decisions
        .iter()
        .map(|it| {
            let text = |field| it[field].as_str().unwrap_or_default().to_owned();
            assert!(!text("rule").is_empty() && !text("found").is_empty(), "{it:#}");
            format!("{} {} {}", text("command"), text("recipient"), text("reply"))
        })
        .collect();
    let expected = [
        "MAIL  250 2.1.0 Sender OK",
        "RCPT bob@elsewhere.example 550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain",
        "RCPT busy@contoso.example 250 2.1.5 Recipient OK",
        "RCPT gone@contoso.example 250 2.1.5 Recipient OK",
        &format!(".  250 2.6.0 {id} Queued mail for delivery"),
    ];
    assert_eq!(told, expected);

    let sink = edge.sink.address().to_string();
    for (event, attempt, recipient, reply) in [
        (defer, 1, "busy@contoso.example", "450 4.2.1 Mailbox busy"),
        (fail, 1, "gone@contoso.example", "550 5.1.1 No such user"),
        (send, 2, "busy@contoso.example", "250 "),
    ] {
        assert_eq!(event["attempt"], attempt, "{event:#}");
        assert_eq!(event["recipients"], json!([recipient]), "{event:#}");
        assert_eq!((&event["next_hop"], &event["address"]), (&json!(sink), &json!(sink)));
        assert!(event["reply"].as_str().unwrap().starts_with(reply), "{event:#}");
    }

    // The report and its message name each other.
    assert_eq!(dsn["recipients"], json!(["gone@contoso.example"]));
    let report = dsn["report"].as_str().unwrap();
    let of_report = trace(&edge, report);
    assert_eq!(names(&of_report), ["DSN", "SEND", "END"], "{of_report:#?}");
    assert_eq!(&of_report[0], dsn);
    assert_eq!(of_report[1]["recipients"], json!(["amy@fabrikam.example"]));

    // A later daemon appends to the log and removes nothing from it.
    let daemon = edge.start();
    let another = edge.submit("amy@contoso.example", &["bob@contoso.example"], CONTENT);
    is_idle(&edge);
    let traced = trace(&edge, &id);
    assert!(traced.len() == events.len() && events.iter().all(|event| traced.contains(event)));
    stop(daemon);
    assert_eq!(trace(&edge, &id), traced);
    assert_eq!(names(&trace(&edge, &another)), ["RECEIVE", "SEND", "END"]);

    let text = edge.relay(&["trace", &id.to_lowercase()]).out;
    println!("{text}");
    println!("{}", edge.relay(&["trace", report]).out);
    let rows: Vec<_> = text.lines().collect();
    assert_eq!(rows.len(), 1 + 5 + 1 + 5, "{text}");
    let column = rows[0].find("from 127.0.0.1:").unwrap();
    assert_eq!(rows[1].find("MAIL FROM:<amy@fabrikam.example>"), Some(column), "{text}");
    let defer = rows.iter().find(|row| row.contains(" DEFER ")).unwrap();
    assert_eq!(defer.find("busy@contoso.example"), Some(column), "{text}");
    assert!(
        rows[2].contains("550 5.7.54 ") && rows[2].contains("ms-Exch-SMTP-Accept-Any-Recipient")
    );
    assert!(defer.contains("450 4.2.1 Mailbox busy") && defer.contains(&sink), "{text}");
    assert!(rows[11].contains("left the queue"), "{text}");
    assert!(!log_of(&edge).contains("secret"), "message contents are not in it");
}

/// All of the log.
fn log_of(edge: &Edge) -> String {
    let files = fs::read_dir(edge.folder().join("queue/message_tracking")).unwrap();
    files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
}

#[test]
fn actions_of_an_administrator_and_waiting_recipients_are_traced() {
    let edge = Edge::new(Mode::Userspace);
    let (configuration, _) = without_next_hop(&edge);
    let daemon = edge.start_with(&configuration);
    let id = edge.submit("amy@contoso.example", &["bob@fabrikam.example"], CONTENT);
    let change = |verb| {
        let yes: &[&str] = if verb == "remove" { &["--yes"] } else { &[] };
        let ran: Ran = edge.relay(&[&["queue", verb, &id], yes].concat());
        // An attempt may be under way.
        (ran.code != 0).then_some(())
    };
    for verb in ["hold", "release", "retry", "hold"] {
        while change(verb).is_some() {}
    }
    let events = loop {
        let events = trace(&edge, &id);
        if names(&events).iter().filter(|&&name| name == "HOLD").count() == 2 {
            break events;
        }
    };
    let by_administrator: Vec<_> =
        names(&events).into_iter().filter(|name| !matches!(*name, "RECEIVE" | "DEFER")).collect();
    assert_eq!(by_administrator, ["HOLD", "RELEASE", "RETRY", "HOLD", "QUEUED"], "{events:#?}");
    let waits = events.last().unwrap();
    assert_eq!(
        (&waits["held"], &waits["recipients"]),
        (&json!(true), &json!(["bob@fabrikam.example"]))
    );
    assert!(edge.relay(&["trace", &id]).out.contains("held"));

    while change("remove").is_some() {}
    stop(daemon);
    let events = trace(&edge, &id);
    assert_eq!(names(&events)[events.len() - 2..], ["REMOVE", "END"], "{events:#?}");

    let never = format!("{}Z", &id[..12]);
    // It is not known what happened before the log began.
    for (unknown, code) in [(never.as_str(), 1), ("0000000000001", 3)] {
        let ran = edge.relay(&["trace", unknown]);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{ran:?}");
        assert!(ran.err.contains(unknown) && ran.err.contains("the log covers 20"), "{ran:?}");
        assert_eq!(edge.relay(&["trace", "--json", unknown]).json(), json!([]));
    }
}

#[test]
fn a_log_that_cannot_be_written_does_not_affect_mail() {
    let edge = Edge::new(Mode::Userspace);
    let log = edge.folder().join("log");
    fs::write(&log, "a file where the directory should be").unwrap();
    let with = |line: &str| {
        let section = format!("[message_tracking_log]\n{line}\n{ARTICLE}");
        edge.configuration(&section)
    };
    let broken = with(&format!("path = \"{}\"", log.display()));
    let daemon = edge.start_with(&broken);
    let first = edge.submit("amy@contoso.example", &["bob@fabrikam.example"], CONTENT);
    edge.sink.wait_for(1, crate::PATIENCE).unwrap();
    // Reception, attempt and end.
    edge.wait_until(|status| status["message_tracking_log"]["dropped"] == 3);
    let status = edge.status();
    let problem = status["message_tracking_log"]["problem"].as_str().unwrap();
    assert!(problem.starts_with("cannot create the directory "), "{problem}");
    assert!(edge.relay(&["status"]).out.contains("3 events dropped: cannot create the directory "));
    let ran = edge.relay(&["trace", &first]);
    assert_eq!((ran.code, ran.out.as_str()), (3, ""), "the message has left the queue: {ran:?}");
    // The message has arrived, so the answer must not be that it never came.
    let ran = edge.relay(&["trace", "--to", "bob@fabrikam.example", "--json"]);
    assert_eq!((ran.code, &ran.json()["whole"]), (3, &json!(false)), "{ran:?}");
    assert_eq!(ran.json()["gaps"][0]["event"], "LOST");
    assert!(!edge.relay(&["trace", "--to", "bob@*"]).out.contains("no message and no refusal"));

    // A reload is enough, and the log says which events are missing.
    let reload = |configuration: &str| {
        fs::write(edge.folder().join("relay.toml"), configuration).unwrap();
        let ran = edge.relay(&["reload"]);
        assert_eq!(ran.code, 0, "{ran:?}");
    };
    reload(&with(""));
    let mut client = edge.connect(SCANNER);
    client.hello();
    let large = format!("Subject: x\r\n\r\n{}", "0123456789abcdef\r\n".repeat(20_000));
    let recipients = ["bob@fabrikam.example"];
    let second = queue_id(&client.message("amy@contoso.example", &recipients, large.as_bytes()));
    edge.sink.wait_for(2, crate::PATIENCE).unwrap();
    edge.wait_until(|status| status["message_tracking_log"]["problem"].is_null());
    is_idle(&edge);
    reload(&with("enabled = false"));
    assert!(edge.relay(&["status"]).out.contains("tracking log   off\n"));
    let third = edge.submit("amy@contoso.example", &["bob@fabrikam.example"], CONTENT);
    edge.sink.wait_for(3, crate::PATIENCE).unwrap();
    stop(daemon);

    let events = trace(&edge, &second);
    assert_eq!(names(&events), ["RECEIVE", "SEND", "END"], "{events:#?}");
    assert_eq!(events[0]["kept"], "file");
    assert!(log_of(&edge).contains("\"event\":\"LOST\",\"count\":3,"), "{}", log_of(&edge));
    let ran = edge.relay(&["trace", &third]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.err.contains("the log is off (enabled = false)"), "{ran:?}");
}

#[test]
fn a_verdict_is_about_the_recipient_that_was_asked_for() {
    let edge = Edge::answered(&[
        "rcpt:busy@contoso.example=450 4.2.1 Mailbox busy",
        "rcpt:gone@contoso.example=550 5.1.1 No such user",
    ]);
    let configuration = edge.configuration(ARTICLE);
    let daemon = edge.start_with(&configuration.replace("interval = \"1s\"", "interval = \"1h\""));
    let recipients = ["bob", "busy", "gone"].map(|name| format!("{name}@contoso.example"));
    edge.submit("amy@contoso.example", &recipients.each_ref().map(String::as_str), CONTENT);
    edge.wait_until(|status| status["queue"]["queued"] == 1 && status["queue"]["claimed"] == 0);
    for (name, verdict) in [("bob", "delivered"), ("busy", "waiting"), ("gone", "failed")] {
        let to = format!("{name}@contoso.example");
        let ran = edge.relay(&["trace", "--json", "--from", "amy@*", "--to", &to]);
        let message = &ran.json()["messages"][0];
        let verdicts = (&message["verdict"], &message["message_verdict"]);
        assert_eq!(verdicts, (&json!(verdict), &json!("waiting")), "{name} {message:#}");
        let queued = message["events"].as_array().unwrap().last().unwrap();
        assert_eq!(queued["recipients"], json!(["busy@contoso.example"]));
    }
    stop(daemon);
}
