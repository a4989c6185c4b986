//! Runs the guard on a frame with the kernel's test-run facility, for tests and benchmarks.

use std::time::Duration;

use crate::{EMPTY, GUARD, KernelError};
use aya::Ebpf;
use aya::programs::{TestRun, TestRunOptions, Xdp};

/// Which program to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestProgram {
    /// Passes every frame: what a run costs when nothing is asked.
    Empty,
    /// The guard, against the live maps.
    Guard,
}

/// What became of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Was it passed?
    pub passed: bool,
    /// What one run took, on average.
    pub duration: Duration,
}

/// linux/bpf.h: enum xdp_action.
const XDP_PASS: u32 = 2;

pub(super) fn run(
    ebpf: &mut Ebpf,
    which: TestProgram,
    frame: &[u8],
    repeat: u32,
) -> Result<Judged, KernelError> {
    let name = match which {
        TestProgram::Empty => EMPTY,
        TestProgram::Guard => GUARD,
    };
    let program: &Xdp = super::program::<Xdp>(ebpf, name)?;
    let result = program
        .test_run(TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() })
        .map_err(|error| KernelError::program(name, &error))?;
    Ok(Judged { passed: result.return_value == XDP_PASS, duration: result.duration })
}
