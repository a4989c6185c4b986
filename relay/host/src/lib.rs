//! What parts of the daemon need of this host.
//!
//! Privileges and directories with their owners, tasks whose failure ends the process, an error with
//! its causes as one line, pauses that double, and a bounded cache of what holds for a while. Nothing here knows mail.

pub mod back_off;
pub mod error_chain;
pub mod limits;
pub mod privileges;
pub mod ttl_cache;
pub mod vital;
