//! The kernel half in a real kernel.
//!
//! These tests need root and a daemon library with the kernel half embedded; `cargo xtask test`
//! provides both. Elsewhere each says that it was skipped, and why.

mod agreement;
mod frames;
mod guard;
mod lifecycle;
mod nested;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use relay::classifier::publication_of;
use relay::config::Config;
use relay::connector::ConnectorIds;
use relay::kernel::{KernelHalf, Settings};
use relay::policy::Rules;
use relay_tests::requirements::{Requirement, met};

/// The generation of a kernel half's self-test; tests publish from the next one on.
const SELF_TEST: u32 = 1;

/// May a test that loads the programs run?
fn can_load(test: &str) -> bool {
    met(test, &[Requirement::Root, Requirement::KernelHalf])
}

/// A pin directory that no other test uses.
fn pin_directory() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    PathBuf::from(format!("/sys/fs/bpf/relay-test-{}-{number}", std::process::id()))
}

/// The kernel half without a guard on any interface; the guard is there for test runs.
fn load() -> KernelHalf {
    let settings = Settings { interfaces: Vec::new(), pin_directory: pin_directory() };
    KernelHalf::load(&settings, SELF_TEST).unwrap()
}

/// The rules of these connectors, given as TOML.
fn rules(connectors: &str, generation: u32) -> Arc<Rules> {
    let text = format!(
        "hostname = \"edge.test\"\n[queue]\ndirectory = \"/nowhere\"\n\
         [delivery]\nsmart_host = \"127.0.0.1:26\"\n{connectors}"
    );
    let config = Config::parse(&text, "test.toml").unwrap_or_else(|refusals| panic!("{refusals}"));
    Rules::build(&config, &mut ConnectorIds::default(), generation).unwrap()
}

/// Publishes these connectors as this generation.
fn publish(kernel: &mut KernelHalf, connectors: &str, generation: u32) -> Arc<Rules> {
    let rules = rules(connectors, generation);
    kernel.publisher.publish(&publication_of(&rules)).unwrap();
    rules
}
