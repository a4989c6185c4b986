//! The SMTP protocol, receiving and sending. Synchronous: octets and `now` come in, values go out.
//!
//! This crate owns no socket and no clock, and no input makes it panic. The order of commands in a
//! session, the decision whether a command is allowed, and the delivery of a message are decided
//! above it.

pub mod client;
pub mod command;
pub mod data;
pub mod foreign;
pub mod limits;
pub mod line;
pub mod proxy;
pub mod sasl;
