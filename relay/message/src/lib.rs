//! Reads and writes the header section of messages.
//!
//! This crate finds the end of the header section, removes fields that a principal may not send,
//! and writes our own fields. It never examines the body and never changes an octet of it. `policy`
//! decides whether a message is refused.

pub mod authentication_results;
pub mod author;
pub mod changes;
mod comment;
pub mod finding;
pub mod firewall;
pub mod header;
pub mod hops;
pub mod identity;
pub mod limits;
pub mod outbound;
pub mod question;
pub mod received;
pub mod section;
pub mod spam;
pub mod stamp;
