//! Support for tests of whole behaviours: the real daemon between real peers.
//!
//! - [`benchmark`]: what the comparison with other mail servers reports.
//! - [`requirements`]: may this test run here? A skipped test says so aloud.
//! - [`namespace`]: network namespaces and the cables between them.
//! - [`daemon`]: the daemon under test, its configuration and its output.
//! - [`client`]: swaks and Postfix's generators, as clients that we did not write.
//! - [`sink`]: the next hop: takes mail, keeps it, and fails as a script tells it.
//!
//! What happens inside one process is tested beside the code instead.

pub mod benchmark;
pub mod client;
pub mod daemon;
pub mod namespace;
pub mod requirements;
pub mod sink;
