//! The kernel half: two programs and their maps.
//!
//! A program reads, calls relay-common, counts, and returns; it decides nothing itself. Map names
//! have at most 15 characters, the kernel's limit.
#![feature(asm_experimental_arch)]
#![no_std]
#![no_main]

mod guard;
mod maps;
mod reader;
mod tagger;

use aya_ebpf::bindings::xdp_action;
use aya_ebpf::macros::{sock_ops, xdp};
use aya_ebpf::programs::{SockOpsContext, XdpContext};

/// At `PASSIVE_ESTABLISHED`: stores the tag on the socket that `accept` will return.
#[sock_ops]
pub fn tagger(context: SockOpsContext) -> u32 {
    tagger::tag(&context);
    // With any value other than 1 the kernel would use `reply`, which is not set.
    1
}

/// For each frame of an interface: drops the SYNs that a connector refuses, or that are over its
/// budget. `frags`: frames may span several buffers, as with an MTU larger than a page; the guard
/// reads only the first buffer.
#[xdp(frags)]
pub fn guard(context: XdpContext) -> u32 {
    if guard::passes(&context) { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

/// The verifier proves that no panic is reachable; it refuses endless loops.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel offers some helpers to GPL-compatible programs only; it accepts this string as
/// GPL-compatible. `license` in Cargo.toml says the same: MIT OR GPL-2.0-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
