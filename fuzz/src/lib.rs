//! Properties that must hold for any octets at the interfaces of the relay: one module for each
//! target, with one function `check` that panics if a property does not hold.
//!
//! An input includes its cuts into packets; [`pieces`] says how. The modules use only the public
//! interface of `relay` and `relay-common`.

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

/// A target: its name, which is also the name of its corpus, and its check.
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
