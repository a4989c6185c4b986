//! What must hold for any bytes at the seams of the relay: one module a target, one function
//! `check` that panics where something does not hold.
//!
//! Where packets are cut is part of an input: [`pieces`] says how. The modules depend on the
//! public interface of `relay` and `relay-common` only.

pub mod author;
pub mod bdat;
pub mod command;
pub mod configuration;
pub mod content;
pub mod data;
pub mod expected;
pub mod packet;
pub mod path;
pub mod pieces;
pub mod proxy;
pub mod ranges;
pub mod reply;
pub mod sasl;
pub mod session;

/// A target: its name, which is also that of its corpus, and its check.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: [Target; 13] = [
    ("author", author::check),
    ("bdat", bdat::check),
    ("command", command::check),
    ("configuration", configuration::check),
    ("content", content::check),
    ("data", data::check),
    ("packet", packet::check),
    ("path", path::check),
    ("proxy", proxy::check),
    ("ranges", ranges::check),
    ("reply", reply::check),
    ("sasl", sasl::check),
    ("session", session::check),
];
