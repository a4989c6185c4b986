//! Addresses that are not of the Internet at large: one list, with the source of each entry.
//!
//! Two questions are answered from it. Whose addresses are these, when a connector trusts them:
//! [`is_of_this_site`]. And may a stranger's DNS record lead our connection there: [`is_for_mail`].
//! The list follows IANA's IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and its
//! successors) and the IPv6 address space as it is assigned (RFC 4291 section 2.4).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Why addresses are special.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Of this host, this link or this site: no stranger has one.
    Site,
    /// Not for connections between hosts of the Internet: shared, reserved, documentation, tests,
    /// multicast. A stranger may have one all the same.
    Special,
    /// Holds an IPv4 address, which a relay or translator of ours would connect to.
    Transition,
}

use Kind::{Site, Special, Transition};

struct Block {
    first: u128,
    bits: u32,
    kind: Kind,
}

/// Each entry with its source.
const BLOCKS: &[Block] = &[
    v4([0, 0, 0, 0], 8, Special),       // this network, RFC 791 section 3.2
    v4([10, 0, 0, 0], 8, Site),         // RFC 1918
    v4([100, 64, 0, 0], 10, Special),   // shared with a carrier's customers, RFC 6598
    v4([127, 0, 0, 0], 8, Site),        // loopback, RFC 1122 section 3.2.1.3
    v4([169, 254, 0, 0], 16, Site),     // link-local, RFC 3927
    v4([172, 16, 0, 0], 12, Site),      // RFC 1918
    v4([192, 0, 0, 0], 24, Special),    // IETF protocol assignments, RFC 6890
    v4([192, 0, 2, 0], 24, Special),    // documentation, RFC 5737
    v4([192, 88, 99, 0], 24, Special),  // relays of 6to4, RFC 7526
    v4([192, 168, 0, 0], 16, Site),     // RFC 1918
    v4([198, 18, 0, 0], 15, Special),   // benchmarks, RFC 2544
    v4([198, 51, 100, 0], 24, Special), // documentation, RFC 5737
    v4([203, 0, 113, 0], 24, Special),  // documentation, RFC 5737
    v4([224, 0, 0, 0], 4, Special),     // multicast, RFC 5771
    v4([240, 0, 0, 0], 4, Special),     // reserved, RFC 1112 section 4; limited broadcast
    v6([0; 8], 96, Transition),         // IPv4-compatible, RFC 4291 section 2.5.5.1; unspecified
    v6([0, 0, 0, 0, 0, 0, 0, 1], 128, Site), // loopback, RFC 4291 section 2.5.3
    v6([0, 0, 0, 0, 0xffff, 0, 0, 0], 96, Transition), // IPv4-translated, RFC 2765 section 2.1
    v6([0x64, 0xff9b, 0, 0, 0, 0, 0, 0], 96, Transition), // NAT64, RFC 6052
    v6([0x64, 0xff9b, 1, 0, 0, 0, 0, 0], 48, Transition), // NAT64 of one's own, RFC 8215
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64, Special), // discard-only, RFC 6666
    v6([0x2001, 0, 0, 0, 0, 0, 0, 0], 23, Special), // IETF: Teredo (RFC 4380), ORCHID, benchmarks
    v6([0x2001, 0xdb8, 0, 0, 0, 0, 0, 0], 32, Special), // documentation, RFC 3849
    v6([0x2002, 0, 0, 0, 0, 0, 0, 0], 16, Transition), // 6to4, RFC 3056
    v6([0x3fff, 0, 0, 0, 0, 0, 0, 0], 20, Special), // documentation, RFC 9637
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7, Site), // unique local, RFC 4193
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10, Site), // link-local, RFC 4291 section 2.5.6
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10, Special), // site-local, deprecated by RFC 3879
];

/// IPv6 addresses outside are of no host of the Internet (RFC 4291 section 2.4).
const GLOBAL_UNICAST: Block = v6([0x2000, 0, 0, 0, 0, 0, 0, 0], 3, Special);

const fn v4(first: [u8; 4], bits: u32, kind: Kind) -> Block {
    let first = Ipv4Addr::new(first[0], first[1], first[2], first[3]);
    Block { first: first.to_ipv6_mapped().to_bits(), bits: 96 + bits, kind }
}

const fn v6(segments: [u16; 8], bits: u32, kind: Kind) -> Block {
    let [a, b, c, d, e, f, g, h] = segments;
    Block { first: Ipv6Addr::new(a, b, c, d, e, f, g, h).to_bits(), bits, kind }
}

impl Block {
    fn last(&self) -> u128 {
        self.first | u128::MAX.checked_shr(self.bits).unwrap_or(0)
    }

    fn holds(&self, address: u128) -> bool {
        self.first <= address && address <= self.last()
    }
}

/// Are all addresses of this range of this host, link or site, so that no stranger connects from
/// one? IPv4 is written as 128 bits, v4-mapped. Not the shared space of RFC 6598, whose other side
/// is a carrier's customers.
pub fn is_of_this_site(low: u128, high: u128) -> bool {
    BLOCKS.iter().any(|block| block.kind == Site && block.holds(low) && block.holds(high))
}

/// May a stranger's DNS record send our mail to this address? Everything that not every host can
/// reach belongs to us or to our neighbours, and nobody outside decides about that.
pub fn is_for_mail(address: IpAddr) -> bool {
    let bits = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    };
    if BLOCKS.iter().any(|block| block.holds(bits)) {
        return false;
    }
    match address.to_canonical() {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => {
            GLOBAL_UNICAST.holds(bits) && isatap(v6).is_none_or(|v4| is_for_mail(v4.into()))
        }
    }
}

/// The IPv4 address in an ISATAP interface identifier (RFC 5214 section 6.1), under any prefix.
fn isatap(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [.., universal, marker, high, low] = address.segments();
    // The bit says whether the IPv4 address is unique in the world.
    let is_isatap = universal & !0x0200 == 0 && marker == 0x5efe;
    is_isatap.then(|| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
}

#[cfg(test)]
mod tests {
    use crate::address_space::*;

    #[test]
    fn no_record_leads_to_special_addresses() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.7",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::7f00:1",
            "::8.8.8.8",
            "::ffff:127.0.0.1",
            "::ffff:192.168.1.1",
            "::ffff:0:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::a00:1",
            "64:ff9b:1:ffff::1",
            "100::1",
            "100:0:0:1::1",
            "2001::1",
            "2001:0:4136:e378:8000:63bf:3fff:fdd2",
            "2001:2::1",
            "2001:10::1",
            "2001:20::1",
            "2001:1ff:ffff::1",
            "2001:db8::1",
            "2002:7f00:1::1",
            "2002:808:808::1",
            "3fff::1",
            "3fff:fff:ffff::1",
            "5f00::1",
            "4000::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "2a00:1450::5efe:10.0.0.1",
            "2a00:1450::200:5efe:127.0.0.1",
        ] {
            assert!(!is_for_mail(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn the_internet_is_for_mail() {
        for text in [
            "1.1.1.1",
            "8.8.8.8",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.0.3.1",
            "192.88.98.1",
            "192.167.0.1",
            "192.169.0.1",
            "198.17.255.255",
            "198.20.0.1",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "2001:200::1",
            "2001:4860:4860::8888",
            "2001:db9::1",
            "2003::1",
            "2600::1",
            "2a00:1450::1",
            "3ffe::1",
            "2a00:1450::5efe:8.8.8.8",
            "2a00:1450::1:5efe:10.0.0.1",
        ] {
            assert!(is_for_mail(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn blocks_begin_where_their_prefix_ends() {
        for block in BLOCKS {
            let first = Ipv6Addr::from_bits(block.first);
            let host = u128::MAX.checked_shr(block.bits).unwrap_or(0);
            assert_eq!(block.first & host, 0, "{first}/{}", block.bits);
        }
    }

    #[test]
    fn a_range_is_of_this_site_as_a_whole_or_not() {
        let bits = |text: &str| match text.parse::<IpAddr>().unwrap() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
            IpAddr::V6(v6) => v6.to_bits(),
        };
        for (low, high, expected) in [
            ("10.0.0.0", "10.255.255.255", true),
            ("10.0.0.0", "11.0.0.0", false),
            ("192.168.1.7", "192.168.1.7", true),
            ("100.64.0.0", "100.64.0.0", false),
            ("198.18.0.1", "198.18.0.1", false),
            ("::1", "::1", true),
            ("fd00::", "fdff::", true),
            ("fec0::1", "fec0::1", false),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false),
        ] {
            assert_eq!(is_of_this_site(bits(low), bits(high)), expected, "{low}-{high}");
        }
    }
}
