//! One message to many domains of one exchanger: its cost in written octets and connections.
//!
//! Prints its figures, for the daemon of `RELAY_BINARY` too:
//! `DOMAINS=4000 cargo test -p relay-tests --test relay many_domains -- --nocapture`.

use std::env;
use std::fs;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_tests::requirements::{Requirement, met};
use relay_tests::sink::{Script, Sink};

use crate::edge::{ARTICLE, Edge, Mode};
use crate::servers::Server;

#[test]
fn a_message_to_many_domains_writes_little() {
    // Only root can see how much a daemon that is not dumpable has written.
    let needs = [Requirement::Root, Requirement::Program("nsd")];
    if !met("a_message_to_many_domains_writes_little", &needs) {
        return;
    }
    let domains: usize = env::var("DOMAINS").map_or(400, |text| text.parse().unwrap());
    let edge = Edge::new(Mode::Userspace);
    let exchanger = SocketAddr::from(([127, 0, 0, 9], edge.port));
    let sink = Sink::start(None, exchanger, Script::default()).unwrap();
    let names = Server::name_server("*.many MX 10 mx\nmx A 127.0.0.9\n");
    let smart_host = format!("smart_host = \"{}\"\n", edge.sink.address());
    let more = format!(
        "[dns]\nservers = [\"{}\"]\n[mx]\nport = {}\nallow_private_addresses = true\n[control]\n",
        names.address, edge.port
    );
    let scanners = "name = \"Scanners\"\nmax_recipients_per_message = 5000\n";
    let connectors = ARTICLE.replace("name = \"Scanners\"\n", scanners);
    let configuration = edge.configuration(&connectors).replace(&smart_host, "");
    let daemon = edge.start_with(&configuration.replace("[control]\n", &more));
    let recipients: Vec<_> = (0..domains).map(|n| format!("a@{n}.many.example")).collect();
    let recipients: Vec<_> = recipients.iter().map(String::as_str).collect();
    let written = || {
        let text = fs::read_to_string(format!("/proc/{}/io", daemon.id())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("wchar: ")).unwrap();
        line.parse::<u64>().unwrap()
    };
    let (before, begin) = (written(), Instant::now());
    edge.submit("sender@contoso.example", &recipients, "Subject: x\r\n\r\nx\r\n");
    while edge.status()["queue"]["queued"] != 0 {
        assert!(begin.elapsed() < Duration::from_secs(300), "{:#}", edge.status());
        sleep(Duration::from_millis(100));
    }
    let (octets, taken) = (written() - before, sink.messages().len());
    println!("{domains} domains: {octets} octets written, {:?}", begin.elapsed());
    assert_eq!(taken, domains);
    // On a busy machine each result is a separate commit: about ten pages of 4 KiB. Added to that
    // are the commands of its session and its lines in the logs. If each result wrote a record of
    // all recipients, that would be 100 KB for each of 400 domains, and more with each domain.
    assert!(octets < 60_000 * domains as u64, "{octets} octets");
}
