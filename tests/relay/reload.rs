//! A reload changes all or nothing, and no client loses its connection.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use relay_tests::daemon::{Daemon, free_port};
use serde_json::Value;

use crate::edge::{ARTICLE, Edge, Mode, SCANNER, json_line, session_line};
use crate::{PATIENCE, has_kernel};

/// The two methods to request a reload.
#[derive(Clone, Copy, Debug)]
enum Way {
    CommandLine,
    Signal,
}

const WAYS: [Way; 2] = [Way::CommandLine, Way::Signal];

/// Reloads this configuration; the error is the text for an administrator.
///
/// With both methods the daemon logs the result. The test waits for that line each time, or the
/// next reload by signal would read a late line as its own. If the command line itself finds an
/// error in the file, the daemon gets no request.
fn reload(edge: &Edge, daemon: &Daemon, way: Way, text: &str) -> Result<Value, String> {
    let before = daemon.line_count();
    let answer = match way {
        Way::CommandLine => {
            fs::write(daemon.configuration(), text).unwrap();
            let ran = edge.relay(&["reload", "--json"]);
            if ran.code != 0 && !ran.err.contains("nothing was changed") {
                return Err(ran.err);
            }
            match ran.code {
                0 => Some(Ok(ran.json())),
                2 => Some(Err(ran.err)),
                _ => panic!("{ran:?}"),
            }
        }
        Way::Signal => {
            daemon.reload(text).unwrap();
            None
        }
    };
    let line = json_line(daemon, before, |line| {
        let message = line["message"].as_str().unwrap_or_default();
        message == "reloaded" || message.starts_with("reload refused; ")
    });
    let taken = line["level"] == "INFO";
    match answer {
        Some(answer) => {
            assert_eq!(answer.is_ok(), taken, "{line}");
            answer
        }
        None if taken => Ok(line),
        None => Err(line["message"].to_string()),
    }
}

#[test]
fn new_sessions_get_the_new_rules_and_running_ones_keep_theirs() {
    new_rules_for_new_sessions(&Edge::new(Mode::Userspace), "daemon");
    if has_kernel("new_sessions_get_the_new_rules_and_running_ones_keep_theirs") {
        new_rules_for_new_sessions(&Edge::new(Mode::Kernel), "kernel");
    }
}

fn new_rules_for_new_sessions(edge: &Edge, decided_by: &str) {
    let before = edge.configuration(ARTICLE);
    let daemon = edge.start_with(&before);
    let after = before.replace("\"127.0.0.3\"", "\"127.0.0.3\", \"127.0.0.7\"");
    let denied = "550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain";
    let rcpt = "RCPT TO:<b@fabrikam.example>";
    let mut generation = edge.status()["configuration"]["generation"].as_u64().unwrap();
    for way in WAYS {
        let mut running = edge.connect("127.0.0.7");
        running.hello();
        running.say("MAIL FROM:<a@contoso.example>");
        let reloaded = reload(edge, &daemon, way, &after).unwrap();
        generation += 1;
        assert_eq!((&reloaded["generation"], &reloaded["ranges"]), (&generation.into(), &6.into()));
        let mut new = edge.connect("127.0.0.7");
        new.hello();
        new.say("MAIL FROM:<a@contoso.example>");
        assert_eq!(new.say(rcpt), "250 2.1.5 Recipient OK");
        assert_eq!(running.say(rcpt), denied);
        new.quit();
        let line = json_line(&daemon, 0, |line| {
            line["message"] == "session" && line["generation"] == generation
        });
        assert_eq!((&line["connector"], &line["range"]), (&"Scanners".into(), &"127.0.0.7".into()));
        assert_eq!(line["decided_by"], decided_by);
        running.quit();
        // The old rules also return completely.
        reload(edge, &daemon, way, &before).unwrap();
        generation += 1;
        let mut new = edge.connect("127.0.0.7");
        new.hello();
        new.say("MAIL FROM:<a@contoso.example>");
        assert_eq!(new.say(rcpt), denied);
        new.quit();
    }
    let none = &edge.status()["no_connector"];
    assert_eq!((&none["tags_missing"], &none["tags_disagreeing"]), (&0.into(), &0.into()));
}

#[test]
fn an_invalid_configuration_changes_nothing_and_the_error_says_why() {
    let edge = Edge::new(Mode::Userspace);
    let good = edge.configuration(ARTICLE);
    let daemon = edge.start_with(&good);
    let in_force = edge.status()["configuration"].clone();
    // A file of another user.
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 77), 0)).unwrap();
    let taken = listener.local_addr().unwrap();
    let folder = edge.folder().display().to_string();
    let tls = format!("[tls]\ncertificate = \"{folder}/none.pem\"\nkey = \"{folder}/none.pem\"\n");
    let elsewhere = |what: &str| good.replace(&format!("{folder}/{what}"), &format!("{folder}/x"));
    for (text, needles) in [
        (good.replace("hostname", "hostnam"), &["relay.toml:1: ", "did you mean `hostname`?"][..]),
        (good.replace("127.0.0.2\"]", "127.0.0.3\"]"), &["relay.toml:", "127.0.0.3"]),
        (good.replace("[log]", &format!("{tls}[log]")), &["none.pem"]),
        (
            good.replacen(&edge.address().to_string(), &taken.to_string(), 1),
            &["cannot listen on", &taken.to_string()],
        ),
        (elsewhere("queue"), &["[queue]: directory cannot change while the daemon runs"]),
        (good.replace("\"json\"", "\"human\""), &["[log] cannot change"]),
        (good.replace("\"userspace\"", "\"auto\""), &["[classifier] cannot change"]),
    ] {
        for way in WAYS {
            let error = reload(&edge, &daemon, way, &text).unwrap_err();
            assert!(needles.iter().all(|needle| error.contains(needle)), "{way:?}: {error}");
        }
    }
    let moved = reload(&edge, &daemon, Way::Signal, &elsewhere("control.sock")).unwrap_err();
    assert!(moved.contains("[control]: socket cannot change"), "{moved}");

    fs::write(daemon.configuration(), &good).unwrap();
    let mut configuration = edge.status()["configuration"].clone();
    let refused = configuration["refused"].take();
    assert!(refused["because"].as_str().unwrap().contains("[control]: socket"), "{refused}");
    assert_eq!(configuration, in_force);
    edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.sink.wait_for(1, PATIENCE).unwrap();
}

#[test]
fn bindings_change_without_a_refused_connection() {
    let edge = Edge::new(Mode::Userspace);
    let exact = edge.configuration(ARTICLE);
    let daemon = edge.start_with(&exact);
    let other = free_port().unwrap();
    let own = format!("127.0.0.1:{}", edge.port);
    let with_other = exact.replace(&own, &format!("{own}\", \"127.0.0.1:{other}"));
    let there = |port: u16| TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], port)));
    assert!(there(other).is_err());
    reload(&edge, &daemon, Way::CommandLine, &with_other).unwrap();
    assert!(there(other).is_ok());
    let mut kept = edge.connect(SCANNER);
    kept.hello();
    reload(&edge, &daemon, Way::Signal, &exact).unwrap();
    assert!(there(other).is_err());

    // From one address to all of them, and back.
    let wide = exact.replace(&own, &format!("0.0.0.0:{}", edge.port));
    for (text, way) in [(&wide, Way::CommandLine), (&exact, Way::Signal)] {
        reload(&edge, &daemon, way, text).unwrap();
        edge.connect(SCANNER).quit();
        let elsewhere = TcpStream::connect(SocketAddr::from(([127, 0, 0, 88], edge.port)));
        assert_eq!(elsewhere.is_ok(), text == &wide);
    }
    kept.quit();
}

#[test]
fn a_changed_next_hop_and_schedule_apply_to_queued_mail() {
    let edge = Edge::answered(&["rcpt*1=451 4.3.0 Not now"]);
    let good = edge.configuration(ARTICLE);
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port().unwrap()));
    let slow = good.replace("retry_interval = \"1s\"", "retry_interval = \"1h\"");
    let down = slow.replace(&edge.sink.address().to_string(), &nowhere.to_string());
    let daemon = edge.start_with(&down);
    let id = edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.wait_until(|status| status["queue"]["deferred"] == 1);
    let renamed = good.replace("edge.test", "renamed.test");
    reload(&edge, &daemon, Way::CommandLine, &renamed).unwrap();
    // It would wait an hour by the old schedule. The first attempt under the new schedule is
    // deferred once more, now by a second.
    assert_eq!(edge.relay(&["queue", "retry", &id]).code, 0);
    let message = edge.sink.wait_for(1, PATIENCE).unwrap().remove(0);
    assert_eq!(message.helo, "renamed.test");
    assert!(edge.connect(SCANNER).greeting.contains("renamed.test"));
}

#[test]
fn a_hundred_thousand_ranges_are_reloaded() {
    if !has_kernel("a_hundred_thousand_ranges_are_reloaded") {
        return;
    }
    let edge = Edge::new(Mode::Kernel);
    let few = edge.configuration(ARTICLE);
    let daemon = edge.start_with(&few);
    let ranges: String = (0..100_000_u32)
        .map(|number| {
            let [_, a, b, c] = (number * 2).to_be_bytes();
            format!("\"10.{a}.{b}.{c}\", ")
        })
        .collect();
    let many = few.replace("[\"127.0.0.3\"", &format!("[{ranges}\"127.0.0.3\""));
    let reloaded = reload(&edge, &daemon, Way::CommandLine, &many).unwrap();
    assert_eq!(reloaded["ranges"], 100_005);
    println!(
        "100,000 ranges: checked in {} ms, published in {} ms",
        reloaded["checked_ms"], reloaded["published_ms"]
    );
    let before = daemon.line_count();
    edge.connect(SCANNER).quit();
    let line = session_line(&daemon, before, SCANNER);
    let said = (&line["connector"], &line["decided_by"]);
    assert_eq!(said, (&"Scanners".into(), &"kernel".into()));
    reload(&edge, &daemon, Way::CommandLine, &few).unwrap();
    edge.connect(SCANNER).quit();
}

#[test]
fn a_refused_file_is_in_the_status_until_a_reload_succeeds() {
    let edge = Edge::new(Mode::Userspace);
    let daemon = edge.start();
    let sound = fs::read_to_string(daemon.configuration()).unwrap();
    let refused = || edge.status()["configuration"]["refused"].clone();
    let shown = || edge.relay(&["status"]).out.contains("NOT LOADED");
    assert_eq!((refused(), shown()), (Value::Null, false));
    for way in WAYS {
        reload(&edge, &daemon, way, &format!("colour = \"red\"\n{sound}")).unwrap_err();
        let because = refused()["because"].as_str().unwrap().to_owned();
        assert!(because.contains("colour") && shown(), "{because}");
        reload(&edge, &daemon, way, &sound).unwrap();
        assert_eq!((refused(), shown()), (Value::Null, false));
    }
}
