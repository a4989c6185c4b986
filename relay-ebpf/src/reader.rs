//! The reader of a frame that the verifier accepts.

use core::ptr;

use aya_ebpf::programs::XdpContext;
use relay_common::packet::Reader;

/// No header begins at a larger offset in a frame. The verifier needs this bound.
const OFFSET_MAX: usize = 0x3fff;

/// The linear part of a frame. It contains all headers; only payload can be outside it.
pub struct Frame {
    start: usize,
    end: usize,
}

impl Frame {
    #[inline(always)]
    pub fn new(context: &XdpContext) -> Self {
        Self { start: context.data(), end: context.data_end() }
    }
}

impl Reader for Frame {
    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > OFFSET_MAX {
            return None;
        }
        let start = self.start + offset;
        if start + N > self.end {
            return None;
        }
        // SAFETY: the N octets lie before the frame's end, as just compared.
        Some(unsafe { ptr::read_unaligned(start as *const [u8; N]) })
    }
}
