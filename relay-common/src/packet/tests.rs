//! Frames of every header shape, whole and truncated at every octet.

extern crate std;

use core::net::IpAddr;
use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

const SYN: u8 = 0x02;

/// A frame under construction: the headers in order; each gets the protocol number of the next.
struct Frame {
    vlans: Vec<u16>,
    ip: Ip,
    flags: u8,
}

enum Ip {
    V4 { options: usize, fragment: u16 },
    V6 { extensions: Vec<Extension> },
}

#[derive(Clone, Copy, Debug)]
enum Extension {
    Options(u8, u8),
    Fragment(u16),
    Authentication(u8),
}

impl Extension {
    fn number(self) -> u8 {
        match self {
            Self::Options(number, _) => number,
            Self::Fragment(_) => NEXT_FRAGMENT,
            Self::Authentication(_) => NEXT_AUTHENTICATION,
        }
    }

    fn octets(self, next: u8) -> Vec<u8> {
        let mut octets = vec![next];
        match self {
            Self::Options(_, units) => {
                octets.push(units);
                octets.resize((usize::from(units) + 1) * 8, 0);
            }
            Self::Fragment(word) => {
                octets.push(0);
                octets.extend(word.to_be_bytes());
                octets.resize(8, 0);
            }
            Self::Authentication(units) => {
                octets.push(units);
                octets.resize((usize::from(units) + 2) * 4, 0);
            }
        }
        octets
    }
}

impl Frame {
    fn v4() -> Self {
        Self { vlans: vec![], ip: Ip::V4 { options: 0, fragment: 0 }, flags: SYN }
    }

    fn v6(extensions: &[Extension]) -> Self {
        Self { vlans: vec![], ip: Ip::V6 { extensions: extensions.to_vec() }, flags: SYN }
    }

    fn octets(&self) -> Vec<u8> {
        let mut frame = vec![0x02; 12];
        for vlan in &self.vlans {
            frame.extend(vlan.to_be_bytes());
            frame.extend([0, 42]);
        }
        match &self.ip {
            Ip::V4 { options, fragment } => {
                frame.extend(TYPE_IPV4.to_be_bytes());
                let mut header = [0; IPV4_OCTETS];
                header[0] = 0x40 | (5 + options / 4) as u8;
                header[6..8].copy_from_slice(&fragment.to_be_bytes());
                header[9] = PROTOCOL_TCP;
                header[12..16].copy_from_slice(&[192, 0, 2, 7]);
                header[16..20].copy_from_slice(&[198, 51, 100, 1]);
                frame.extend(header);
                frame.resize(frame.len() + options, 1);
            }
            Ip::V6 { extensions } => {
                frame.extend(TYPE_IPV6.to_be_bytes());
                let mut header = [0; IPV6_OCTETS];
                header[0] = 0x60;
                header[6] = extensions.first().map_or(PROTOCOL_TCP, |first| first.number());
                header[8..24].copy_from_slice(&address("2001:db8::7").octets);
                header[24..40].copy_from_slice(&address("2001:db8::1").octets);
                frame.extend(header);
                for (index, extension) in extensions.iter().enumerate() {
                    let next = extensions.get(index + 1).map_or(PROTOCOL_TCP, |e| e.number());
                    frame.extend(extension.octets(next));
                }
            }
        }
        let mut tcp = [0; 20];
        tcp[2..4].copy_from_slice(&25u16.to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = self.flags;
        frame.extend(tcp);
        frame
    }
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn expected(ipv4: bool) -> Segment {
    let (remote, local) =
        if ipv4 { ("192.0.2.7", "198.51.100.1") } else { ("2001:db8::7", "2001:db8::1") };
    Segment { remote: address(remote), local: address(local), local_port: 25, opens: true }
}

/// Every shape that is a segment, with its family.
fn shapes() -> Vec<(Frame, bool)> {
    let vlans = [vec![], vec![TYPE_VLAN], vec![TYPE_VLAN_OUTER], vec![TYPE_VLAN_OUTER, TYPE_VLAN]];
    let extensions = [
        vec![],
        vec![Extension::Options(NEXT_HOP_BY_HOP, 0)],
        vec![Extension::Options(NEXT_ROUTING, 4), Extension::Options(NEXT_DESTINATION, 31)],
        vec![Extension::Authentication(4)],
        vec![Extension::Fragment(0)],
        vec![Extension::Options(NEXT_DESTINATION, 0); EXTENSION_HEADERS],
        vec![Extension::Options(NEXT_MOBILITY, 255), Extension::Fragment(0x0006)],
    ];
    let mut shapes = vec![];
    for vlans in vlans {
        for options in (0..=40).step_by(4) {
            let ip = Ip::V4 { options, fragment: 0x4000 };
            shapes.push((Frame { vlans: vlans.clone(), ip, flags: SYN }, true));
        }
        for extensions in &extensions {
            let mut frame = Frame::v6(extensions);
            frame.vlans = vlans.clone();
            shapes.push((frame, false));
        }
    }
    shapes
}

#[test]
fn every_shape_is_parsed_and_every_truncation_is_not() {
    for (frame, ipv4) in shapes() {
        let octets = frame.octets();
        assert_eq!(segment(&octets[..]), Ok(expected(ipv4)));
        for length in 0..octets.len() {
            assert_eq!(segment(&octets[..length]), Err(NotSegment::Truncated), "{length}");
        }
    }
}

#[test]
fn only_a_syn_begins_a_connection() {
    for flags in 0..=255u8 {
        let frame = Frame { flags, ..Frame::v4() };
        let opens = segment(&frame.octets()[..]).unwrap().opens;
        assert_eq!(opens, flags & 0x17 == SYN, "{flags:#x}");
    }
    // ECN set-up: ECE and CWR with the SYN (RFC 3168 section 6.1.1).
    assert!(segment(&Frame { flags: 0xc2, ..Frame::v4() }.octets()[..]).unwrap().opens);
}

#[test]
fn fragments_are_recognized() {
    for fragment in [0x2000, 0x0001, 0x1fff, 0x3fff] {
        let frame = Frame { ip: Ip::V4 { options: 0, fragment }, ..Frame::v4() };
        assert_eq!(segment(&frame.octets()[..]), Err(NotSegment::Fragment), "{fragment:#x}");
    }
    for word in [0x0001, 0x0008, 0xfff8] {
        let frame = Frame::v6(&[Extension::Fragment(word)]);
        assert_eq!(segment(&frame.octets()[..]), Err(NotSegment::Fragment), "{word:#x}");
    }
}

#[test]
fn other_frames_have_a_reason() {
    let mut frame = Frame::v4().octets();
    frame[23] = 17;
    assert_eq!(segment(&frame[..]), Err(NotSegment::NotTcp), "UDP");
    let mut frame = Frame::v4().octets();
    frame[12..14].copy_from_slice(&0x0806u16.to_be_bytes());
    assert_eq!(segment(&frame[..]), Err(NotSegment::NotIp), "ARP");
    let mut frame = Frame::v4().octets();
    frame[14] = 0x44;
    assert_eq!(segment(&frame[..]), Err(NotSegment::Truncated), "IPv4 header of 16 octets");
    let mut frame = Frame::v4().octets();
    frame[14] = 0x65;
    assert_eq!(segment(&frame[..]), Err(NotSegment::NotIp), "type and version disagree");
    let mut frame = Frame::v4().octets();
    frame[46] = 4 << 4;
    assert_eq!(segment(&frame[..]), Err(NotSegment::Truncated), "TCP header of 16 octets");
    let mut frame = Frame::v4();
    frame.vlans = vec![TYPE_VLAN_OUTER, TYPE_VLAN, TYPE_VLAN];
    assert_eq!(segment(&frame.octets()[..]), Err(NotSegment::NotIp), "a third tag");
    let many = [Extension::Options(NEXT_DESTINATION, 0); EXTENSION_HEADERS + 1];
    assert_eq!(segment(&Frame::v6(&many).octets()[..]), Err(NotSegment::NotTcp));
    for next in [50, 59, 17, 58] {
        let frame = Frame::v6(&[Extension::Options(next, 0)]);
        assert_eq!(segment(&frame.octets()[..]), Err(NotSegment::NotTcp), "next header {next}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(mut octets in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..4usize) {
        // Random bytes are rarely IP: steer some of them there.
        if octets.len() > 14 {
            match kind {
                0 => octets[12..14].copy_from_slice(&TYPE_IPV4.to_be_bytes()),
                1 => octets[12..14].copy_from_slice(&TYPE_IPV6.to_be_bytes()),
                2 => octets[12..14].copy_from_slice(&TYPE_VLAN.to_be_bytes()),
                _ => {}
            }
        }
        let _ = segment(&octets[..]);
    }

    #[test]
    fn a_changed_octet_never_moves_the_addresses(octet in 14usize..74, value: u8) {
        // For any value in the headers, a segment's addresses are those of the IP header.
        let mut frame = Frame::v6(&[]).octets();
        frame[octet] = value;
        if let Ok(segment) = segment(&frame[..]) {
            prop_assert_eq!(&segment.remote.octets[..], &frame[22..38]);
            prop_assert_eq!(&segment.local.octets[..], &frame[38..54]);
        }
    }
}
