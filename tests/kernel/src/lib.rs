//! Shared code of the tests and the benchmarks of the kernel half.
//!
//! - [`baseline`]: an empty program, to which the benchmark compares the guard.
//! - [`setup`]: loads the kernel half and publishes to it.
//! - [`frames`]: frames for the kernel's test-run facility.
//! - [`nested`]: random nested configurations, and the plain rule as the reference for every
//!   classifier.
//! - [`live`]: real connections during configuration changes.
//! - [`flood`]: forged SYNs against the daemon, and the sessions during the flood.
//! - [`netstat`]: TCP counters of the kernel.
#![expect(clippy::unwrap_used, reason = "this code runs inside tests; a failure must end the test")]

pub mod baseline;
pub mod flood;
pub mod frames;
pub mod live;
pub mod nested;
pub mod netstat;
pub mod setup;
