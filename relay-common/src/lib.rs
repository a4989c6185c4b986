//! The code that the kernel programs and the daemon share.
//!
//! The modules, in reading order:
//!
//! - [`address`]: every address as 128 bits, IPv4 written as IPv4-mapped IPv6.
//! - [`packet`]: bytes of a frame become a [`packet::Segment`], or the reason why not.
//! - [`tables`]: the keys and values of the maps, as plain bytes with asserted offsets.
//! - [`classify`]: which connector matches. Pure, over a [`classify::Tables`].
//! - [`budget`]: a token bucket in one word.
//! - [`guard`]: is this SYN dropped? Only this module decides it.
//!
//! The kernel passes its packet and its maps to these functions, tests pass slices and hash maps:
//! so the tested code is the code that runs. This crate does not allocate and does not use
//! aya-ebpf. The feature `user` adds `aya::Pod` to the map types for the daemon.
#![no_std]

pub mod address;
pub mod budget;
pub mod classify;
pub mod guard;
pub mod packet;
pub mod tables;
