//! The daemon of an SMTP relay with receive connectors, and its command line.
//!
//! What the daemon does is in the crates below this one, see `docs/ARCHITECTURE.md`; `cargo xtask
//! crates` prints them in layers. Here the parts are started, watched, asked and stopped:
//!
//! - [`daemon`]: starts the parts in order, answers requests and signals, and stops.
//! - [`control`]: the socket that the command line asks.
//! - [`logging`]: lines to standard error, which never block or end the daemon.
//! - [`selftest`]: plays the classic open-relay tests against a configuration.
//! - [`allocator`]: how memory goes back to the system.
//! - [`limits`]: the bounds of these modules.

pub mod allocator;
pub mod control;
pub mod daemon;
pub mod limits;
pub mod logging;
pub mod selftest;
