//! The attacker: forged SYNs, as whole frames, at the requested rate and never faster.

use std::io::{self, IoSlice};
use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use socket2::{Domain, SockAddr, Socket, Type};

/// Frames that one system call sends.
const BATCH: usize = 64;
/// Octets of a frame: Ethernet, IPv4 and TCP, without options.
const FRAME: usize = 14 + 20 + 20;

/// The results of the attacker.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flood {
    /// SYNs that the edge's interface accepted.
    pub delivered: u64,
    /// SYNs for which it had no buffer: on hardware, lost in the receive ring.
    pub lost: u64,
    /// Time from the first SYN to the last.
    pub took: Duration,
}

impl Flood {
    /// SYNs sent each second, the lost ones included.
    pub fn rate(&self) -> f64 {
        match self.took.is_zero() {
            true => 0.0,
            false => (self.delivered + self.lost) as f64 / self.took.as_secs_f64(),
        }
    }
}

/// Destination and apparent source of the SYNs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'name> {
    /// Our end of the veth pair, in the namespace of the calling thread.
    pub(super) interface: &'name str,
    /// Hardware address of the edge's end.
    pub(super) hardware: [u8; 6],
    /// The daemon's listener.
    pub(super) server: SocketAddrV4,
    /// First address of the block of forged sources.
    pub(super) sources: Ipv4Addr,
    /// Bits of that block's prefix.
    pub(super) prefix: u32,
}

/// Sends `rate` SYNs a second until `done`, for `limit` at most. All frames use this interface,
/// independent of routes.
pub(super) fn flood(
    target: Target<'_>,
    rate: u32,
    limit: Duration,
    done: &AtomicBool,
) -> io::Result<Flood> {
    let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
    socket.bind(&link_address(name_to_index(socket.as_fd(), target.interface)?)?)?;
    let mut frames = [frame(target); BATCH];
    let mut rng = Rng::new();
    let mut flood = Flood::default();
    let started = Instant::now();
    while !done.load(Ordering::Relaxed) && started.elapsed() < limit {
        let tried = flood.delivered + flood.lost;
        let due = Duration::from_secs_f64(tried as f64 / f64::from(rate));
        if let Some(early) = due.checked_sub(started.elapsed()) {
            sleep(early);
        }
        frames.iter_mut().for_each(|frame| forge(frame, target, &mut rng));
        let mut rest = &frames[..];
        while !rest.is_empty() {
            let sent = send(&socket, rest)?;
            // The sent frames, and the frame at which the call stopped, if any.
            let lost = usize::from(sent < rest.len());
            flood.delivered += sent as u64;
            flood.lost += lost as u64;
            rest = &rest[sent + lost..];
        }
    }
    flood.took = started.elapsed();
    Ok(flood)
}

/// The number of frames that the interface accepted before it refused one.
fn send(socket: &Socket, frames: &[[u8; FRAME]]) -> io::Result<usize> {
    let slices: Vec<_> = frames.iter().map(|frame| [IoSlice::new(frame)]).collect();
    let mut controls: Vec<_> = frames.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<_> =
        slices.iter().zip(&mut controls).map(|(slice, none)| MMsgHdr::new(slice, none)).collect();
    match sendmmsg(socket, &mut messages, SendFlags::empty()) {
        Ok(sent) => Ok(sent),
        Err(Errno::NOBUFS) => Ok(0),
        Err(error) => Err(error.into()),
    }
}

fn link_address(interface: u32) -> io::Result<SockAddr> {
    let index = i32::try_from(interface).map_err(io::Error::other)?;
    // SAFETY: the storage is zeroed, larger than a `sockaddr_ll` and aligned for every address, and
    // the length is that of the written value.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = storage.cast::<libc::sockaddr_ll>();
            (*address).sll_family = libc::AF_PACKET as u16;
            (*address).sll_ifindex = index;
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    Ok(address)
}

/// The part that is the same in all frames.
fn frame(target: Target<'_>) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    frame[..6].copy_from_slice(&target.hardware);
    frame[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 0xff]);
    frame[12..14].copy_from_slice(&[0x08, 0x00]);
    // IPv4: no options, 40 octets, do not fragment, 64 hops, TCP.
    frame[14..24].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6]);
    frame[30..34].copy_from_slice(&target.server.ip().octets());
    frame[36..38].copy_from_slice(&target.server.port().to_be_bytes());
    // TCP: no options, SYN, a window.
    frame[46..50].copy_from_slice(&[0x50, 0x02, 0xff, 0xff]);
    frame
}

/// Writes another source, port and sequence number into a frame, and the correct checksums.
fn forge(frame: &mut [u8; FRAME], target: Target<'_>, rng: &mut Rng) {
    let source = target.sources.to_bits() | (rng.u32(..) >> target.prefix);
    frame[24..26].fill(0);
    frame[26..30].copy_from_slice(&source.to_be_bytes());
    let header = checksum(0, &frame[14..34]);
    frame[24..26].copy_from_slice(&header.to_be_bytes());
    frame[34..36].copy_from_slice(&rng.u16(1024..).to_be_bytes());
    frame[38..42].copy_from_slice(&rng.u32(..).to_be_bytes());
    frame[50..52].fill(0);
    // The pseudo header: both addresses, the protocol, and the segment's length.
    let segment = checksum(6 + 20, &frame[26..]);
    frame[50..52].copy_from_slice(&segment.to_be_bytes());
}

/// The Internet checksum (RFC 1071) of an even number of octets, `sum` added.
fn checksum(sum: u32, octets: &[u8]) -> u16 {
    let words =
        octets.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum = sum + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forged_frames_are_whole_and_from_the_block() {
        let server = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 25);
        let (sources, prefix) = (Ipv4Addr::new(198, 18, 0, 0), 15);
        let target =
            Target { interface: "", hardware: [2, 0, 0, 0, 0, 1], server, sources, prefix };
        let mut frame = frame(target);
        let mut rng = Rng::with_seed(1);
        for _ in 0..100 {
            forge(&mut frame, target, &mut rng);
            assert_eq!(frame[26], 198);
            assert!((18..=19).contains(&frame[27]));
            // With a correct checksum the sum over all words, the checksum included, is all ones.
            assert_eq!(checksum(0, &frame[14..34]), 0);
            assert_eq!(checksum(6 + 20, &frame[26..]), 0);
        }
    }
}
