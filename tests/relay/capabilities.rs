//! The capabilities of the running daemon.

use std::fs;
use std::path::Path;

use crate::edge::{Edge, Mode};
use crate::has_kernel;

/// CAP_NET_BIND_SERVICE, capabilities(7).
const NET_BIND_SERVICE: u64 = 1 << 10;

#[test]
fn every_thread_retains_only_the_capability_to_bind_ports() {
    if !has_kernel("every_thread_retains_only_the_capability_to_bind_ports") {
        return;
    }
    let edge = Edge::new(Mode::Kernel);
    let daemon = edge.start();
    // Some threads exist only after there has been work.
    edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    let folder = Path::new("/proc").join(daemon.id().to_string()).join("task");
    let mut threads = 0;
    for thread in fs::read_dir(folder).unwrap() {
        // The files of a thread that has just ended may not be readable.
        let Ok(status) = fs::read_to_string(thread.unwrap().path().join("status")) else {
            continue;
        };
        threads += 1;
        for (set, expected) in [
            ("CapInh", 0),
            ("CapPrm", NET_BIND_SERVICE),
            ("CapEff", NET_BIND_SERVICE),
            ("CapBnd", NET_BIND_SERVICE),
            ("CapAmb", 0),
        ] {
            assert_eq!(capabilities(&status, set), expected, "{set} of\n{status}");
        }
    }
    assert!(threads > 2, "the runtime and the queue have threads");
    assert_eq!(edge.status()["capabilities"], serde_json::json!(["CAP_NET_BIND_SERVICE"]));
}

fn capabilities(status: &str, set: &str) -> u64 {
    let line = status.lines().find(|line| line.starts_with(set)).unwrap();
    u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap()
}
