//! The words of mail that every part of the relay uses: addresses, replies, envelopes, and what an
//! attempt to deliver came to.
//!
//! Values only. Nothing here reads a socket, a file or a clock, and no type exists that is not well
//! formed. What a peer may do and where mail goes is decided above this crate.

pub mod address_space;
pub mod domain_pattern;
pub mod dsn;
pub mod envelope;
pub mod heap;
pub mod hello;
pub mod limits;
pub mod outcome;
pub mod path;
pub mod printable;
pub mod protocol;
pub mod queue_id;
pub mod reply;
pub mod smart_host;
pub mod store_error;
pub mod tls;
pub mod user_name;
