//! Ranges of remote addresses, and the aligned blocks of a range.
//!
//! Addresses are compared as 128-bit numbers, IPv4 as `::ffff:a.b.c.d`. A range has one family, and
//! is only compared with addresses of that family: see [`super::table`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::ClientAddress;

/// Bits before the IPv4 address in an IPv6 address that stands for it (RFC 4291 section 2.5.5.2).
const MAPPED_BITS: u8 = 96;

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

    /// The range as it was written, IPv4 addresses as IPv4.
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

    /// An IPv4 address may be written as IPv6 (`::ffff:10.0.0.1`). It is read as IPv4, and so is
    /// [`Range::text`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let is_mapped = |address: IpAddr| address != address.to_canonical();
        let (low, high, family, written) = if let Some((from, to)) = text.split_once('-') {
            let (from, to) = (address(from)?, address(to)?);
            let ends = [from.to_canonical(), to.to_canonical()];
            let (low, high, family) = between(ends[0], ends[1])?;
            let is_rewritten = is_mapped(from) || is_mapped(to);
            (low, high, family, is_rewritten.then(|| format!("{}-{}", ends[0], ends[1])))
        } else if let Some((start, prefix)) = text.split_once('/') {
            let start = address(start)?;
            let (low, high, family, bits) = prefixed(start, prefix.trim())?;
            let written = is_mapped(start).then(|| format!("{}/{bits}", start.to_canonical()));
            (low, high, family, written)
        } else {
            let written = address(text)?;
            let address = written.to_canonical();
            if address.is_unspecified() {
                return Err(RangeError::Unspecified(address));
            }
            let number = number_of(address);
            let rewritten = is_mapped(written).then(|| address.to_string());
            (number, number, Family::of(address), rewritten)
        };
        let text = written.map_or_else(|| text.into(), String::into_boxed_str);
        Ok(Self { low, high, family, text, line: 0 })
    }
}

fn address(text: &str) -> Result<IpAddr, RangeError> {
    let text = text.trim();
    if text.contains('%') {
        return Err(RangeError::ZoneId(text.to_owned()));
    }
    text.parse().map_err(|_| RangeError::NotAnAddress(text.to_owned()))
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

/// Lowest and highest address, the family, and the prefix length in that family. Host bits may be
/// set: Exchange's own documentation writes `192.168.1.1/24`. A prefix of a mapped address that is
/// shorter than the mapping would be about both families.
fn prefixed(address: IpAddr, prefix: &str) -> Result<(u128, u128, Family, u8), RangeError> {
    let wrong = || RangeError::PrefixLength { address, prefix: prefix.to_owned() };
    let bits: u8 = prefix.parse().map_err(|_| wrong())?;
    let canonical = address.to_canonical();
    let bits = match canonical == address {
        true => bits,
        false => bits.checked_sub(MAPPED_BITS).ok_or_else(wrong)?,
    };
    let network = ipnet::IpNet::new(canonical, bits).map_err(|_| wrong())?;
    let (low, high) = (number_of(network.network()), number_of(network.broadcast()));
    Ok((low, high, Family::of(canonical), bits))
}

impl RangeError {
    /// The remedy.
    pub fn mend(&self) -> String {
        match self {
            Self::NotAnAddress(_) => "write an address (`10.0.0.1`), a range \
                 (`10.0.0.1-10.0.0.9`) or a prefix (`10.0.0.0/24`)"
                .to_owned(),
            Self::PrefixLength { address, .. } => {
                let (shortest, longest) = match address {
                    IpAddr::V4(_) => (0, 32),
                    IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => (MAPPED_BITS, 128),
                    IpAddr::V6(_) => (0, 128),
                };
                format!("write a number from {shortest} to {longest} after the slash")
            }
            Self::Reversed { from, to } => format!("write `{to}-{from}`"),
            Self::TwoFamilies => "write one range for IPv4 and one for IPv6".to_owned(),
            Self::ZoneId(text) => {
                let address = text.split('%').next().unwrap_or_default();
                format!("leave the zone out: `{address}`")
            }
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
            ("::ffff:10.0.0.1/33", "not a prefix length of ::ffff:10.0.0.1", "from 96 to 128"),
            ("::ffff:10.0.0.1/129", "not a prefix length of ::ffff:10.0.0.1", "from 96 to 128"),
            ("::ffff:0.0.0.0", "a single address that no client can have", "write `0.0.0.0/0`"),
            ("0.0.0.0", "a single address that no client can have", "write `0.0.0.0/0`"),
            ("::", "a single address that no client can have", "write `::/0`"),
        ] {
            let error = text.parse::<Range>().unwrap_err();
            assert!(error.to_string().contains(problem), "{text}: {error}");
            assert!(error.mend().contains(mend), "{text}: {}", error.mend());
        }
    }

    #[test]
    fn an_ipv4_address_written_as_ipv6_is_read_as_ipv4() {
        for (text, expected) in [
            ("::ffff:10.1.1.1", "10.1.1.1"),
            ("::FFFF:0A01:0101", "10.1.1.1"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:10.0.0.0/96", "10.0.0.0/0"),
            ("::ffff:10.0.0.1-::ffff:10.0.0.9", "10.0.0.1-10.0.0.9"),
            ("10.0.0.1-::ffff:10.0.0.9", "10.0.0.1-10.0.0.9"),
        ] {
            let range: Range = text.parse().unwrap();
            let plain: Range = expected.parse().unwrap();
            assert_eq!(range.text(), expected, "{text}");
            assert_eq!(range, plain, "{text}");
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
