//! Support for tests of complete behaviours: the real daemon between real peers.
//!
//! - [`benchmark`]: the report of the comparison with other mail servers.
//! - [`requirements`]: may this test run here? A skipped test says so.
//! - [`namespace`]: network namespaces and the veth pairs between them.
//! - [`daemon`]: the daemon under test, its configuration and its output.
//! - [`client`]: swaks and Postfix's generators, clients of other projects.
//! - [`sink`]: the next hop: accepts mail, stores it, and fails as its script says.
//!
//! Behaviour within one process is tested beside the code instead.

pub mod benchmark;
pub mod client;
pub mod daemon;
pub mod namespace;
pub mod requirements;
pub mod sink;
