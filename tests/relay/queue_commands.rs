//! `relay queue` for many messages: filters, the actions on them, flush and export.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use relay_tests::daemon;
use relay_tests::sink::{Script, Sink};
use serde_json::Value;

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, Mode, Ran};

const CONTENT: &str = "Subject: x\r\n\r\nx\r\n";

fn exits(ran: Ran, code: i32) -> Ran {
    assert_eq!(ran.code, code, "{ran:?}");
    ran
}

/// A host whose next hop defers everything, and that does not retry by itself.
fn deferring() -> Edge {
    Edge::answered(&["rcpt=451 4.3.0 Not now"])
}

fn patient(edge: &Edge) -> String {
    edge.configuration(ARTICLE).replace("retry_interval = \"1s\"", "retry_interval = \"1h\"")
}

/// The ids in a list.
fn listed(edge: &Edge, options: &[&str]) -> Vec<String> {
    let list = exits(edge.relay(&[&["queue", "list", "--json"], options].concat()), 0).json();
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| row["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_filter_lists_and_changes_exactly_the_matching_messages() {
    let edge = deferring();
    let _daemon = edge.start_with(&patient(&edge));
    let submit =
        |sender: &str, recipient: &str, content: &str| edge.submit(sender, &[recipient], content);
    let amy = submit("amy@contoso.example", "one@fabrikam.example", CONTENT);
    let bob = submit("bob@contoso.example", "two@sub.fabrikam.example", CONTENT);
    let large = ["Subject: x\r\n\r\n", &"0123456789\r\n".repeat(10_000)].concat();
    let cid = submit("cid@elsewhere.example", "one@fabrikam.example", &large);
    edge.wait_until(|status| status["queue"]["deferred"] == 3 && status["queue"]["claimed"] == 0);
    for (options, expected) in [
        (&[][..], &[&amy, &bob, &cid][..]),
        (&["--sender", "*@contoso.example"], &[&amy, &bob]),
        (&["--recipient", "ONE@fabrikam.example"], &[&amy, &cid]),
        (&["--domain", "fabrikam.example"], &[&amy, &cid]),
        (&["--domain", "*.fabrikam.example"], &[&amy, &bob, &cid]),
        (&["--larger-than", "64 KB"], &[&cid]),
        (&["--smaller-than", "64 KB", "--sender", "bob@*"], &[&bob]),
        (&["--older-than", "1h"], &[]),
        (&["--younger-than", "1h", "--limit", "2"], &[&amy, &bob]),
        (&["--because", "not now"], &[&amy, &bob, &cid]),
        (&["--because", "mailbox full"], &[]),
        (&["--next-hop", "127.0.0.1"], &[&amy, &bob, &cid]),
        (&["--deferred"], &[&amy, &bob, &cid]),
        (&["--held"], &[]),
        (&["--sender", "<>"], &[]),
    ] {
        assert_eq!(listed(&edge, options).iter().collect::<Vec<_>>(), expected, "{options:?}");
    }

    let held = exits(edge.relay(&["queue", "hold", "--sender", "*@contoso.example"]), 0);
    assert_eq!((held.out.as_str(), held.err.as_str()), ("2 messages held\n", "hold: 2 messages\n"));
    assert_eq!(listed(&edge, &["--held"]), [amy.clone(), bob.clone()]);
    let released = exits(
        edge.relay(&["queue", "release", "--json", "--held", "--domain", "fabrikam.example"]),
        0,
    );
    let expected = serde_json::json!({
        "verb": "release", "messages": 1, "changed": 1, "unchanged": 0, "left_alone": 0,
        "failed": [],
    });
    assert_eq!(released.json(), expected);
    assert_eq!(listed(&edge, &["--held"]), std::slice::from_ref(&bob));
    // One of three is held: the reported number is the number of changed messages.
    let change = |verb: &str| exits(edge.relay(&["queue", verb, "--all"]), 0).out;
    let expected =
        "2 messages scheduled for retry now; 1 on hold: not retried before they are released\n";
    assert_eq!(change("retry"), expected);
    edge.wait_until(|status| status["queue"]["deferred"] == 5 && status["queue"]["claimed"] == 0);
    assert_eq!(change("hold"), "2 messages held; 1 already held\n");
    assert_eq!(change("release"), "3 messages released\n");
    // The message that was to be retried and was held is tried now.
    edge.wait_until(|status| status["queue"]["deferred"] == 6 && status["queue"]["claimed"] == 0);
    assert_eq!(change("release"), "0 messages released; 3 not held\n");
    exits(edge.relay(&["queue", "hold", &bob]), 0);

    // Without `--all` nothing is changed.
    for verb in ["hold", "release", "retry", "remove"] {
        let ran = exits(edge.relay(&["queue", verb]), 2);
        assert!(ran.err.contains("or --all"), "{ran:?}");
        exits(edge.relay(&["queue", verb, &amy, "--all"]), 2);
        exits(edge.relay(&["queue", verb, &amy, "--held"]), 2);
        exits(edge.relay(&["queue", verb, "--all", "--held"]), 2);
        exits(edge.relay(&["queue", verb, "--sender", ""]), 2);
        exits(edge.relay(&["queue", verb, "--older-than", "soon"]), 2);
    }
    let none = exits(edge.relay(&["queue", "remove", "--yes", "--sender", "unknown@*"]), 0);
    assert_eq!(
        (none.out.as_str(), none.err.as_str()),
        ("0 messages removed\n", "remove: 0 messages\n")
    );
    exits(edge.relay(&["queue", "retry", "--deferred"]), 0);
    edge.wait_until(|status| status["queue"]["deferred"] == 8);
    edge.wait_until(|status| status["queue"]["claimed"] == 0);
    // There is no terminal for the question, and no `--yes`.
    for which in [&["--all"][..], &[&amy], &["--held"], &["--all", "--json"]] {
        let ran = exits(edge.relay(&[&["queue", "remove"], which].concat()), 2);
        assert!(ran.err.contains("--yes") && ran.out.is_empty(), "{ran:?}");
    }
    assert_eq!(listed(&edge, &[]).len(), 3);
    let removed = exits(edge.relay(&["queue", "remove", "--all", "-y"]), 0);
    assert_eq!(removed.out, "3 messages removed\n");
    assert_eq!(listed(&edge, &[]), Vec::<String>::new());
}

#[test]
fn a_message_under_delivery_is_reported_as_not_changed() {
    let edge = Edge::new(Mode::Userspace);
    // The next hop accepts connections and never greets.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let configuration = patient(&edge).replace(&edge.sink.address().to_string(), &address);
    let _daemon = edge.start_with(&configuration);
    let busy = edge.submit("a@contoso.example", &["b@fabrikam.example"], CONTENT);
    edge.wait_until(|status| status["queue"]["claimed"] == 1);
    let ran = exits(edge.relay(&["queue", "remove", "--yes", "--all"]), 1);
    assert_eq!(ran.out, "0 messages removed\n");
    assert!(ran.err.contains(&format!("{busy}: message {busy} is being delivered")), "{ran:?}");
    let ran = exits(edge.relay(&["queue", "hold", "--all", "--json"]), 1);
    assert_eq!(ran.json()["failed"][0]["id"], busy.as_str());
}

#[test]
fn mail_for_a_hanging_next_hop_can_be_held_and_removed() {
    let edge = Edge::new(Mode::Userspace);
    // The next hop accepts connections and never greets.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let configuration = patient(&edge).replace(&edge.sink.address().to_string(), &address);
    let _daemon = edge.start_with(&configuration);
    let sent = 30;
    for _ in 0..sent {
        edge.submit("a@contoso.example", &["b@fabrikam.example"], CONTENT);
    }
    let hop = |status: &Value| status["next_hops"][0].clone();
    let in_hand = |status: &Value| hop(status)["in_hand"].as_u64().unwrap_or(0);
    edge.wait_until(|status| in_hand(status) > 0 && hop(status)["connections"].as_u64() > Some(0));
    let held = edge.relay(&["queue", "hold", "--all", "--json"]).json();
    // A running attempt ends by itself, after any action of an administrator.
    let under_way = hop(&edge.status())["connections"].as_u64().unwrap();
    assert!(under_way < sent / 2, "{held}");
    assert_eq!(held["changed"], sent - under_way, "{held}");
    assert_eq!(in_hand(&edge.status()), 0);
    let removed = edge.relay(&["queue", "remove", "--all", "--yes", "--json"]).json();
    assert_eq!(removed["changed"], sent - under_way, "{removed}");
    assert_eq!(edge.status()["queue"]["queued"], under_way);
}

#[test]
fn a_flush_retries_at_a_next_hop_in_back_off() {
    let edge = Edge::new(Mode::Userspace);
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, daemon::free_port().unwrap()).into();
    let configuration =
        patient(&edge).replace(&edge.sink.address().to_string(), &address.to_string());
    let _daemon = edge.start_with(&configuration);
    let held = edge.submit("a@contoso.example", &["held@fabrikam.example"], CONTENT);
    edge.wait_until(|status| status["queue"]["deferred"] == 1);
    exits(edge.relay(&["queue", "hold", &held]), 0);
    edge.submit("a@contoso.example", &["one@fabrikam.example"], CONTENT);
    edge.submit("a@contoso.example", &["two@elsewhere.example"], CONTENT);
    edge.wait_until(|status| status["queue"]["claimed"] == 0);
    // Even after a retry they wait for the next hop.
    let retried = exits(edge.relay(&["queue", "retry", "--all", "--json"]), 0).json();
    let counts = ["messages", "changed", "unchanged", "left_alone"].map(|name| &retried[name]);
    assert_eq!(counts, [3, 2, 1, 2].map(Value::from).each_ref(), "{retried}");

    let sink = Sink::start(None, address, Script::default()).unwrap();
    let flushed = exits(edge.relay(&["queue", "flush", "Fabrikam.example", "--json"]), 0).json();
    assert_eq!((&flushed["messages"], &flushed["changed"]), (&1.into(), &1.into()));
    let messages = sink.wait_for(1, PATIENCE).unwrap();
    assert_eq!(messages[0].recipients[0].address, "one@fabrikam.example");
    assert_eq!(listed(&edge, &["--held"]), [held]);
    exits(edge.relay(&["queue", "flush", "no domain"]), 2);
    drop(sink);
}

/// The files in a directory, except those of the daemon.
fn files(edge: &Edge) -> Vec<String> {
    let names = fs::read_dir(edge.folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.to_string_lossy().into_owned());
    let ours = ["control.sock", "queue", "relay.toml"];
    names.filter(|name| !ours.contains(&name.as_str())).collect()
}

#[test]
fn an_exported_message_equals_the_delivered_one() {
    let edge = Edge::answered(&["rcpt*2=451 4.3.0 Not now"]);
    let _daemon = edge.start_with(&patient(&edge));
    let large = ["Subject: x\r\n\r\n", &".0123456789\r\n".repeat(200_000)].concat();
    let sender = "a@contoso.example RET=HDRS ENVID=x";
    let recipients = ["b@fabrikam.example NOTIFY=DELAY ORCPT=rfc822;c@fabrikam.example"];
    let id = edge.submit(sender, &recipients, &large);
    let small = edge.submit("", &["b@fabrikam.example"], CONTENT);
    edge.wait_until(|status| status["queue"]["deferred"] == 2);

    let file = edge.folder().join("message.eml");
    let name = file.to_str().unwrap();
    let exported = exits(edge.relay(&["queue", "export", &id, "--output", name, "--json"]), 0);
    let said = exported.json();
    let bytes = fs::read(&file).unwrap();
    assert_eq!((&said["id"], &said["octets"]), (&id.as_str().into(), &bytes.len().into()));
    assert_eq!(said["envelope"]["mail"], "MAIL FROM:<a@contoso.example> RET=HDRS ENVID=x");
    let rcpt = format!("RCPT TO:<{}", recipients[0].replacen(' ', "> ", 1));
    assert_eq!(said["envelope"]["recipients"], Value::from(vec![rcpt]));
    let to_output = exits(edge.relay(&["queue", "export", &small, "--envelope"]), 0);
    assert_eq!(to_output.err, "MAIL FROM:<>\nRCPT TO:<b@fabrikam.example>\n");
    exits(edge.relay(&["queue", "export", &small, "--json"]), 2);

    exits(edge.relay(&["queue", "retry", "--all"]), 0);
    let messages = edge.sink.wait_for(2, PATIENCE).unwrap();
    let of = |sender: &str| messages.iter().find(|it| it.sender.address == sender).unwrap();
    assert!(of("a@contoso.example").content == bytes, "{} octets", bytes.len());
    assert_eq!(of("").text(), to_output.out);

    // A failed export leaves no file, and an existing file is not changed.
    edge.wait_until(|status| status["queue"]["queued"] == 0);
    let ran = exits(edge.relay(&["queue", "export", &id, "--output", name]), 1);
    assert!(ran.err.contains("no message"), "{ran:?}");
    assert!(fs::read(&file).unwrap() == bytes);
    assert_eq!(files(&edge), ["message.eml"]);
}

#[test]
fn a_damaged_message_is_not_exported_under_its_name() {
    let edge = deferring();
    let _daemon = edge.start_with(&patient(&edge));
    let large = ["Subject: x\r\n\r\n", &"0123456789\r\n".repeat(200_000)].concat();
    let id = edge.submit("a@contoso.example", &["b@fabrikam.example"], &large);
    edge.wait_until(|status| status["queue"]["deferred"] == 1);
    let folder = edge.folder().join("queue/messages");
    let kept = fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let mut bytes = fs::read(&kept).unwrap();
    let last = bytes.len() - 10;
    bytes[last] ^= 1;
    fs::write(&kept, bytes).unwrap();
    let file = edge.folder().join("message.eml");
    let ran = edge.relay(&["queue", "export", &id, "--output", file.to_str().unwrap()]);
    assert_ne!(ran.code, 0);
    assert!(ran.err.contains("is damaged"), "{ran:?}");
    assert_eq!(files(&edge), Vec::<String>::new());
}

#[test]
fn a_message_found_damaged_at_the_start_is_in_status_and_trace() {
    let edge = deferring();
    let configuration = patient(&edge);
    let daemon = edge.start_with(&configuration);
    let large = ["Subject: x\r\n\r\n", &"0123456789\r\n".repeat(200_000)].concat();
    let lost = edge.submit("a@contoso.example", &["b@fabrikam.example"], &large);
    let cut = edge.submit("a@contoso.example", &["c@fabrikam.example"], &large);
    let sound = edge.submit("a@contoso.example", &["d@fabrikam.example"], &large);
    edge.wait_until(|status| status["queue"]["deferred"] == 3);
    drop(daemon);
    let file = |id: &str| edge.folder().join("queue/messages").join(id);
    fs::remove_file(file(&lost)).unwrap();
    let octets = fs::read(file(&cut)).unwrap();
    fs::write(file(&cut), &octets[..octets.len() / 2]).unwrap();
    // Without a daemon the list has the same content.
    let listed = edge.relay(&["queue", "list"]);
    for id in [&lost, &cut] {
        assert!(listed.err.contains(&format!("{id}: damaged")), "{listed:?}");
        assert!(!listed.out.contains(id.as_str()), "{listed:?}");
        assert_eq!(edge.relay(&["queue", "show", id]).code, 1);
    }

    let _daemon = edge.start_with(&configuration);
    assert_eq!(edge.status()["queue"]["queued"], 1);
    // Two entries and the file that remains.
    assert_eq!(edge.status()["disk"]["damaged_files"], 3);
    assert!(edge.relay(&["status"]).out.contains("DAMAGE"));
    for (id, kept) in [(&lost, format!("{lost}.entry")), (&cut, cut.clone())] {
        let trace = exits(edge.relay(&["trace", id, "--json"]), 0).json();
        let events = trace.as_array().unwrap();
        let damaged = events.iter().find(|event| event["event"] == "DAMAGED").unwrap();
        assert!(damaged["set_aside"].as_str().unwrap().ends_with(&kept), "{damaged}");
        assert_eq!(events.last().unwrap()["event"], "END");
    }
    for (recipient, verdict) in [("b", "damaged"), ("c", "damaged"), ("d", "waiting")] {
        let to = format!("{recipient}@fabrikam.example");
        let trace = exits(edge.relay(&["trace", "--to", &to, "--json"]), 0).json();
        assert_eq!(trace["messages"][0]["verdict"], verdict, "{trace}");
    }
    assert_eq!(edge.status()["queue"]["queued"], 1, "{sound}");
}

#[test]
fn remove_lists_the_messages_first_and_reports_to_each_sender() {
    let edge = Edge::answered(&[
        "rcpt:one@fabrikam.example=451 4.3.0 Not now",
        "rcpt:two@fabrikam.example=451 4.3.0 Not now",
    ]);
    let _daemon = edge.start_with(&patient(&edge));
    let one = edge.submit("amy@contoso.example", &["one@fabrikam.example"], CONTENT);
    edge.submit("amy@contoso.example", &["two@fabrikam.example"], CONTENT);
    edge.submit("bob@contoso.example", &["two@fabrikam.example"], CONTENT);
    edge.wait_until(|status| status["queue"]["deferred"] == 3 && status["queue"]["claimed"] == 0);
    let by_amy = ["--sender", "amy@*"];
    let ran = exits(edge.relay(&[&["queue", "remove", "--dry-run"], &by_amy[..]].concat()), 0);
    assert!(ran.out.contains(&one) && !ran.out.contains("bob@"), "{ran:?}");
    let ran =
        exits(edge.relay(&[&["queue", "remove", "--dry-run", "--json"], &by_amy[..]].concat()), 0);
    assert_eq!(ran.json()["would_remove"], 2);
    exits(edge.relay(&["queue", "remove", "--dry-run", &one]), 0);
    assert_eq!(listed(&edge, &[]).len(), 3);

    let listing = |options: &[&str]| {
        let ran = exits(edge.relay(&[&["queue", "list"], options].concat()), 0);
        ran.out.lines().last().unwrap().to_owned()
    };
    assert_eq!(listing(&[]), "3 messages");
    assert_eq!(listing(&["--limit", "2"]), "2 of 3 messages");
    assert_eq!(listing(&by_amy), "2 of 3 messages");

    let options = ["queue", "remove", "--yes", "--report"];
    let ran = exits(edge.relay(&[&options[..], &by_amy[..]].concat()), 0);
    assert!(ran.out.starts_with("2 messages removed"), "{ran:?}");
    let reports = edge.sink.wait_for(2, PATIENCE).unwrap();
    for report in &reports {
        assert_eq!(report.recipients[0].address, "amy@contoso.example");
        let text = report.text();
        assert!(text.contains("Action: failed") && text.contains("Status: 5.3.2"), "{text}");
    }
    assert_eq!(listed(&edge, &[]).len(), 1);
    let events = exits(edge.relay(&["trace", "--json", &one]), 0).json();
    let names: Vec<_> =
        events.as_array().unwrap().iter().map(|it| it["event"].as_str().unwrap()).collect();
    assert_eq!(names, ["RECEIVE", "DEFER", "REMOVE", "FAIL", "DSN", "END"], "{events:#}");
    exits(edge.relay(&["queue", "remove", &one, "--yes", "--report"]), 1);
}

#[test]
fn a_next_hop_in_back_off_is_in_the_status_and_is_the_reason_of_waiting_mail() {
    let edge = Edge::new(Mode::Userspace);
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, daemon::free_port().unwrap()).into();
    let configuration =
        patient(&edge).replace(&edge.sink.address().to_string(), &address.to_string());
    let _daemon = edge.start_with(&configuration);
    edge.submit("a@contoso.example", &["one@fabrikam.example"], CONTENT);
    edge.wait_until(|status| status["queue"]["deferred"] == 1);
    let untried = edge.submit("a@contoso.example", &["two@elsewhere.example"], CONTENT);
    edge.wait_until(|status| status["queue"]["claimed"] == 0);
    edge.wait_until(|status| {
        let hop = &status["next_hops"][0];
        let time = |key: &str| hop[key].as_u64().unwrap_or_default();
        hop["state"] == "back_off"
            && hop["name"] == address.to_string()
            && time("next_try") >= time("since")
            && time("failures") >= 1
            && hop["because"].is_string()
    });
    // Between two back-offs it is tried again, for a moment.
    let is_so = || {
        let show = exits(edge.relay(&["queue", "show", "--json", &untried]), 0).json();
        let reason = show["reason"].as_str().unwrap().to_owned();
        let printed = exits(edge.relay(&["status"]), 0).out;
        // An explanation of a message says that it would wait there.
        let binding = edge.address().to_string();
        let question =
            ["explain", "--live", "--json", "--from", "127.0.0.3", "--to-binding", &binding];
        let message = ["--mail-from", "a@contoso.example", "--rcpt-to", "b@fabrikam.example"];
        let explained = edge.relay(&[&question[..], &message].concat()).json();
        let waits = explained["routes"][0]["waits"].as_str().unwrap_or_default().to_owned();
        reason.contains("back-off")
            && waits.contains("back-off")
            && reason.contains(&address.to_string())
            && printed.contains(&format!("next hop       {address}: in back-off"))
    };
    assert!((0..20).any(|_| is_so()));
}

#[test]
fn a_next_hop_that_answers_and_serves_nothing_is_in_trouble() {
    let edge = Edge::answered(&["rcpt=421 4.3.2 Not today"]);
    let _daemon = edge.start_with(&patient(&edge));
    edge.submit("a@contoso.example", &["one@fabrikam.example"], CONTENT);
    edge.wait_until(|status| {
        let hop = &status["next_hops"][0];
        let because = hop["because"].as_str().unwrap_or_default();
        hop["since"].is_u64() && because.contains("421 4.3.2 Not today")
    });
    let printed = exits(edge.relay(&["status"]), 0).out;
    assert!(printed.contains("trouble      since"), "{printed}");
}
