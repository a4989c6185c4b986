//! The table in force, as bpftool shows it while the daemon runs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::process::Command;

use relay_common::tables::RangeKey;
use serde_json::Value;

use crate::edge::{Edge, Mode};
use crate::has_kernel;

const CONNECTORS: &str = r#"
[[connector]]
name = "Everybody"
bindings = ["127.0.0.1:PORT", "[::1]:PORT"]
remote_ip_ranges = ["0.0.0.0/0", "::/0"]
permission_groups = ["AnonymousUsers"]

[[connector]]
name = "Exchange"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["10.38.96.15"]
permission_groups = ["AnonymousUsers"]

[[connector]]
name = "Scanners"
bindings = ["127.0.0.1:PORT"]
remote_ip_ranges = ["10.38.97.0/24", "10.38.98.10-10.38.98.11"]
permission_groups = ["AnonymousUsers"]
"#;

#[test]
fn bpftool_and_relay_connectors_show_the_same_table() {
    if !has_kernel("bpftool_and_relay_connectors_show_the_same_table") {
        return;
    }
    let edge = Edge::new(Mode::Kernel);
    let _daemon = edge.start_with(&edge.configuration(CONNECTORS));
    let names: BTreeMap<u64, String> = edge.status()["connectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|connector| (number(&connector["id"]), text(&connector["name"])))
        .collect();
    let bindings: BTreeMap<u64, SocketAddr> = dump(&edge.pins.join("BINDINGS"))
        .iter()
        .map(|entry| {
            let (key, value) = (&entry["key"], &entry["value"]);
            let port = u16::try_from(number(&key["port"])).unwrap();
            (number(&value["binding"]), SocketAddr::new(address(&key["address"]), port))
        })
        .collect();

    let mut shown = BTreeSet::new();
    for entry in dump(&edge.pins.join("RANGES")) {
        let (key, value) = (&entry["key"], &entry["value"]);
        let data = &key["data"];
        assert_eq!(data["generation"], edge.status()["configuration"]["generation"]);
        let binding = bindings[&number(&data["binding"])].to_string();
        let block = address(&data["address"]);
        let bits = number(&key["prefix_len"]) - u64::from(RangeKey::FIXED_BITS);
        let bits = if block.is_ipv4() { bits - 96 } else { bits };
        let connector = names[&number(&value["connector"])].clone();
        shown.insert((binding, connector, number(&value["range"]), format!("{block}/{bits}")));
    }
    let row = |binding: &str, connector: &str, range: u64, block: &str| {
        let binding = format!("{binding}:{}", edge.port);
        (binding, connector.to_owned(), range, block.to_owned())
    };
    let expected = BTreeSet::from([
        row("127.0.0.1", "Everybody", 0, "0.0.0.0/0"),
        row("[::1]", "Everybody", 1, "::/0"),
        row("127.0.0.1", "Exchange", 0, "10.38.96.15/32"),
        row("127.0.0.1", "Scanners", 0, "10.38.97.0/24"),
        row("127.0.0.1", "Scanners", 1, "10.38.98.10/31"),
    ]);
    assert_eq!(shown, expected);

    let listed = edge.relay(&["connectors", "--json"]).json();
    let listed: BTreeSet<_> = listed["connectors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (text(&row["binding"]), text(&row["connector"])))
        .collect();
    let shown = shown.into_iter().map(|(binding, connector, ..)| (binding, connector)).collect();
    assert_eq!(listed, shown);

    // Without the path too, as an administrator types it first; there may be other instances.
    let by_name = bpftool(&["map", "dump", "name", "RANGES"]);
    for field in ["prefix_len", "generation", "binding", "address", "connector", "range"] {
        assert!(by_name.contains(&format!("\"{field}\":")), "no {field} in {by_name}");
    }
}

/// The entries of a pinned map, by the names of their fields.
fn dump(pin: &Path) -> Vec<Value> {
    let printed = bpftool(&["-j", "map", "dump", "pinned", pin.to_str().unwrap()]);
    let entries: Vec<Value> = serde_json::from_str(&printed).unwrap();
    // For a moment BINDINGS and RANGES still have the entries of the self-test.
    let formatted: Vec<_> = entries.into_iter().map(|entry| entry["formatted"].clone()).collect();
    let generation = |entry: &Value| {
        let key = &entry["key"];
        number(key.get("generation").unwrap_or(&key["data"]["generation"]))
    };
    let newest = formatted.iter().map(generation).max();
    formatted.into_iter().filter(|entry| Some(generation(entry)) == newest).collect()
}

fn bpftool(arguments: &[&str]) -> String {
    let output = Command::new("bpftool").args(arguments).output().unwrap();
    assert!(output.status.success(), "bpftool {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Sixteen octets, IPv4 mapped into IPv6.
fn address(value: &Value) -> IpAddr {
    let octets: Vec<u8> = serde_json::from_value(value["octets"].clone()).unwrap();
    Ipv6Addr::from(<[u8; 16]>::try_from(octets).unwrap()).to_canonical()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text")).to_owned()
}
