//! Mail whose next hop DNS decides: a real name server, sinks as mail exchangers, and domains with
//! every kind of error.
//!
//! The exchangers have addresses of 127.0.0.0/8 and the port of the daemon, which listens on
//! 127.0.0.1 only.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use relay_tests::requirements::{Requirement, met};
use relay_tests::sink::{Message, Script, Sink};

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, Mode};
use crate::servers::Server;

/// `first` is 127.0.0.21, `second` 127.0.0.22; `dead` has no listener; `self` is the daemon.
const ZONE: &str = "
first A 127.0.0.21
second A 127.0.0.22
dead A 127.0.0.23
self A 127.0.0.1
both A 127.0.0.23
both A 127.0.0.21
six AAAA ::1
mixed A 127.0.0.23
mixed AAAA ::1
prefers-six MX 10 six
prefers MX 20 second
prefers MX 10 first
stands-in MX 10 dead
stands-in MX 20 second
address A 127.0.0.21
alias CNAME prefers
alias-of-address CNAME address
addresses MX 10 both
null MX 0 .
loop MX 10 self
loop MX 20 first
backup MX 10 first
backup MX 20 self
named MX 10 edge.test.
no-host MX 10 missing
no-address TXT \"nothing\"
loops-by-address A 127.0.0.1
partly MX 10 nothing.broken.
partly MX 20 second
";

/// An edge host without a smart host, its name server, and two exchangers.
struct World {
    edge: Edge,
    first: Sink,
    second: Sink,
    names: Server,
}

impl World {
    fn new() -> Self {
        let edge = Edge::new(Mode::Userspace);
        let exchanger = |address: &str| {
            let address: IpAddr = address.parse().unwrap();
            Sink::start(None, SocketAddr::new(address, edge.port), Script::default()).unwrap()
        };
        let (first, second) = (exchanger("127.0.0.21"), exchanger("127.0.0.22"));
        Self { first, second, names: Server::name_server(ZONE), edge }
    }

    fn configuration(&self, allow_private_addresses: bool) -> String {
        let smart_host = format!("smart_host = \"{}\"\n", self.edge.sink.address());
        let more = format!(
            "[dns]\nservers = [\"{}\"]\ntimeout = \"1s\"\n[mx]\nport = {}\n\
             allow_private_addresses = {allow_private_addresses}\n[control]\n",
            self.names.address, self.edge.port
        );
        let text = self.edge.configuration(ARTICLE);
        text.replace(&smart_host, "").replace("[control]\n", &more)
    }
}

fn recipients<'m>(messages: impl IntoIterator<Item = &'m Message>) -> BTreeSet<String> {
    let of_message = |message: &'m Message| message.recipients.iter().map(|r| r.address.clone());
    messages.into_iter().flat_map(of_message).collect()
}

fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(|&address| address.to_owned()).collect()
}

#[test]
fn each_domain_goes_to_the_exchanger_in_dns() {
    if !met("each_domain_goes_to_the_exchanger_in_dns", &[Requirement::Program("nsd")]) {
        return;
    }
    let world = World::new();
    let _daemon = world.edge.start_with(&world.configuration(true));
    let to_first = [
        "a@prefers.example",
        "a@address.example",
        "a@alias.example",
        "a@alias-of-address.example",
        "a@addresses.example",
        "a@backup.example",
    ];
    let to_second = ["a@stands-in.example", "a@partly.example"];
    let all: Vec<_> = to_first.into_iter().chain(to_second).collect();
    world.edge.submit("sender@address.example", &all, "Subject: x\r\n\r\nx\r\n");
    world.edge.wait_until(|status| status["queue"]["queued"] == 0);
    assert_eq!(recipients(&world.first.messages()), set(&to_first));
    assert_eq!(recipients(&world.second.messages()), set(&to_second));
    // One transaction for each domain, each with the same octets.
    let messages = [world.first.messages(), world.second.messages()].concat();
    assert_eq!(messages.len(), all.len());
    assert!(messages.iter().all(|message| message.content == messages[0].content));
}

#[test]
fn a_host_is_reached_by_ipv6_if_it_has_no_ipv4_address_that_answers() {
    let test = "a_host_is_reached_by_ipv6_if_it_has_no_ipv4_address_that_answers";
    if !met(test, &[Requirement::Program("nsd")]) {
        return;
    }
    let world = World::new();
    let address = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), world.edge.port);
    let sink = Sink::start(None, address, Script::default()).unwrap();
    let _daemon = world.edge.start_with(&world.configuration(true));
    let all = ["a@six.example", "a@prefers-six.example", "a@mixed.example"];
    world.edge.submit("sender@address.example", &all, "Subject: x\r\n\r\nx\r\n");
    world.edge.wait_until(|status| status["queue"]["queued"] == 0);
    assert_eq!(recipients(&sink.messages()), set(&all));
}

#[test]
fn a_null_mx_and_other_final_answers_of_dns_are_reported() {
    let test = "a_null_mx_and_other_final_answers_of_dns_are_reported";
    if !met(test, &[Requirement::Program("nsd")]) {
        return;
    }
    let world = World::new();
    let _daemon = world.edge.start_with(&world.configuration(true));
    let failing = [
        ("a@null.example", "5.1.10"),
        ("a@loop.example", "5.4.6"),
        ("a@named.example", "5.4.6"),
        ("a@loops-by-address.example", "5.4.6"),
        ("a@no-host.example", "5.4.4"),
        ("a@no-address.example", "5.4.4"),
        ("a@no-domain.example", "5.1.2"),
    ];
    let all: Vec<_> = failing.iter().map(|(address, _)| *address).collect();
    world.edge.submit("sender@address.example", &all, "Subject: x\r\n\r\nx\r\n");
    world.edge.wait_until(|status| status["queue"]["queued"] == 0);
    let reports = world.first.messages();
    assert_eq!(recipients(&reports), set(&["sender@address.example"]));
    let text: String = reports.iter().map(Message::text).collect();
    for (address, status) in failing {
        let expected =
            format!("Final-Recipient: rfc822; {address}\r\nAction: failed\r\nStatus: {status}\r\n");
        assert!(text.contains(&expected), "no {expected:?} in\n{text}");
    }
    assert!(world.second.messages().is_empty());
}

#[test]
fn a_failure_of_dns_defers_and_does_not_delay_other_mail() {
    let test = "a_failure_of_dns_defers_and_does_not_delay_other_mail";
    if !met(test, &[Requirement::Program("nsd")]) {
        return;
    }
    let world = World::new();
    let _daemon = world.edge.start_with(&world.configuration(true));
    let all = ["a@nothing.broken", "a@prefers.example"];
    let id = world.edge.submit("sender@address.example", &all, "Subject: x\r\n\r\nx\r\n");
    world.edge.wait_until(|status| status["queue"]["deferred"].as_u64() >= Some(1));
    world.first.wait_for(1, PATIENCE).unwrap();
    let shown = world.edge.relay(&["queue", "show", &id, "--json"]).json();
    let text = shown.to_string();
    assert!(text.contains("cannot look up the MX record of nothing.broken"), "{text}");
    let status = world.edge.status();
    assert_eq!((&status["queue"]["queued"], &status["queue"]["failed"]), (&1.into(), &0.into()));
    assert_eq!(recipients(&world.first.messages()), set(&["a@prefers.example"]));
}

#[test]
fn dns_of_a_stranger_cannot_lead_to_private_addresses() {
    if !met("dns_of_a_stranger_cannot_lead_to_private_addresses", &[Requirement::Program("nsd")]) {
        return;
    }
    let world = World::new();
    // Reports need a route, since their domain also leads to a private address.
    let route = "[[route]]\nrecipient_domains = [\"contoso.example\"]\nsmart_hosts = [\"SINK\"]\n";
    let route = route.replace("SINK", &world.edge.sink.address().to_string());
    let configuration = world.configuration(false).replace("[control]\n", &(route + "[control]\n"));
    let _daemon = world.edge.start_with(&configuration);
    let all = ["a@prefers.example", "a@[127.0.0.21]", "a@[192.168.0.1]"];
    world.edge.submit("sender@contoso.example", &all, "Subject: x\r\n\r\nx\r\n");
    world.edge.wait_until(|status| status["queue"]["queued"] == 0);
    let text: String = world.edge.sink.messages().iter().map(Message::text).collect();
    for recipient in ["a@prefers.example", "a@[127.0.0.21]", "a@[192.168.0.1]"] {
        let expected = format!("rfc822; {recipient}\r\nAction: failed\r\nStatus: 5.4.4\r\n");
        assert!(text.contains(&expected), "no {expected:?} in\n{text}");
    }
    assert!(world.first.messages().is_empty());
}

#[test]
fn a_changed_route_applies_to_waiting_mail() {
    if !met("a_changed_route_applies_to_waiting_mail", &[Requirement::Program("nsd")]) {
        return;
    }
    let world = World::new();
    let configuration = world.configuration(true);
    let _daemon = world.edge.start_with(&configuration);
    world.edge.submit("sender@address.example", &["a@nothing.broken"], "Subject: x\r\n\r\nx\r\n");
    world.edge.wait_until(|status| status["queue"]["deferred"].as_u64() >= Some(1));
    let maildir = world.edge.folder().join("mail");
    let route = format!(
        "[[route]]\nrecipient_domains = [\"*.broken\"]\nmaildir = \"{}\"\n[control]\n",
        maildir.display()
    );
    let changed = configuration.replace("[control]\n", &route);
    std::fs::write(world.edge.folder().join("relay.toml"), changed).unwrap();
    assert_eq!(world.edge.relay(&["reload"]).code, 0);
    world.edge.wait_until(|status| status["queue"]["queued"] == 0);
    assert_eq!(std::fs::read_dir(maildir.join("new")).unwrap().count(), 1);
    let explained = world.edge.relay(&[
        "explain",
        "--from",
        "127.0.0.3",
        "--to-binding",
        &world.edge.address().to_string(),
        "--mail-from",
        "a@b.example",
        "--rcpt-to",
        "a@nothing.broken",
        "--rcpt-to",
        "a@x.example",
        "--json",
    ]);
    let routes = &explained.json()["routes"];
    assert_eq!(routes[0]["next_hop"], format!("maildir {}", maildir.display()));
    assert_eq!(routes[1]["next_hop"], "MX of x.example");
    assert_eq!(routes[1]["because"], "[delivery]");
}
