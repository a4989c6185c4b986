//! The kernel half: two programs and their maps.
//!
//! A program reads, asks relay-common, counts, and returns; it decides nothing by itself. Map
//! names have at most 15 characters, since the kernel keeps no more.
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

/// At `PASSIVE_ESTABLISHED`: leaves the tag on the socket that `accept` will return.
#[sock_ops]
pub fn tagger(context: SockOpsContext) -> u32 {
    tagger::tag(&context);
    // Anything but 1 would make `reply`, which we do not set, an answer to the kernel.
    1
}

/// For each frame of an interface: drops the SYNs that a connector refuses or has no budget for.
/// `frags`: frames may span several buffers, as with an MTU beyond a page; what the guard reads is
/// in the first one.
#[xdp(frags)]
pub fn guard(context: XdpContext) -> u32 {
    if guard::passes(&context) { xdp_action::XDP_PASS } else { xdp_action::XDP_DROP }
}

/// The baseline of `cargo xtask bench kernel`: what a frame costs when nothing is asked of it.
#[xdp]
pub fn empty(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The verifier proves that no panic is reachable; a loop without end is what it refuses.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// The kernel offers some helpers to GPL-compatible programs only, and this is one of the strings
/// that it accepts as such. `license` in Cargo.toml says the same: MIT OR GPL-2.0-only.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
