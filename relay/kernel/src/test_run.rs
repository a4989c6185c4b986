//! Runs the guard on a frame with the kernel's test-run facility, for tests and benchmarks.

use std::time::Duration;

use crate::{EMPTY, GUARD, KernelError};
use aya::Ebpf;
use aya::programs::{TestRun, TestRunOptions, Xdp};

/// The program to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestProgram {
    /// Passes every frame, to measure the cost of a run itself.
    Empty,
    /// The guard, against the live maps.
    Guard,
}

/// The result for the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TestResult {
    /// Was it passed?
    pub passed: bool,
    /// The average duration of one run.
    pub duration: Duration,
}

/// linux/bpf.h: enum xdp_action.
const XDP_PASS: u32 = 2;

pub(super) fn run(
    ebpf: &mut Ebpf,
    which: TestProgram,
    frame: &[u8],
    repeat: u32,
) -> Result<TestResult, KernelError> {
    let name = match which {
        TestProgram::Empty => EMPTY,
        TestProgram::Guard => GUARD,
    };
    let program: &Xdp = super::program::<Xdp>(ebpf, name)?;
    let result = program
        .test_run(TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() })
        .map_err(|error| KernelError::program(name, &error))?;
    Ok(TestResult { passed: result.return_value == XDP_PASS, duration: result.duration })
}
