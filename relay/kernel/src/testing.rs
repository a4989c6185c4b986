//! What do the maps and the guard say to a connection or a frame? For tests and benchmarks: a
//! session asks its tag.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use aya::maps::lpm_trie::Key;
use aya::programs::{TestRun, TestRunOptions, Xdp};
use relay_common::classify::{ConnectionClass, Tables, classify};
use relay_common::tables::{BindingEntry, BindingKey, RangeEntry, RangeKey};

use crate::{GUARD, KernelError, Programs, Publisher, program};

/// The result for a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// Was it passed?
    pub passed: bool,
    /// The average duration of one run.
    pub duration: Duration,
}

/// linux/bpf.h: enum xdp_action.
const XDP_PASS: u32 = 2;

impl TestResult {
    /// From the program's return value and the duration that the kernel measured.
    pub fn new(xdp_action: u32, duration: Duration) -> Self {
        Self { passed: xdp_action == XDP_PASS, duration }
    }
}

impl Programs {
    /// Runs the guard on a frame with the kernel's test-run facility, against the live maps.
    ///
    /// # Errors
    ///
    /// The kernel refuses frames shorter than an Ethernet header.
    pub fn run_guard(&mut self, frame: &[u8], repeat: u32) -> Result<TestResult, KernelError> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let guard: &Xdp = program::<Xdp>(&mut self.ebpf, GUARD)?;
        let result =
            guard.test_run(options).map_err(|error| KernelError::program(GUARD, &error))?;
        Ok(TestResult::new(result.return_value, result.duration))
    }
}

impl Publisher {
    /// Classifies a connection by the kernel's maps, with the function that the programs call.
    pub fn classify(&self, local: SocketAddr, remote: IpAddr) -> ConnectionClass {
        let generation = self.state().generation;
        classify(self, generation, local.ip().into(), local.port(), remote.into())
    }
}

impl Tables for Publisher {
    fn binding(&self, key: &BindingKey) -> Option<BindingEntry> {
        self.bindings.get(key, 0).ok()
    }

    fn range(&self, key: &RangeKey) -> Option<RangeEntry> {
        self.ranges.get(&Key::new(RangeKey::ALL_BITS, *key), 0).ok()
    }
}
