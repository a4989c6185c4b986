//! Messages are sent on as they were received: corpora of real messages pass through the whole
//! daemon, by every input method, through storage, a kill, retries and export, to next hops with
//! different extensions. [`expected`] compares each copy with the original and shares no code with
//! the daemon. Each allowed difference must be in message tracking.
//!
//! `cargo test -p relay-tests --test relay content:: -- --nocapture` prints how many messages.

mod corpora;
#[path = "../../fuzz/src/expected.rs"]
mod expected;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use relay_tests::daemon;
use relay_tests::sink::{Script, Sink};
use serde_json::Value;

use self::corpora::Corpus;
use self::expected::{Allowed, compare};
use crate::dialogue::Dialogue;
use crate::edge::{ARTICLE, Edge, SCANNER, queue_id};

/// Next hops: their domain, and how they differ from the ordinary sink. Each defers at first.
const HOPS: [(&str, &[&str]); 3] = [
    (
        "chunking.example",
        &["mail*5=451 4.3.0 Later", "offer=CHUNKING", "offer=BINARYMIME", "offer=SIZE"],
    ),
    ("eightbit.example", &["mail*5=451 4.3.0 Later", "offer=SIZE"]),
    ("plain.example", &["mail*5=451 4.3.0 Later", "offer=SIZE", "withhold=8BITMIME"]),
];
/// Messages that are exported, and whose records are checked: one process each.
const LOOKED_AT: usize = 25;
/// Clients that submit at the same time.
const CLIENTS: usize = 8;
/// Longest time until all messages arrive, on a machine that also has other work.
const ARRIVAL: Duration = Duration::from_secs(300);

/// How a message is submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    Data,
    OneChunk,
    Chunks,
    Binary,
}

struct Submitted {
    id: String,
    way: Way,
    name: String,
    came: Vec<u8>,
}

#[test]
fn messages_are_sent_on_as_they_were_received() {
    let corpora = corpora::all("content::messages_are_sent_on_as_they_were_received");
    let edge = Edge::answered(&[]);
    let sinks = HOPS.map(|(_, rules)| {
        Sink::on_loopback(Script::parse(rules.iter().copied()).unwrap()).unwrap()
    });
    let nowhere = daemon::free_port().unwrap();
    let daemon = edge.start_with(&configuration(&edge, |_| format!("127.0.0.1:{nowhere}")));
    let (submitted, refused) = submit_all(&edge, &corpora);
    let exported = check_exports(&edge, &submitted);
    daemon.kill().unwrap();
    let daemon = edge.start_with(&configuration(&edge, |at| sinks[at].address().to_string()));
    let mut lines = Vec::new();
    let mut changed = BTreeMap::new();
    let mut ascii = BTreeSet::new();
    for (at, sink) in sinks.iter().enumerate() {
        // Messages that only BINARYMIME can carry, such as those that do not end in CRLF, go to the
        // first hop.
        let is_binary = |it: &Submitted| {
            let is_whole = it.came.is_empty() || it.came.ends_with(b"\r\n");
            it.way == Way::Binary && !(is_whole && is_text(&it.came))
        };
        let takes = |number: usize, it: &Submitted| match at {
            0 => true,
            1 => !is_binary(it),
            // As it is stored: a removed field may have been the only non-ASCII part.
            _ => ascii.contains(&number) && !is_binary(it),
        };
        let count = submitted.iter().filter(|(number, it)| takes(**number, it)).count();
        let messages = sink.wait_for(count, ARRIVAL).unwrap();
        assert_eq!(messages.len(), count, "{}", HOPS[at].0);
        for message in &messages {
            let address = &message.recipients[0].address;
            let number: usize = address[1..address.find('@').unwrap()].parse().unwrap();
            let it = &submitted[&number];
            if message.content.is_ascii() {
                ascii.insert(number);
            }
            let size = format!("SIZE={}", message.content.len());
            let has_size = message.sender.parameters.split(' ').any(|word| word == size);
            assert!(has_size, "{}: {} is not {size}", it.name, message.sender.parameters);
            let allowed = difference(&it.came, &message.content, at > 0);
            let allowed = allowed.unwrap_or_else(|why| panic!("{} {:?}: {why}", it.name, it.way));
            if allowed != Allowed::default() {
                changed.insert(number, allowed);
            }
        }
        lines.push(format!("{} messages to {}", messages.len(), HOPS[at].0));
    }
    let recorded = check_records(&edge, &submitted, &changed);
    daemon.stop().unwrap();

    let of = |way| submitted.values().filter(|it| it.way == way).count();
    println!();
    for corpus in &corpora {
        println!("content: {} messages of {}", corpus.messages.len(), corpus.name);
    }
    println!(
        "content: accepted {} by DATA, {} in one chunk, {} in many, {} with BINARYMIME; \
         {refused} refused for a bare CR, LF or NUL",
        of(Way::Data),
        of(Way::OneChunk),
        of(Way::Chunks),
        of(Way::Binary),
    );
    println!("content: after a kill and retries, {}; {exported} exported", lines.join(", "));
    println!(
        "content: {} changed as allowed, {recorded} of their records checked; differences 0",
        changed.len()
    );
}

fn configuration(edge: &Edge, hop: impl Fn(usize) -> String) -> String {
    let mut text = edge.configuration(ARTICLE);
    for (at, (domain, _)) in HOPS.iter().enumerate() {
        let hop = hop(at);
        text.push_str(&format!(
            "[[route]]\nrecipient_domains = [\"{domain}\"]\nsmart_hosts = [\"{hop}\"]\n"
        ));
    }
    text
}

/// The accepted messages, by the number in their recipients, and the number of refused ones.
fn submit_all(edge: &Edge, corpora: &[Corpus]) -> (BTreeMap<usize, Submitted>, usize) {
    let mut jobs = Vec::new();
    for (name, raw) in corpora.iter().flat_map(|corpus| &corpus.messages) {
        for way in [Way::Data, Way::OneChunk, Way::Chunks, Way::Binary] {
            let came = match way {
                Way::Binary => raw.clone(),
                Way::Data => with_crlf(raw, true),
                Way::OneChunk | Way::Chunks => with_crlf(raw, false),
            };
            jobs.push((name, way, came));
        }
    }
    let taken = Mutex::new(BTreeMap::new());
    // Concurrently, since each waits for the disk.
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (jobs, taken) = (&jobs, &taken);
            scope.spawn(move || {
                let mut connection = edge.connect(SCANNER);
                connection.hello();
                let mine = jobs.iter().enumerate().skip(client).step_by(CLIENTS);
                for (number, (name, way, came)) in mine {
                    let reply = submit(&mut connection, *way, came, number);
                    if reply.starts_with("250 ") {
                        let (id, name, came) = (queue_id(&reply), (*name).clone(), came.clone());
                        let submitted = Submitted { id, way: *way, name, came };
                        taken.lock().unwrap().insert(number, submitted);
                    } else {
                        assert!(reply.starts_with("550 5.6.0 "), "{name} {way:?}: {reply}");
                        assert!(!is_text(came), "{name} {way:?}: {reply}");
                    }
                }
                connection.quit();
            });
        }
    });
    let taken = taken.into_inner().unwrap();
    let refused = jobs.len() - taken.len();
    (taken, refused)
}

/// Submits a message, for a recipient of each next hop. Returns the last reply.
fn submit(client: &mut Dialogue, way: Way, came: &[u8], number: usize) -> String {
    let body = if way == Way::Binary { " BODY=BINARYMIME" } else { "" };
    assert!(client.say(&format!("MAIL FROM:<>{body}")).starts_with("250 "));
    for (domain, _) in HOPS {
        assert!(client.say(&format!("RCPT TO:<m{number}@{domain}>")).starts_with("250 "));
    }
    if way == Way::Data {
        assert!(client.say("DATA").starts_with("354 "));
        let mut stuffed = Vec::new();
        for line in came.split_inclusive(|&octet| octet == b'\n') {
            stuffed.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
            stuffed.extend_from_slice(line);
        }
        client.send(&stuffed);
        return client.say(".");
    }
    let octets = match way {
        Way::Chunks => (1 + number % 97).max(came.len() / 40),
        _ => came.len(),
    };
    for chunk in came.chunks(octets.max(1)) {
        client.send(format!("BDAT {}\r\n", chunk.len()).as_bytes());
        client.send(chunk);
        let reply = client.reply();
        if !reply.starts_with("250 ") {
            return reply;
        }
    }
    client.say("BDAT 0 LAST")
}

/// Do lines end in CRLF, the last one too if `all` is set?
fn with_crlf(raw: &[u8], all: bool) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len() + raw.len() / 32);
    for &octet in raw {
        if octet == b'\n' && !text.ends_with(b"\r") {
            text.push(b'\r');
        }
        text.push(octet);
    }
    if all && !text.is_empty() && !text.ends_with(b"\r\n") {
        text.extend_from_slice(b"\r\n");
    }
    text
}

/// May it be the content of DATA, apart from the end?
fn is_text(octets: &[u8]) -> bool {
    let mut before = 0;
    for &octet in octets {
        if octet == 0 || (octet == b'\n') != (before == b'\r') {
            return false;
        }
        before = octet;
    }
    before != b'\r'
}

/// Compares the received message with the sent one, after our Received field.
fn difference(came: &[u8], left: &[u8], by_data: bool) -> Result<Allowed, String> {
    let mut came = came.to_vec();
    if by_data && !came.is_empty() && !came.ends_with(b"\r\n") {
        came.extend_from_slice(b"\r\n");
    }
    assert!(left.starts_with(b"Received: from "));
    let is_end = |at: &usize| left[..*at].ends_with(b"\r\n") && !left[*at..].starts_with(b"\t");
    let end = (2..=left.len()).find(is_end).unwrap();
    compare(&came, &left[end..])
}

fn check_exports(edge: &Edge, submitted: &BTreeMap<usize, Submitted>) -> usize {
    let texts: Vec<_> =
        submitted.values().filter(|it| it.came.is_ascii() && is_text(&it.came)).collect();
    let step = (texts.len() / LOOKED_AT).max(1);
    let file = edge.folder().join("exported.eml");
    let mut exported = 0;
    for it in texts.into_iter().step_by(step) {
        let ran = edge.relay(&["queue", "export", &it.id, "--output", file.to_str().unwrap()]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let left = std::fs::read(&file).unwrap();
        difference(&it.came, &left, false).unwrap_or_else(|why| panic!("{}: {why}", it.name));
        exported += 1;
    }
    exported
}

/// Removed and added fields must be in message tracking.
fn check_records(
    edge: &Edge,
    submitted: &BTreeMap<usize, Submitted>,
    changed: &BTreeMap<usize, Allowed>,
) -> usize {
    let step = (changed.len() / LOOKED_AT).max(1);
    let mut looked_at = 0;
    for (&number, allowed) in changed.iter().step_by(step) {
        let it = &submitted[&number];
        let ran = edge.relay(&["trace", &it.id, "--json"]);
        let changes = changes(&ran.out);
        for name in &allowed.missing {
            let line = format!("removed {name}");
            let is_named = |text: &String| *text == line || text.starts_with(&format!("{line} ("));
            assert!(changes.iter().any(is_named), "{}: {name}, {changes:?}, {ran:?}", it.name);
        }
        let has = |words: &str| changes.iter().any(|text| text.contains(words));
        assert_eq!(has("mbox line"), allowed.mbox_lines > 0, "{}: {changes:?}", it.name);
        assert_eq!(has("added an empty line"), allowed.separated, "{}: {changes:?}", it.name);
        looked_at += 1;
    }
    looked_at
}

/// The changes in a trace, in lower case.
fn changes(trace: &str) -> Vec<String> {
    fn find(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| find(item, found)),
            Value::Object(members) => {
                for (key, member) in members {
                    match (key.as_str(), member) {
                        ("changes", Value::Array(texts)) => found.extend(
                            texts.iter().filter_map(Value::as_str).map(str::to_ascii_lowercase),
                        ),
                        _ => find(member, found),
                    }
                }
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    for value in serde_json::Deserializer::from_str(trace).into_iter::<Value>() {
        find(&value.unwrap(), &mut found);
    }
    found
}
