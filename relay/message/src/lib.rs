//! What we read and write in a message's headers.
//!
//! This module decides where the header section ends, which fields a principal may not bring in,
//! and what our own fields say. It never looks into the body and never changes an octet of
//! it. Whether a message is refused is for `policy`.

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
pub mod received;
pub mod section;
pub mod spam;
pub mod stamp;
