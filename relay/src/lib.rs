//! The daemon of an SMTP relay with receive connectors, and its command line.
//!
//! The crates below this one do the work, see `docs/ARCHITECTURE.md`; `cargo xtask crates` prints
//! them in layers. This crate starts, watches, queries and stops the parts:
//!
//! - [`daemon`]: starts the parts in order, answers requests and signals, and stops.
//! - [`control`]: the socket for the command line.
//! - [`logging`]: lines to standard error, which never block or end the daemon.
//! - [`selftest`]: plays the classic open-relay tests against a configuration.
//! - [`allocator`]: how memory is returned to the system.
//! - [`limits`]: the bounds of these modules.

pub mod allocator;
pub mod control;
pub mod daemon;
pub mod limits;
pub mod logging;
pub mod selftest;
