//! `relay explain --live` never says Accepted if the host refuses: its answer is compared with a
//! session over a socket, for random questions and for hosts that are short of a resource.

use serde_json::Value;

use crate::dialogue::Dialogue;
use crate::edge::{ARTICLE, Edge, Mode};

const LIMITED: &str = r#"
[[connector]]
name = "Few"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["127.0.0.5"]
permission_groups = ["AnonymousUsers"]
max_inbound_connection_per_source = 2
message_rate_limit = 3
tarpit_interval = "0s"
max_message_size = "64 KB"
"#;

/// A client's commands.
#[derive(Debug)]
struct Question {
    from: &'static str,
    helo: &'static str,
    sender: &'static str,
    recipients: Vec<&'static str>,
    size: Option<u64>,
}

/// Numbers that look random and are the same each time (a linear congruential generator).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % most
    }

    fn one_of<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    fn question(&mut self) -> Question {
        let recipients = [
            "bob@contoso.example",
            "carol@elsewhere.example",
            "postmaster@contoso.example",
            "x@sub.contoso.example",
        ];
        Question {
            from: self.one_of(&[
                "127.0.0.1",
                "127.0.0.2",
                "127.0.0.3",
                "127.0.0.4",
                "127.0.0.5",
                "127.0.1.9",
            ]),
            helo: self.one_of(&["client.example", "edge.test", "[127.0.0.1]"]),
            sender: self.one_of(&[
                "",
                "amy@contoso.example",
                "eve@fabrikam.example",
                "x@y.invalid",
            ]),
            recipients: (0..1 + self.below(3)).map(|_| self.one_of(&recipients)).collect(),
            size: self.one_of(&[None, Some(100), Some(100_000), Some(99_000_000)]),
        }
    }
}

/// The codes that a session gets, up to the first command that ends the session.
fn lived(edge: &Edge, question: &Question) -> Vec<u64> {
    let code = |reply: &str| reply.get(..3).and_then(|code| code.parse().ok()).unwrap_or(0);
    let mut client: Dialogue = edge.connect(question.from);
    let mut codes = vec![code(&client.greeting)];
    let size = question.size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
    let mut commands =
        vec![format!("EHLO {}", question.helo), format!("MAIL FROM:<{}>{size}", question.sender)];
    commands.extend(question.recipients.iter().map(|recipient| format!("RCPT TO:<{recipient}>")));
    for (number, command) in commands.iter().enumerate() {
        // Only after a refused recipient may the client name another one.
        if codes.last().is_some_and(|code| *code >= 400) && number <= 2 {
            return codes;
        }
        codes.push(code(&client.say(command)));
    }
    codes
}

fn explained(edge: &Edge, question: &Question) -> Value {
    let binding = edge.address().to_string();
    let size = question.size.map(|size| size.to_string());
    let sender = format!("<{}>", question.sender);
    let mut words = vec!["explain", "--live", "--json", "--from", question.from];
    words.extend(["--to-binding", &binding, "--helo", question.helo, "--mail-from", &sender]);
    question.recipients.iter().for_each(|recipient| words.extend(["--rcpt-to", recipient]));
    if let Some(size) = &size {
        words.extend(["--size", size]);
    }
    edge.relay(&words).json()
}

/// Runs explain, then a session; the codes up to RCPT must be equal.
fn compare(edge: &Edge, question: &Question) -> bool {
    let explained = explained(edge, question);
    let replies = explained["replies"].as_array().unwrap();
    let is_end = |reply: &&Value| reply["command"] != "(end of data)";
    let told: Vec<_> =
        replies.iter().filter(is_end).map(|reply| reply["code"].as_u64().unwrap()).collect();
    let lived = lived(edge, question);
    if question.from == "127.0.0.5" {
        // Its connections are limited, so wait until the daemon knows that this one has ended.
        let sessions = |status: &Value| status["sessions"].as_u64().unwrap();
        let others = u64::from(lived[0] >= 400) * 2;
        edge.wait_until(|status| sessions(status) == others);
    }
    assert_eq!(told, lived, "{question:?} {explained:#}");
    let accepted = explained["accepted"] == true;
    let all = lived.iter().all(|code| *code < 400);
    assert!(all || !accepted, "{question:?} {explained:#}");
    accepted
}

#[test]
fn random_questions_have_the_answers_of_a_session() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start_with(&edge.configuration(&format!("{ARTICLE}{LIMITED}")));
    let mut numbers = Numbers(4);
    let accepted = (0..120).filter(|_| compare(&edge, &numbers.question())).count();
    assert!((10..110).contains(&accepted), "{accepted}");
}

fn simple(from: &'static str) -> Question {
    Question {
        from,
        helo: "client.example",
        sender: "eve@fabrikam.example",
        recipients: vec!["bob@contoso.example"],
        size: None,
    }
}

#[test]
fn explain_does_not_accept_what_a_limit_refuses() {
    let edge = Edge::new(Mode::Userspace);
    let _daemon = edge.start_with(&edge.configuration(&format!("{ARTICLE}{LIMITED}")));
    // The third message of a minute is the last one; a question about it does not count.
    let verdicts: Vec<_> = (0..5).map(|_| compare(&edge, &simple("127.0.0.5"))).collect();
    assert_eq!(verdicts, [true, true, true, false, false]);
    // Two connections are the limit.
    let held = [edge.connect("127.0.0.5"), edge.connect("127.0.0.5")];
    let told = explained(&edge, &simple("127.0.0.5"));
    assert_eq!((&told["accepted"], &told["replies"][0]["code"]), (&false.into(), &421.into()));
    let rule = &told["replies"][0]["because"][0]["rule"];
    assert_eq!(rule, "max_inbound_connection_per_source");
    assert!(!compare(&edge, &simple("127.0.0.5")));
    drop(held);
}

#[test]
fn explain_does_not_accept_what_back_pressure_refuses() {
    for (table, from, code) in [
        (
            "[back_pressure]\ndisk_use = { low_to_medium = 1, medium_to_high = 2, \
             high_to_medium = 1, medium_to_low = 0 }\n",
            "127.0.0.2",
            421,
        ),
        (
            "[back_pressure]\ndisk_use = { low_to_medium = 1, medium_to_high = 100, \
             high_to_medium = 99, medium_to_low = 0 }\n",
            "127.0.0.1",
            452,
        ),
    ] {
        let edge = Edge::new(Mode::Userspace);
        let _daemon = edge.start_with(&edge.configuration(&format!("{table}{ARTICLE}")));
        let disk = |status: &Value| {
            let resources = status["back_pressure"]["resources"].as_array().unwrap().clone();
            let disk = resources.into_iter().find(|it| it["resource"] == "disk_use").unwrap();
            disk["value"].as_u64()
        };
        edge.wait_until(|status| disk(status).is_some());
        if disk(&edge.status()) < Some(2) {
            println!("not tried: the file system of TMPDIR is empty");
            return;
        }
        edge.wait_until(|status| status["back_pressure"]["level"] != "Normal");
        let told = explained(&edge, &simple(from));
        let last = told["replies"].as_array().unwrap().last().unwrap();
        assert_eq!((&told["accepted"], &last["code"]), (&false.into(), &code.into()), "{told:#}");
        assert!(!compare(&edge, &simple(from)));
    }
}

#[test]
fn the_disk_floor_is_a_key_that_is_shown_announced_and_explained() {
    let edge = Edge::new(Mode::Userspace);
    let floor = "min_free_space = \"1000000 GB\"\n[delivery]\n";
    let configuration = edge.configuration(ARTICLE).replacen("[delivery]\n", floor, 1);
    let daemon = edge.start_with(&configuration);
    let octets = 1_000_000_u64 << 30;
    edge.wait_until(|status| status["disk"]["refusing"].is_string());
    assert_eq!(edge.status()["disk"]["min_free_space"], octets);
    let printed = edge.relay(&["status"]).out;
    assert!(printed.contains(&format!("min_free_space {octets}")), "{printed}");
    let warned = crate::edge::json_line(&daemon, 0, |line| {
        line["level"] == "WARN" && line["message"] == "the queue accepts no mail"
    });
    assert!(warned["error"].as_str().unwrap().contains("min_free_space"), "{warned}");
    let told = explained(&edge, &simple("127.0.0.1"));
    assert_eq!(told["live"]["disk"]["min_free_space"], octets, "{told:#}");
    let last = told["replies"].as_array().unwrap().last().unwrap();
    assert_eq!((&told["accepted"], &last["code"]), (&false.into(), &452.into()), "{told:#}");
    assert!(!compare(&edge, &simple("127.0.0.1")));
    // The message tracking log has stopped before.
    let refused = crate::edge::json_line(&daemon, 0, |line| line["message"] == "refused");
    assert_eq!((&refused["command"], &refused["rule"]), (&"MAIL".into(), &"queue".into()));
    assert_eq!(refused["sender"], "eve@fabrikam.example");
}
