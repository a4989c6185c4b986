//! The protocol, receiving and sending. Synchronous: bytes and `now` come in, actions go out.
//!
//! It owns no socket and no clock, and no input makes it panic. What a principal may do is asked
//! of [`crate::policy`]; storing a message is an action that the driver carries out.

pub mod client;
pub mod command;
pub mod data;
pub mod foreign;
pub mod line;
pub mod proxy;
pub mod sasl;
pub mod session;
