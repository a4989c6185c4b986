//! The SMTP protocol, receiving and sending. Synchronous: its input is octets and `now`, its output
//! values.
//!
//! This crate has no socket and no clock, and no input makes it panic. Other crates decide the
//! order of commands in a session, whether a command is allowed, and the delivery of a message.

pub mod client;
pub mod command;
pub mod data;
pub mod foreign;
pub mod limits;
pub mod line;
pub mod proxy;
pub mod sasl;
