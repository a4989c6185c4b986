//! What the kernel programs and the daemon agree on.
//!
//! The modules, in reading order:
//!
//! - [`address`]: every address as 128 bits, IPv4 written as IPv4-mapped IPv6.
//! - [`packet`]: bytes of a frame become a [`packet::Segment`], or the reason why not.
//! - [`tables`]: the keys and values of the maps, as plain bytes with asserted offsets.
//! - [`classify`]: which connector wins. Pure, over a [`classify::Tables`].
//! - [`budget`]: a token bucket in one word.
//! - [`guard`]: is this SYN dropped? The one place that decides it.
//!
//! The kernel gives these functions its packet and its maps, tests give them slices and hash
//! maps: what is tested is what runs. Nothing here allocates, and nothing knows aya-ebpf; the
//! feature `user` adds `aya::Pod` to the map types for the daemon.
#![no_std]

pub mod address;
pub mod budget;
pub mod classify;
pub mod guard;
pub mod packet;
pub mod tables;
