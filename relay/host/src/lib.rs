//! Services of this host that several parts of the daemon need.
//!
//! Privileges and directories with their owners, tasks whose failure ends the process, an error
//! with its causes in one line, pauses that double, and a bounded cache with expiry. This crate does
//! not know mail.

pub mod back_off;
pub mod error_chain;
pub mod limits;
pub mod privileges;
pub mod ttl_cache;
pub mod vital;
