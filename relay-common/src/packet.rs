//! The bytes of a frame become a TCP segment, or the reason why not.
//!
//! Ethernet with up to two VLAN tags (802.1Q, 802.1ad), IPv4 with options, IPv6 with extension
//! headers, TCP. This module decides only what a segment is. [`crate::guard`] decides whether it is
//! dropped. Frames without a complete TCP header are left to the network stack.
//!
//! The reader checks every bound, so no byte sequence causes a read past the end. In the kernel the
//! verifier enforces this for the kernel's reader.

use crate::address::Address;

/// Reads from a frame; `None` past its end.
pub trait Reader {
    /// The `N` octets at this offset.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;
}

/// A frame in memory.
impl Reader for [u8] {
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..offset.checked_add(N)?)?.try_into().ok()
    }
}

/// The fields of a TCP segment that the guard needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The source address.
    pub remote: Address,
    /// The destination address, on this host.
    pub local: Address,
    /// The destination port, in host byte order.
    pub local_port: u16,
    /// SYN without ACK, RST and FIN: the beginning of a connection. The ECN bits may be set.
    pub opens: bool,
}

/// Why the guard does not check a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSegment {
    /// A fragment. The stack reassembles it; the tagger sees the connection later.
    Fragment,
    /// Neither IPv4 nor IPv6 under at most two VLAN tags.
    NotIp,
    /// IP, but not TCP, or TCP behind more than [`EXTENSION_HEADERS`] extension headers.
    NotTcp,
    /// The frame ends before its headers do, or a length field has an impossible value.
    Truncated,
}

/// VLAN tags that are skipped: 802.1ad outside, 802.1Q inside.
pub const VLAN_TAGS: usize = 2;
/// IPv6 extension headers that are skipped. RFC 8200 section 4.1 lists seven kinds, each of which
/// should occur once; ESP hides the headers behind it.
pub const EXTENSION_HEADERS: usize = 6;

const ETHERNET_OCTETS: usize = 14;
const VLAN_OCTETS: usize = 4;
const IPV4_OCTETS: usize = 20;
const IPV6_OCTETS: usize = 40;

const TYPE_IPV4: u16 = 0x0800;
const TYPE_IPV6: u16 = 0x86dd;
const TYPE_VLAN: u16 = 0x8100;
const TYPE_VLAN_OUTER: u16 = 0x88a8;

const PROTOCOL_TCP: u8 = 6;
const NEXT_HOP_BY_HOP: u8 = 0;
const NEXT_ROUTING: u8 = 43;
const NEXT_FRAGMENT: u8 = 44;
const NEXT_AUTHENTICATION: u8 = 51;
const NEXT_DESTINATION: u8 = 60;
const NEXT_MOBILITY: u8 = 135;

const FLAG_FIN: u8 = 0x01;
const FLAG_SYN: u8 = 0x02;
const FLAG_RST: u8 = 0x04;
const FLAG_ACK: u8 = 0x10;

/// The TCP segment in an Ethernet frame.
#[inline(always)]
pub fn segment<R: Reader + ?Sized>(frame: &R) -> Result<Segment, NotSegment> {
    let mut kind = ethernet_type(frame, ETHERNET_OCTETS - 2)?;
    let mut offset = ETHERNET_OCTETS;
    let mut tags = 0;
    while tags < VLAN_TAGS && (kind == TYPE_VLAN || kind == TYPE_VLAN_OUTER) {
        kind = ethernet_type(frame, offset + 2)?;
        offset += VLAN_OCTETS;
        tags += 1;
    }
    match kind {
        TYPE_IPV4 => ipv4(frame, offset),
        TYPE_IPV6 => ipv6(frame, offset),
        _ => Err(NotSegment::NotIp),
    }
}

#[inline(always)]
fn ethernet_type<R: Reader + ?Sized>(frame: &R, offset: usize) -> Result<u16, NotSegment> {
    frame.read(offset).map(u16::from_be_bytes).ok_or(NotSegment::Truncated)
}

#[inline(always)]
fn ipv4<R: Reader + ?Sized>(frame: &R, offset: usize) -> Result<Segment, NotSegment> {
    let header: [u8; IPV4_OCTETS] = frame.read(offset).ok_or(NotSegment::Truncated)?;
    if header[0] >> 4 != 4 {
        return Err(NotSegment::NotIp);
    }
    if header[9] != PROTOCOL_TCP {
        return Err(NotSegment::NotTcp);
    }
    // The more-fragments flag or an offset: bit 13 and the low 13 bits.
    if u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0 {
        return Err(NotSegment::Fragment);
    }
    let length = usize::from(header[0] & 0x0f) * 4;
    if length < IPV4_OCTETS {
        return Err(NotSegment::Truncated);
    }
    let remote = Address::from_ipv4([header[12], header[13], header[14], header[15]]);
    let local = Address::from_ipv4([header[16], header[17], header[18], header[19]]);
    tcp(frame, offset + length, remote, local)
}

#[inline(always)]
fn ipv6<R: Reader + ?Sized>(frame: &R, offset: usize) -> Result<Segment, NotSegment> {
    let [version, _, _, _, _, _, mut next, _] = frame.read(offset).ok_or(NotSegment::Truncated)?;
    if version >> 4 != 6 {
        return Err(NotSegment::NotIp);
    }
    let remote = Address { octets: frame.read(offset + 8).ok_or(NotSegment::Truncated)? };
    let local = Address { octets: frame.read(offset + 24).ok_or(NotSegment::Truncated)? };
    let mut offset = offset + IPV6_OCTETS;
    let mut headers = 0;
    while next != PROTOCOL_TCP && headers < EXTENSION_HEADERS {
        let [after, length, high, low] = frame.read(offset).ok_or(NotSegment::Truncated)?;
        let units = usize::from(length);
        offset += match next {
            NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_DESTINATION | NEXT_MOBILITY => (units + 1) * 8,
            // RFC 4302 section 2.2: in units of four octets, minus two.
            NEXT_AUTHENTICATION => (units + 2) * 4,
            // An offset or more-fragments. With neither it is an atomic fragment (RFC 6946), which
            // is a complete packet.
            NEXT_FRAGMENT if u16::from_be_bytes([high, low]) & 0xfff9 != 0 => {
                return Err(NotSegment::Fragment);
            }
            NEXT_FRAGMENT => 8,
            _ => return Err(NotSegment::NotTcp),
        };
        next = after;
        headers += 1;
    }
    if next != PROTOCOL_TCP {
        return Err(NotSegment::NotTcp);
    }
    tcp(frame, offset, remote, local)
}

#[inline(always)]
fn tcp<R: Reader + ?Sized>(
    frame: &R,
    offset: usize,
    remote: Address,
    local: Address,
) -> Result<Segment, NotSegment> {
    // The whole fixed header must be present: the stack drops anything shorter.
    let header: [u8; 20] = frame.read(offset).ok_or(NotSegment::Truncated)?;
    if header[12] >> 4 < 5 {
        return Err(NotSegment::Truncated);
    }
    Ok(Segment {
        remote,
        local,
        local_port: u16::from_be_bytes([header[2], header[3]]),
        opens: header[13] & (FLAG_FIN | FLAG_SYN | FLAG_RST | FLAG_ACK) == FLAG_SYN,
    })
}

#[cfg(test)]
mod tests;
