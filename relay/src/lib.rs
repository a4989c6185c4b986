//! An SMTP relay with receive connectors, classified in the kernel.
//!
//! The modules, in reading order, which is also the life of a connection:
//!
//! - [`config`]: text becomes a [`config::Config`], or a refusal with file, line and mend.
//! - [`connector`]: connectors, bindings, ranges, permissions, principals, and the daemon's table.
//! - [`kernel`]: loads the kernel half, publishes generations, reads tags. The only user of aya.
//! - [`server`]: listeners and permits; drives a session with bytes and a clock.
//! - [`smtp`]: the protocol. Synchronous; owns no socket and no clock.
//! - [`policy`]: may this principal do that? Pure; returns decisions with their reasons.
//! - [`message`]: what we read and write in a message's headers.
//! - [`queue`]: accepted mail, on stable storage until it is delivered or reported.
//! - [`delivery`]: routes, attempts, reports.
//! - [`limits`]: every bound, with its unit, source and consequence.

pub mod config;
pub mod connector;
pub mod kernel;
pub mod limits;
pub mod message;
pub mod policy;
pub mod queue;
pub mod smtp;
