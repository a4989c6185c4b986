//! Ranges of remote addresses, and the aligned blocks of a range.
//!
//! Addresses are compared as 128-bit numbers, IPv4 as `::ffff:a.b.c.d`. A range has one family, and
//! is only compared with addresses of that family: see [`super::table`].

use crate::ClientAddress;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

/// One entry of `remote_ip_ranges`: every address from `low` to `high`, both included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    low: u128,
    high: u128,
    family: Family,
    text: Box<str>,
    /// Its line in the configuration; 0 if it was not read from a file.
    pub line: u32,
}

/// An aligned block of addresses: a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Block {
    /// The first address; IPv4 is v4-mapped.
    pub address: Ipv6Addr,
    /// The number of leading bits of `address`, 0 to 128; 96 more than in IPv4 notation.
    pub bits: u8,
}

/// Why a text is not a range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not an address, a range or a prefix.
    #[error("`{0}` is not an address")]
    NotAnAddress(String),
    /// The number after the slash.
    #[error("`{prefix}` is not a prefix length of {address}")]
    PrefixLength {
        /// The address before the slash.
        address: IpAddr,
        /// The text after the slash.
        prefix: String,
    },
    /// `10.0.0.9-10.0.0.1`.
    #[error("the range ends before it begins")]
    Reversed {
        /// The first address.
        from: IpAddr,
        /// The second address.
        to: IpAddr,
    },
    /// `10.0.0.1-2001:db8::1`.
    #[error("the range begins with one address family and ends with the other")]
    TwoFamilies,
    /// `fe80::1%eth0`: the kernel compares addresses, and the zone is not part of an address.
    #[error("`{0}` has a zone id, which is no part of an address on the wire")]
    ZoneId(String),
    /// `::ffff:10.0.0.1`: a second notation of an IPv4 address that would never match.
    #[error("`{0}` is an IPv4 address written as IPv6")]
    MappedIpv4(Ipv6Addr),
    /// A single `0.0.0.0` or `::` is an address that no client has, and probably meant as all
    /// addresses.
    #[error("`{0}` is a single address that no client can have")]
    Unspecified(IpAddr),
}

impl Family {
    /// `0.0.0.0` or `::`.
    pub const fn unspecified(self) -> IpAddr {
        match self {
            Self::Ipv4 => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            Self::Ipv6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        }
    }

    /// IPv6 for IPv4, and the other way round.
    pub const fn other(self) -> Self {
        match self {
            Self::Ipv4 => Self::Ipv6,
            Self::Ipv6 => Self::Ipv4,
        }
    }

    /// The family of an address; v4-mapped IPv6 counts as IPv4.
    pub const fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(_) => Self::Ipv4,
            IpAddr::V6(_) => Self::Ipv6,
        }
    }
}

/// An address as the number with which ranges compare it; IPv4 is v4-mapped.
pub fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

impl Range {
    /// The lowest address as a number, v4-mapped for IPv4.
    pub const fn low(&self) -> u128 {
        self.low
    }

    /// The highest address as a number, v4-mapped for IPv4.
    pub const fn high(&self) -> u128 {
        self.high
    }

    /// The family of all its addresses.
    pub const fn family(&self) -> Family {
        self.family
    }

    /// The range as it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Is this address in the range?
    ///
    /// ```
    /// use relay_connector::Range;
    ///
    /// let range: Range = "10.38.96.15-10.38.97.255".parse().unwrap();
    /// assert!(range.contains("10.38.97.1".parse().unwrap()));
    /// // A socket for both families shows an IPv4 client as IPv6; the client is the same.
    /// assert!(range.contains("::ffff:10.38.97.1".parse().unwrap()));
    /// // All IPv6 addresses include no IPv4 client.
    /// let everyone: Range = "::/0".parse().unwrap();
    /// assert!(!everyone.contains("10.38.97.1".parse().unwrap()));
    /// ```
    pub fn contains(&self, address: ClientAddress) -> bool {
        Family::of(address.ip()) == self.family
            && (self.low..=self.high).contains(&number_of(address.ip()))
    }

    /// The maximal aligned blocks of the range, in ascending order. At most 254.
    pub fn blocks(&self) -> impl Iterator<Item = Block> + use<> {
        let high = self.high;
        let mut next = Some(self.low);
        std::iter::from_fn(move || {
            let low = next?;
            let (block, last) = largest_block(low, high);
            next = (last < high).then(|| last + 1);
            Some(block)
        })
    }
}

/// The largest aligned block that begins at `low` and does not exceed `high`, and its last address.
fn largest_block(low: u128, high: u128) -> (Block, u128) {
    let aligned = low.trailing_zeros();
    let fits = match (high - low).checked_add(1) {
        Some(count) => count.ilog2(),
        None => u128::BITS,
    };
    let free_bits = aligned.min(fits);
    let last = low | u128::MAX.checked_shr(u128::BITS - free_bits).unwrap_or(0);
    // At most 128.
    let bits = (u128::BITS - free_bits) as u8;
    (Block { address: Ipv6Addr::from_bits(low), bits }, last)
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (low, high, family) = if let Some((from, to)) = text.split_once('-') {
            between(address(from)?, address(to)?)?
        } else if let Some((start, prefix)) = text.split_once('/') {
            prefixed(address(start)?, prefix.trim())?
        } else {
            let address = address(text)?;
            if address.is_unspecified() {
                return Err(RangeError::Unspecified(address));
            }
            (number_of(address), number_of(address), Family::of(address))
        };
        Ok(Self { low, high, family, text: text.into(), line: 0 })
    }
}

fn address(text: &str) -> Result<IpAddr, RangeError> {
    let text = text.trim();
    if text.contains('%') {
        return Err(RangeError::ZoneId(text.to_owned()));
    }
    match text.parse() {
        Ok(IpAddr::V6(address)) if address.to_ipv4_mapped().is_some() => {
            Err(RangeError::MappedIpv4(address))
        }
        Ok(address) => Ok(address),
        Err(_) => Err(RangeError::NotAnAddress(text.to_owned())),
    }
}

fn between(from: IpAddr, to: IpAddr) -> Result<(u128, u128, Family), RangeError> {
    if from.is_ipv4() != to.is_ipv4() {
        return Err(RangeError::TwoFamilies);
    }
    let (low, high) = (number_of(from), number_of(to));
    if low > high {
        return Err(RangeError::Reversed { from, to });
    }
    Ok((low, high, Family::of(from)))
}

/// Host bits may be set: Exchange's own documentation writes `192.168.1.1/24`.
fn prefixed(address: IpAddr, prefix: &str) -> Result<(u128, u128, Family), RangeError> {
    let wrong = || RangeError::PrefixLength { address, prefix: prefix.to_owned() };
    let network =
        ipnet::IpNet::new(address, prefix.parse().map_err(|_| wrong())?).map_err(|_| wrong())?;
    Ok((number_of(network.network()), number_of(network.broadcast()), Family::of(address)))
}

impl RangeError {
    /// The remedy.
    pub fn mend(&self) -> String {
        match self {
            Self::NotAnAddress(_) => "write an address (`10.0.0.1`), a range \
                 (`10.0.0.1-10.0.0.9`) or a prefix (`10.0.0.0/24`)"
                .to_owned(),
            Self::PrefixLength { address, .. } => {
                let longest = if address.is_ipv4() { 32 } else { 128 };
                format!("write a number from 0 to {longest} after the slash")
            }
            Self::Reversed { from, to } => format!("write `{to}-{from}`"),
            Self::TwoFamilies => "write one range for IPv4 and one for IPv6".to_owned(),
            Self::ZoneId(text) => {
                let address = text.split('%').next().unwrap_or_default();
                format!("leave the zone out: `{address}`")
            }
            Self::MappedIpv4(address) => match address.to_ipv4_mapped() {
                Some(ipv4) => format!("write `{ipv4}`"),
                None => "write the IPv4 address".to_owned(),
            },
            Self::Unspecified(address) => {
                format!("for every address write `{address}/0`")
            }
        }
    }
}

/// As it was written.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// In the notation of the family: `10.0.0.0/8`, `2001:db8::/32`.
impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address.to_ipv4_mapped() {
            Some(address) if self.bits >= 96 => write!(f, "{address}/{}", self.bits - 96),
            _ => write!(f, "{}/{}", self.address, self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::range::*;

    fn blocks(text: &str) -> Vec<String> {
        text.parse::<Range>().unwrap().blocks().map(|block| block.to_string()).collect()
    }

    #[test]
    fn every_notation_becomes_the_same_thing() {
        for text in ["10.0.0.0/24", "10.0.0.77/24", "10.0.0.0-10.0.0.255", " 10.0.0.0 - 10.0.0.255"]
        {
            assert_eq!(blocks(text), ["10.0.0.0/24"], "{text}");
        }
        assert_eq!(blocks("2001:0DB8::CD3/60"), ["2001:db8::/60"]);
        assert_eq!(blocks("10.1.2.3"), ["10.1.2.3/32"]);
        assert_eq!(blocks("0.0.0.0-255.255.255.255"), ["0.0.0.0/0"]);
        assert_eq!(blocks("::/0"), ["::/0"]);
        assert_eq!(
            blocks("10.0.0.1-10.0.0.6").join(" "),
            "10.0.0.1/32 10.0.0.2/31 10.0.0.4/31 10.0.0.6/32"
        );
    }

    #[test]
    fn an_invalid_range_has_an_error_with_a_remedy() {
        for (text, problem, mend) in [
            ("10.0.0", "`10.0.0` is not an address", "`10.0.0.1-10.0.0.9`"),
            ("mail.example", "`mail.example` is not an address", "an address (`10.0.0.1`)"),
            ("10.0.0.0/33", "`33` is not a prefix length of 10.0.0.0", "from 0 to 32"),
            ("2001:db8::/129", "`129` is not a prefix length of 2001:db8::", "from 0 to 128"),
            ("10.0.0.0/", "`` is not a prefix length", "from 0 to 32"),
            ("10.0.0.9-10.0.0.1", "ends before it begins", "write `10.0.0.1-10.0.0.9`"),
            ("10.0.0.1-2001:db8::1", "one address family and ends with the other", "one for IPv6"),
            ("fe80::1%11", "`fe80::1%11` has a zone id", "leave the zone out: `fe80::1`"),
            ("::ffff:10.0.0.1", "an IPv4 address written as IPv6", "write `10.0.0.1`"),
            ("0.0.0.0", "a single address that no client can have", "write `0.0.0.0/0`"),
            ("::", "a single address that no client can have", "write `::/0`"),
        ] {
            let error = text.parse::<Range>().unwrap_err();
            assert!(error.to_string().contains(problem), "{text}: {error}");
            assert!(error.mend().contains(mend), "{text}: {}", error.mend());
        }
    }

    #[test]
    fn an_ipv6_range_never_contains_ipv4() {
        let everything: Range = "::/0".parse().unwrap();
        assert!(!everything.contains("10.0.0.1".parse().unwrap()));
        assert!(!everything.contains("::ffff:10.0.0.1".parse().unwrap()));
        let ten: Range = "10.0.0.0/8".parse().unwrap();
        assert!(ten.contains("::ffff:10.0.0.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn blocks_are_aligned_contiguous_and_maximal(first: u128, second: u128, shift in 0_u32..128) {
            let (low, high) = ((first >> shift).min(second >> shift), (first >> shift).max(second >> shift));
            let range = Range { low, high, family: Family::Ipv6, text: "".into(), line: 0 };
            let mut next = Some(low);
            let mut count = 0;
            for block in range.blocks() {
                let start = block.address.to_bits();
                prop_assert_eq!(Some(start), next);
                let last = start | u128::MAX.checked_shr(block.bits.into()).unwrap_or(0);
                prop_assert!(last <= high);
                // If it were not maximal, the block twice as large would begin here and fit.
                if block.bits > 0 {
                    let wider = u128::MAX.checked_shr(u32::from(block.bits) - 1).unwrap_or(0);
                    prop_assert!(start & wider != 0 || start | wider > high);
                }
                next = last.checked_add(1);
                count += 1;
            }
            prop_assert_eq!(next, high.checked_add(1));
            prop_assert!(count <= 254);
        }
    }
}
