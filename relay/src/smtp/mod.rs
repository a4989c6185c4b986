//! The protocol, receiving and sending. Synchronous: bytes and `now` come in, actions go out.
//!
//! It owns no socket and no clock, and no input makes it panic. What a principal may do is asked
//! of [`relay_policy`]; storing a message is an action that the driver carries out.

pub mod session;
