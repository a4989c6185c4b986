//! What the tests and the benchmarks of the kernel half share.
//!
//! - [`setup`]: loads the kernel half and publishes to it.
//! - [`frames`]: frames for the kernel's test-run facility.
//! - [`nested`]: random nested configurations, and the plain rule to hold every classifier against.
//! - [`live`]: real connections while the configuration changes under them.
//! - [`flood`]: forged SYNs against the daemon, and what becomes of the sessions beside them.
//! - [`netstat`]: what the kernel counts of TCP.
#![expect(clippy::unwrap_used, reason = "all of this runs inside tests, which a failure must end")]

pub mod flood;
pub mod frames;
pub mod live;
pub mod nested;
pub mod netstat;
pub mod setup;
