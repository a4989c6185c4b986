//! Loading, publishing, pins, and two instances at the same time.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_common::classify::ConnectionClass;
use relay_common::tables::SCHEMA;

use crate::can_load;
use relay_kernel::limits::GENERATION_GRACE;
use relay_kernel::{KernelError, KernelHalf, KernelSettings};
use relay_kernel_tests::setup::{SELF_TEST, load, pin_directory, publish, rules};

const ONE: &str = r#"
[[connector]]
name = "Only"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.0.0.0-10.0.0.9"]
permission_groups = ["AnonymousUsers"]
"#;

const TWO: &str = r#"
[[connector]]
name = "First"
bindings = ["0.0.0.0:25", "[::]:25"]
remote_ip_ranges = ["0.0.0.0/0", "::/0"]
permission_groups = ["AnonymousUsers"]

[[connector]]
name = "Second"
bindings = ["0.0.0.0:25"]
remote_ip_ranges = ["10.38.96.15"]
permission_groups = ["AnonymousUsers"]
"#;

fn bpftool(arguments: &[&str]) -> String {
    let output = Command::new("bpftool").args(arguments).output().unwrap();
    assert!(output.status.success(), "bpftool {arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

fn at(kernel: &KernelHalf, remote: &str) -> ConnectionClass {
    let local: SocketAddr = "198.51.100.1:25".parse().unwrap();
    kernel.publisher.classify(local, remote.parse::<IpAddr>().unwrap())
}

#[test]
fn the_self_test_finds_that_tags_arrive() {
    if !can_load("the_self_test_finds_that_tags_arrive") {
        return;
    }
    let kernel = load();
    assert!(kernel.self_test.tagged.contains(&"IPv4"));
    let tried = kernel.self_test.tagged.len() + kernel.self_test.absent.len();
    assert_eq!(tried, 3, "{}", kernel.self_test);
    assert_eq!(kernel.publisher.state().generation, SELF_TEST);
}

#[test]
fn a_generation_replaces_the_one_before_it() {
    if !can_load("a_generation_replaces_the_one_before_it") {
        return;
    }
    let mut kernel = load();
    let pins = kernel.pins.as_ref().unwrap().join("RANGES");
    publish(&mut kernel, ONE, 2);
    assert!(matches!(at(&kernel, "10.0.0.9"), ConnectionClass::Connector(_)));
    assert_eq!(at(&kernel, "10.0.0.10"), ConnectionClass::NoConnector);
    publish(&mut kernel, TWO, 3);
    assert!(matches!(at(&kernel, "10.0.0.10"), ConnectionClass::Connector(_)));

    let entries = |generation: u32| {
        let dump = bpftool(&["map", "dump", "pinned", pins.to_str().unwrap()]);
        dump.matches(&format!("\"generation\": {generation},")).count()
    };
    // 10.0.0.0-10.0.0.9 is two blocks; the old generation stays for programs that still read it.
    assert_eq!((entries(2), entries(3)), (2, 3));
    sleep(GENERATION_GRACE);
    kernel.publisher.sweep(Instant::now());
    assert_eq!((entries(1), entries(2), entries(3)), (0, 0, 3));
    assert!(!kernel.publisher.needs_sweep());

    let state = kernel.publisher.state();
    assert_eq!((state.schema, state.generation), (SCHEMA, 3));
    assert_eq!((state.bindings, state.ranges, state.blocks, state.connectors), (2, 3, 3, 2));
    assert_eq!(state.digest, rules(TWO, 3).digest);
}

#[test]
fn bpftool_names_every_field() {
    if !can_load("bpftool_names_every_field") {
        return;
    }
    let mut kernel = load();
    publish(&mut kernel, TWO, 2);
    let directory = kernel.pins.as_ref().unwrap();
    for (map, fields) in [
        ("RANGES", &["prefix_len", "generation", "binding", "address", "connector", "range"][..]),
        ("BINDINGS", &["generation", "port", "address", "binding"]),
        ("STATE", &["generation", "schema", "namespace", "ranges", "digest"]),
        ("COUNTERS", &["syn_seen", "syn_refused", "syn_over_budget", "tagged"]),
        ("REASONS", &["guard_not_syn", "tagger_storage_failed"]),
    ] {
        let dump = bpftool(&["map", "dump", "pinned", directory.join(map).to_str().unwrap()]);
        for field in fields {
            assert!(dump.contains(&format!("\"{field}\":")), "{map} has no {field}: {dump}");
        }
    }
    for program in ["tagger", "guard"] {
        let path = directory.join(program);
        assert!(bpftool(&["prog", "show", "pinned", path.to_str().unwrap()]).contains(program));
    }
}

#[test]
fn pins_are_removed_and_stale_ones_replaced() {
    if !can_load("pins_are_removed_and_stale_ones_replaced") {
        return;
    }
    let settings =
        KernelSettings { interfaces: vec![], pin_directory: pin_directory(), pin_owner: None };
    let first = KernelHalf::load(&settings, SELF_TEST).unwrap();
    assert!(settings.pin_directory.join("RANGES").exists());
    // A second instance on the same directory gets an error, and does no damage.
    match KernelHalf::load(&settings, SELF_TEST).err() {
        Some(KernelError::PinDirectoryInUse(path)) => assert_eq!(path, settings.pin_directory),
        other => panic!("{other:?}"),
    }
    assert!(settings.pin_directory.join("RANGES").exists());
    assert!(matches!(at(&first, "10.0.0.1"), ConnectionClass::NoBinding));
    drop(first);
    assert!(!settings.pin_directory.exists(), "an orderly end removes all pins");

    // The state after a killed process: pins, and no process that holds the lock.
    let path = leave_stale(&settings.pin_directory);
    let second = KernelHalf::load(&settings, SELF_TEST).unwrap();
    let id = |path: &Path| {
        let shown = bpftool(&["-j", "map", "show", "pinned", path.to_str().unwrap()]);
        shown.split(',').next().unwrap().to_owned()
    };
    assert_ne!(id(&settings.pin_directory.join("RANGES")), path, "the stale map is replaced");
    drop(second);
    assert!(!settings.pin_directory.exists());
}

/// Pins another map under a name of ours, and returns its id as bpftool prints it.
fn leave_stale(directory: &Path) -> String {
    std::fs::create_dir(directory).unwrap();
    let path = directory.join("RANGES");
    bpftool(&[
        "map",
        "create",
        path.to_str().unwrap(),
        "type",
        "array",
        "key",
        "4",
        "value",
        "4",
        "entries",
        "1",
        "name",
        "stale",
    ]);
    bpftool(&["-j", "map", "show", "pinned", path.to_str().unwrap()])
        .split(',')
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn two_instances_use_their_own_tables() {
    if !can_load("two_instances_use_their_own_tables") {
        return;
    }
    let (mut first, mut second) = (load(), load());
    publish(&mut first, ONE, 2);
    publish(&mut second, TWO, 2);
    assert_eq!(at(&first, "192.0.2.1"), ConnectionClass::NoConnector);
    assert!(matches!(at(&second, "192.0.2.1"), ConnectionClass::Connector(_)));
    drop(first);
    assert!(matches!(at(&second, "192.0.2.1"), ConnectionClass::Connector(_)));
}

#[test]
fn a_hundred_thousand_ranges_are_published_whole() {
    if !can_load("a_hundred_thousand_ranges_are_published_whole") {
        return;
    }
    let ranges: Vec<String> = (0..100_000u32)
        .map(|n| format!("10.{}.{}.{}", n >> 15, (n >> 7) & 255, (n & 127) * 2))
        .collect();
    let connectors = format!(
        "[[connector]]\nname = \"Many\"\nbindings = [\"0.0.0.0:25\"]\n\
         remote_ip_ranges = {ranges:?}\npermission_groups = [\"AnonymousUsers\"]\n"
    );
    let mut kernel = load();
    let started = Instant::now();
    let rules = rules(&connectors, 2);
    let compiled = started.elapsed();
    let started = Instant::now();
    kernel.publisher.publish(&relay_kernel::classifier::publication_of(&rules)).unwrap();
    println!(
        "100,000 ranges: parsed and compiled in {compiled:?}, published in {:?}",
        started.elapsed()
    );
    assert_eq!(kernel.publisher.state().ranges, 100_000);
    for text in ["10.0.0.0", "10.1.7.42", "10.3.6.62"] {
        assert!(matches!(at(&kernel, text), ConnectionClass::Connector(_)), "{text}");
    }
    assert_eq!(at(&kernel, "10.0.0.1"), ConnectionClass::NoConnector);
    let started = Instant::now();
    publish(&mut kernel, ONE, 3);
    sleep(GENERATION_GRACE + Duration::from_millis(1));
    kernel.publisher.sweep(Instant::now());
    println!(
        "replaced, and the old generation removed after its grace, in {:?}",
        started.elapsed()
    );
    assert_eq!(at(&kernel, "10.1.7.42"), ConnectionClass::NoConnector);
}
