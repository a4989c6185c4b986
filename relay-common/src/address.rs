//! Every address as 128 bits.
//!
//! IPv4 is written as IPv4-mapped IPv6 (RFC 4291 section 2.5.5.2). So one trie serves both
//! families, and an IPv4 peer has the same address on a dual-stack socket as on an IPv4 socket.

use core::net::{IpAddr, Ipv6Addr};

/// An address of either family, in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// The octets. A dump of a map prints this name.
    pub octets: [u8; 16],
}

const _: () = assert!(size_of::<Address>() == 16 && align_of::<Address>() == 1);

impl Address {
    /// `::`, which as a binding's address means every local IPv6 address.
    pub const ANY_IPV6: Self = Self { octets: [0; 16] };
    /// `0.0.0.0`, which as a binding's address means every local IPv4 address.
    pub const ANY_IPV4: Self = Self::from_ipv4([0; 4]);

    /// An IPv4 address.
    #[inline(always)]
    pub const fn from_ipv4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self { octets: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] }
    }

    /// Was this written by [`Address::from_ipv4`], or by an IPv6 socket for an IPv4 peer?
    #[inline(always)]
    pub fn is_ipv4(&self) -> bool {
        let (high, low) = self.halves();
        high == 0 && low >> 32 == 0xffff
    }

    /// The wildcard of this address's family. A binding has one family, so `::` never stands for
    /// an IPv4 address.
    #[inline(always)]
    pub fn wildcard(&self) -> Self {
        if self.is_ipv4() { Self::ANY_IPV4 } else { Self::ANY_IPV6 }
    }

    /// The address for which a source's budget counts: an IPv4 address itself, and the /64 of an
    /// IPv6 address, since one host can use all of it.
    #[inline(always)]
    pub fn source(&self) -> Self {
        if self.is_ipv4() {
            return *self;
        }
        let mut octets = self.octets;
        let mut index = 8;
        while index < 16 {
            octets[index] = 0;
            index += 1;
        }
        Self { octets }
    }

    /// The network with this number of leading bits that contains the address, counted in its own
    /// family. A larger number than the address has bits means all bits.
    pub fn network(&self, bits: u32) -> Self {
        let mapped = if self.is_ipv4() { 96 } else { 0 };
        let host = 128u32.saturating_sub(bits.saturating_add(mapped));
        let number = u128::from_be_bytes(self.octets);
        let network = u128::MAX.checked_shl(host).map_or(0, |mask| number & mask);
        Self { octets: network.to_be_bytes() }
    }

    #[inline(always)]
    fn halves(&self) -> (u64, u64) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = self.octets;
        (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]))
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::from_ipv4(address.octets()),
            IpAddr::V6(address) => Self { octets: address.octets() },
        }
    }
}

/// An IPv4-mapped address becomes an IPv4 address.
impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        Self::V6(Ipv6Addr::from(address.octets)).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_survive_the_round_trip() {
        for text in ["192.0.2.7", "0.0.0.0", "255.255.255.255", "::", "::1", "2001:db8::7"] {
            let address: IpAddr = text.parse().unwrap();
            assert_eq!(IpAddr::from(Address::from(address)), address);
            assert_eq!(Address::from(address).is_ipv4(), address.is_ipv4(), "{text}");
        }
    }

    #[test]
    fn a_mapped_address_is_the_ipv4_address() {
        let mapped: IpAddr = "::ffff:192.0.2.7".parse().unwrap();
        let plain: IpAddr = "192.0.2.7".parse().unwrap();
        assert_eq!(Address::from(mapped), Address::from(plain));
        assert_eq!(Address::from(plain).wildcard(), Address::ANY_IPV4);
        assert_eq!(Address::from(mapped).wildcard(), Address::ANY_IPV4);
    }

    #[test]
    fn a_network_keeps_its_leading_bits() {
        for (address, bits, network) in [
            ("2001:db8:1:2:3:4:5:6", 48, "2001:db8:1::"),
            ("2001:db8:1:2ff:3::", 56, "2001:db8:1:200::"),
            ("2001:db8::1", 0, "::"),
            ("2001:db8::1", 128, "2001:db8::1"),
            ("192.0.2.77", 24, "192.0.2.0"),
            ("::ffff:192.0.2.77", 24, "192.0.2.0"),
            ("192.0.2.77", 32, "192.0.2.77"),
            ("192.0.2.77", 99, "192.0.2.77"),
        ] {
            let [address, network] =
                [address, network].map(|text| Address::from(text.parse::<IpAddr>().unwrap()));
            assert_eq!(address.network(bits), network, "{bits}");
        }
    }

    #[test]
    fn an_ipv6_source_is_its_64() {
        let source = |text: &str| Address::from(text.parse::<IpAddr>().unwrap()).source();
        assert_eq!(source("2001:db8:1:2:3:4:5:6"), source("2001:db8:1:2:ffff::"));
        assert_ne!(source("2001:db8:1:2::"), source("2001:db8:1:3::"));
        assert_ne!(source("192.0.2.1"), source("192.0.2.2"));
    }
}
