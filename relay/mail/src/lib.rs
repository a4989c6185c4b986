//! Values of mail that every part of the relay uses: addresses, replies, envelopes, and the outcome
//! of an attempt to deliver; and where a line ends.
//!
//! Nothing here reads a socket, a file or a clock, and every value is well formed. The
//! crates above this one decide about permissions and routes.

pub mod address_space;
pub mod domain_pattern;
pub mod dsn;
pub mod envelope;
pub mod heap;
pub mod hello;
pub mod limits;
pub mod line_end;
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
