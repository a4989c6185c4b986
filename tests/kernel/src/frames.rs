//! Frames for the kernel's test-run facility.

use std::net::{IpAddr, SocketAddr};

/// TCP flag of the first segment of a connection.
pub const SYN: u8 = 0x02;
/// TCP flag of every other segment.
pub const ACK: u8 = 0x10;

/// An Ethernet frame with a TCP segment from this address to that one.
pub fn tcp(remote: IpAddr, local: SocketAddr, flags: u8) -> Vec<u8> {
    tcp_behind(&[], remote, local, flags)
}

/// The same behind VLAN tags of these types.
pub fn tcp_behind(tags: &[u16], remote: IpAddr, local: SocketAddr, flags: u8) -> Vec<u8> {
    let mut frame = vec![0x02; 12];
    for tag in tags {
        frame.extend(tag.to_be_bytes());
        frame.extend([0, 42]);
    }
    match (remote, local.ip()) {
        (IpAddr::V4(remote), IpAddr::V4(local)) => {
            frame.extend([0x08, 0x00, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
            frame.extend(remote.octets());
            frame.extend(local.octets());
        }
        (IpAddr::V6(remote), IpAddr::V6(local)) => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, 6, 64]);
            frame.extend(remote.octets());
            frame.extend(local.octets());
        }
        pair => panic!("two families: {pair:?}"),
    }
    frame.extend([0x80, 0]);
    frame.extend(local.port().to_be_bytes());
    frame.extend([0; 8]);
    frame.extend([0x50, flags, 0, 0, 0, 0, 0, 0]);
    frame
}
