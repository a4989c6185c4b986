//! An SMTP relay with receive connectors, classified in the kernel.
//!
//! The modules, in reading order, which is also the life of a connection:
//!
//! - [`config`]: text becomes a [`config::Config`], or a refusal with file, line and mend.
//! - [`connector`]: connectors, bindings, ranges, permissions, principals, and the daemon's table.
//! - [`kernel`]: loads the kernel half, publishes generations, reads tags. The only user of aya.
//! - [`classifier`]: the tag, or the daemon's own table; puts a generation in force.
//! - [`server`]: listeners and permits; drives a session with bytes and a clock.
//! - [`smtp`]: the protocol. Synchronous; owns no socket and no clock.
//! - [`policy`]: may this principal do that? Pure; returns decisions with their reasons.
//! - [`explanation`]: what would become of one message, by a session that is only played.
//! - [`users`]: users of our own, who can prove with AUTH who they are.
//! - [`antispam`]: asks DNS and Rspamd what the policy wants to know of mail from strangers.
//! - [`message`]: what we read and write in a message's headers.
//! - [`back_pressure`]: how short this host is of disk and memory, and who has to wait for it.
//! - [`queue`]: accepted mail, on stable storage until it is delivered or reported.
//! - [`tracking`]: what became of each message, for `relay trace`.
//! - [`recipients`]: asks other servers whether a recipient exists, and remembers the answers.
//! - [`delivery`]: routes, attempts, reports.
//! - [`dns`]: the way to DNS.
//! - [`control`], [`counts`], [`privileges`]: what an administrator asks, what we count, and what
//!   we may still do after start-up.
//! - [`vital`]: what the daemon cannot run without.
//! - [`logging`]: lines to standard error, which never block or end the daemon.
//! - [`daemon`]: starts the parts in order, answers requests and signals, and stops.
//! - [`selftest`]: plays the classic open-relay set against a configuration.
//! - [`limits`]: every bound, with its unit, source and consequence. [`causes`]: an error in full.
//!   [`fading`]: a bounded table of what holds for a while.
//!
//! Addresses, replies, envelopes and outcomes are values of [`relay_mail`], which knows nothing of
//! this crate.

pub mod allocator;
pub mod control;
pub mod daemon;
pub mod limits;
pub mod logging;
pub mod selftest;
