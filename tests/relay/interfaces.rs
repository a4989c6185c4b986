//! Interfaces and addresses that appear late, disappear, appear again, or change while the daemon
//! runs.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_tests::daemon::Daemon;
use relay_tests::namespace::{Namespace, link};
use relay_tests::requirements::{Requirement, met};

use crate::dialogue::Dialogue;
use crate::edge::{Edge, Mode};
use crate::{PATIENCE, has_kernel};

/// All clients, with a budget that is not used up here.
const ALL: &str = r#"
[[connector]]
name = "Default"
bindings = ["BINDING"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]
syn_budget = { rate = "1000/s", burst = 1000 }
"#;

/// An edge host and a peer; the test creates the veth pair between them later.
struct World {
    edge: Edge,
    host: Namespace,
    peer: Namespace,
}

impl World {
    fn new(test: &str) -> Option<Self> {
        (has_kernel(test) && met(test, &[Requirement::NetworkNamespaces])).then(|| Self {
            edge: Edge::new(Mode::Kernel),
            host: Namespace::new("edge").unwrap(),
            peer: Namespace::new("peer").unwrap(),
        })
    }

    fn lay_cable(&self) {
        link((&self.host, "wire0"), (&self.peer, "wire0")).unwrap();
        self.host.add_address("wire0", "10.99.0.1/24").unwrap();
        self.peer.add_address("wire0", "10.99.0.2/24").unwrap();
    }

    fn start(&self, mode: &str, binding: &str) -> Daemon {
        let configuration = self
            .edge
            .configuration(&ALL.replace("BINDING", binding))
            .replace("mode = \"kernel\"", &format!("mode = \"{mode}\"\ninterfaces = [\"wire0\"]"));
        Daemon::start(Some(&self.host), self.edge.folder(), &configuration).unwrap()
    }

    fn guard(&self) -> String {
        let status = self.edge.status();
        status["classifier"]["interfaces"]["wire0"].as_str().unwrap().to_owned()
    }

    fn wait_for_guard(&self, wanted: &str) {
        wait(wanted, || self.guard() == wanted);
    }

    /// One session over the veth pair, up to the greeting.
    fn greets(&self, address: &str) -> bool {
        let address: SocketAddr = address.parse().unwrap();
        let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(2));
        let Ok(stream) = self.peer.enter(connect).unwrap() else { return false };
        Dialogue::on(stream).greeting.starts_with("220 ")
    }

    fn syns_seen(&self) -> u64 {
        self.edge.connector("Default")["kernel"]["syn_seen"].as_u64().unwrap()
    }
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !until() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_missing_interface_costs_no_tag_and_is_guarded_whenever_it_appears() {
    let test = "a_missing_interface_costs_no_tag_and_is_guarded_whenever_it_appears";
    let Some(world) = World::new(test) else { return };
    for mode in ["auto", "kernel"] {
        let daemon = world.start(mode, "0.0.0.0:PORT");
        assert_eq!(world.edge.status()["classifier"]["decided_by"], "kernel");
        assert!(world.guard().starts_with("absent"), "{}", world.guard());
        let not_enforced = world.edge.status()["classifier"]["not_enforced"].to_string();
        assert!(not_enforced.contains("wire0") && not_enforced.contains("syn_budget"));
        let warned = daemon.wait_for_line("syn_budget of connector", PATIENCE).unwrap();
        assert!(warned.contains("\"WARN\""), "{warned}");

        // The daemon has dropped its capabilities by now.
        for round in 1..=2 {
            world.lay_cable();
            world.wait_for_guard("native");
            assert_eq!(world.edge.status()["classifier"]["not_enforced"].to_string(), "[]");
            let address = format!("10.99.0.1:{}", world.edge.port);
            wait("a greeting", || world.greets(&address));
            assert!(world.syns_seen() >= round, "the guard sees the SYNs");
            let tagged = world.edge.connector("Default")["kernel"]["tagged"].as_u64().unwrap();
            assert!(tagged >= round, "{tagged}");
            world.host.ip(&["link", "delete", "wire0"]).unwrap();
            wait("absent", || world.guard().starts_with("absent"));
        }
        assert_eq!(daemon.stop().unwrap().code(), Some(0));
    }
}

#[test]
fn the_status_shows_what_is_attached_and_a_detached_guard_is_attached_again() {
    let test = "the_status_shows_what_is_attached_and_a_detached_guard_is_attached_again";
    let Some(world) = World::new(test) else { return };
    world.lay_cable();
    let daemon = world.start("kernel", "0.0.0.0:PORT");
    world.wait_for_guard("native");
    // An administrator or another program may do this: detach the link from its owner.
    let shown = world.host.ip(&["-details", "link", "show", "wire0"]).unwrap();
    let program = shown.split("prog/xdp id ").nth(1).unwrap().split(' ').next().unwrap();
    let links = Command::new("bpftool").args(["--json", "link", "show"]).output().unwrap();
    let links: serde_json::Value = serde_json::from_slice(&links.stdout).unwrap();
    let links = links.as_array().unwrap();
    let ours = links.iter().filter(|link| link["prog_id"].as_u64() == program.parse().ok());
    let mut detached = 0;
    for link in ours {
        let id = link["id"].to_string();
        let output = Command::new("bpftool").args(["link", "detach", "id", &id]).output().unwrap();
        detached += usize::from(output.status.success());
    }
    assert!(detached > 0, "{links:?}");
    world.wait_for_guard("native");
    let shown = world.host.ip(&["link", "show", "wire0"]).unwrap();
    assert!(shown.contains("xdp"), "{shown}");
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
    let shown = world.host.ip(&["link", "show", "wire0"]).unwrap();
    assert!(!shown.contains("xdp"), "{shown}");
}

#[test]
fn an_interface_in_use_by_another_program_is_reported_and_guarded_when_it_is_free() {
    let test = "an_interface_in_use_by_another_program_is_reported_and_guarded_when_it_is_free";
    let Some(first) = World::new(test) else { return };
    first.lay_cable();
    let owner = first.start("kernel", "0.0.0.0:PORT");
    first.wait_for_guard("native");
    // A second instance on the same host, with the same interface.
    let second = Edge::new(Mode::Kernel);
    let configuration = |mode: &str| {
        second
            .configuration(&ALL.replace("BINDING", "0.0.0.0:PORT"))
            .replace("mode = \"kernel\"", &format!("mode = \"{mode}\"\ninterfaces = [\"wire0\"]"))
    };
    let refused = Daemon::start(Some(&first.host), second.folder(), &configuration("kernel"));
    let told = format!("{:#}", refused.unwrap_err());
    assert!(told.contains("wire0: another XDP program"), "{told}");
    let daemon = Daemon::start(Some(&first.host), second.folder(), &configuration("auto")).unwrap();
    let guard = || second.status()["classifier"]["interfaces"]["wire0"].to_string();
    assert!(guard().contains("another XDP program"), "{}", guard());
    assert_eq!(second.status()["classifier"]["decided_by"], "kernel");
    assert_eq!(owner.stop().unwrap().code(), Some(0));
    wait("the guard of the second", || guard() == "\"native\"");
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
}

#[test]
fn jumbo_frames_pass_a_guard_that_was_attached_before_the_mtu_increased() {
    let test = "jumbo_frames_pass_a_guard_that_was_attached_before_the_mtu_increased";
    let Some(world) = World::new(test) else { return };
    world.lay_cable();
    let daemon = world.start("kernel", "0.0.0.0:PORT");
    world.wait_for_guard("native");
    // The peer's end first: the guard's end must be able to receive its frames.
    world.peer.ip(&["link", "set", "wire0", "mtu", "9000"]).unwrap();
    world.host.ip(&["link", "set", "wire0", "mtu", "9000"]).unwrap();
    daemon.wait_for_line("the MTU has changed", PATIENCE).unwrap();
    wait("attached again", || ["native", "generic"].contains(&world.guard().as_str()));
    let address = format!("10.99.0.1:{}", world.edge.port);
    let stream = world.peer.enter(|| TcpStream::connect(&address)).unwrap().unwrap();
    let mut client = Dialogue::on(stream);
    client.hello();
    let line = "x".repeat(900) + "\r\n";
    let message = format!("Subject: jumbo\r\n\r\n{}", line.repeat(500));
    let reply = client.message("a@contoso.example", &["b@contoso.example"], message.as_bytes());
    assert!(reply.starts_with("250 "), "{reply}");
    assert!(world.syns_seen() >= 1, "the guard still runs");
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
}

#[test]
fn an_address_that_appears_late_is_served_when_it_appears() {
    let test = "an_address_that_appears_late_is_served_when_it_appears";
    let Some(world) = World::new(test) else { return };
    for binding in ["10.99.0.1:PORT", "[fd99::1]:PORT"] {
        let connectors = ALL
            .replace("BINDING", binding)
            .replace("0.0.0.0/0", if binding.starts_with('[') { "::/0" } else { "0.0.0.0/0" });
        let configuration = world.edge.configuration(&connectors);
        let daemon = Daemon::start(Some(&world.host), world.edge.folder(), &configuration).unwrap();
        let address = binding.replace("PORT", &world.edge.port.to_string());
        let absent = world.edge.status()["configuration"]["absent_addresses"].to_string();
        assert!(absent.contains(&address), "{absent}");
        daemon.wait_for_line("does not have this address", PATIENCE).unwrap();
        world.lay_cable();
        world.host.add_address("wire0", "fd99::1/64").unwrap();
        world.peer.add_address("wire0", "fd99::2/64").unwrap();
        wait("a greeting", || world.greets(&address));
        assert_eq!(world.edge.status()["configuration"]["absent_addresses"].to_string(), "[]");
        daemon.wait_for_line("has this address now", PATIENCE).unwrap();
        let tagged = world.edge.connector("Default")["kernel"]["tagged"].as_u64().unwrap();
        assert!(tagged >= 1);
        world.host.ip(&["link", "delete", "wire0"]).unwrap();
        assert_eq!(daemon.stop().unwrap().code(), Some(0));
    }
}
