//! What a receive connector is: bindings, remote ranges, permission groups, limits.
//!
//! This module holds data that is already known to be sound; [`crate::config`] makes it, and
//! [`crate::policy`] says what follows from it.

pub mod permission;
pub mod principal;
