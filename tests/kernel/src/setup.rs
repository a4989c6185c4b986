//! Loading the kernel half and publishing to it, for the tests and the benchmarks.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use relay_config::Config;
use relay_connector::ConnectorIds;
use relay_kernel::classifier::publication_of;
use relay_kernel::{KernelHalf, KernelSettings};
use relay_policy::Rules;

/// The generation of a kernel half's self-test; tests publish from the next one on.
pub const SELF_TEST: u32 = 1;

/// A pin directory that no other test uses.
pub fn pin_directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("/sys/fs/bpf/relay-test-{}-{number}", std::process::id()))
}

/// The kernel half without a guard on any interface; the guard is loaded for test runs.
pub fn load() -> KernelHalf {
    load_in(pin_directory())
}

/// The same, with its pins in this directory.
pub fn load_in(pin_directory: PathBuf) -> KernelHalf {
    KernelHalf::load(
        &KernelSettings { interfaces: Vec::new(), pin_directory, pin_owner: None },
        SELF_TEST,
    )
    .unwrap()
}

/// The configuration with these connectors, given as TOML.
pub fn config(connectors: &str) -> Config {
    let text = format!(
        "hostname = \"edge.test\"\n[queue]\ndirectory = \"/nowhere\"\n\
         [delivery]\nsmart_host = \"127.0.0.1:26\"\n{connectors}"
    );
    Config::parse(&text, "test.toml").unwrap_or_else(|refusals| panic!("{refusals}"))
}

/// The rules of these connectors.
pub fn rules(connectors: &str, generation: u32) -> Arc<Rules> {
    config(connectors).rules(&mut ConnectorIds::default(), generation).unwrap()
}

/// Publishes these connectors as this generation.
pub fn publish(kernel: &mut KernelHalf, connectors: &str, generation: u32) -> Arc<Rules> {
    let rules = rules(connectors, generation);
    kernel.publisher.publish(&publication_of(&rules)).unwrap();
    rules
}
