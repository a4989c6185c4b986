//! Reads the header that a proxy writes before the first octet of its client (PROXY protocol,
//! versions 1 and 2, as HAProxy specifies it).
//!
//! This module parses the header and finds its end; it never reads an octet beyond that end, since
//! a TLS handshake may follow. `server` decides whose header is trusted, and its effect.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::limits::{PROXY_HEADER_OCTETS, PROXY_LINE_OCTETS};
use relay_mail::line_end::first_line_octets;

/// How a header of version 1 begins.
const TEXT: &[u8] = b"PROXY ";
/// How a header of version 2 begins.
const BINARY: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of a header of version 2 before its addresses.
const FIXED: usize = 16;

/// The contents of a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The connection of this client is passed on.
    Client(SocketAddr),
    /// The proxy connects on its own behalf (LOCAL, as for a health check), or does not know the
    /// client (UNKNOWN): the addresses of the connection count.
    Own,
}

/// Why octets are no header. The connection is of no use then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The first octets are of neither version.
    #[error("the connection does not begin with a PROXY header")]
    Missing,
    /// It is longer than [`PROXY_LINE_OCTETS`] or [`PROXY_HEADER_OCTETS`].
    #[error("the PROXY header is too long")]
    TooLong,
    /// An unknown command or family, or an invalid address.
    #[error("the PROXY header is malformed")]
    Malformed,
}

/// Collects a header, however it is cut.
///
/// ```
/// use relay_smtp::proxy::{ProxyHeader, ProxyReader};
///
/// let mut stream = &b"PROXY TCP4 192.0.2.7 198.51.100.1 40000 25\r\nEHLO client.example\r\n"[..];
/// let mut reader = ProxyReader::default();
/// let header = loop {
///     // The reader never asks for an octet beyond the header: a TLS handshake may follow.
///     let (octets, rest) = stream.split_at(reader.missing_octets());
///     stream = rest;
///     if let Some(header) = reader.take(octets).unwrap() {
///         break header;
///     }
/// };
/// assert_eq!(header, ProxyHeader::Client("192.0.2.7:40000".parse().unwrap()));
/// assert_eq!(stream, b"EHLO client.example\r\n");
/// ```
#[derive(Debug, Default)]
pub struct ProxyReader {
    octets: Vec<u8>,
}

impl ProxyReader {
    /// Have no octets arrived yet?
    pub fn is_empty(&self) -> bool {
        self.octets.is_empty()
    }

    /// How many octets may be read now: more might not belong to the header. Never zero.
    pub fn missing_octets(&self) -> usize {
        let present = self.octets.len();
        if self.octets.starts_with(TEXT) {
            // An unfinished line lacks two octets, or one.
            return if self.octets.ends_with(b"\r") { 1 } else { 2 };
        }
        match self.octets.get(14..FIXED) {
            // Neither version has fewer octets than the beginning of the second.
            None if present < BINARY.len() => BINARY.len() - present,
            None => FIXED - present,
            Some(length) => FIXED + usize::from(be16(length)) - present,
        }
    }

    /// Reads octets, at most [`ProxyReader::missing_octets`]. `None` while the header continues.
    ///
    /// # Errors
    /// [`ProxyError`], as soon as it is certain.
    pub fn take(&mut self, octets: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
        self.octets.extend_from_slice(octets);
        let header = &self.octets[..];
        if begins(header, TEXT) {
            return match first_line_octets(header) {
                // Had its octets come one by one, its end would not have been waited for.
                Some(octets) if octets > PROXY_LINE_OCTETS => Err(ProxyError::TooLong),
                Some(octets) if octets == header.len() => {
                    parse_text(&header[..octets - 2]).map(Some).ok_or(ProxyError::Malformed)
                }
                // A line that ends before the first octets that are needed is no header.
                Some(_) => Err(ProxyError::Malformed),
                None if header.len() >= PROXY_LINE_OCTETS => Err(ProxyError::TooLong),
                None => Ok(None),
            };
        }
        if !begins(header, BINARY) {
            return Err(ProxyError::Missing);
        }
        let Some((fixed, rest)) = header.split_at_checked(FIXED) else { return Ok(None) };
        let length = usize::from(be16(&fixed[14..]));
        if FIXED + length > PROXY_HEADER_OCTETS {
            return Err(ProxyError::TooLong);
        }
        if rest.len() < length {
            return Ok(None);
        }
        parse_binary(fixed[12], fixed[13], rest).map(Some).ok_or(ProxyError::Malformed)
    }
}

/// Do these octets begin so, as far as they go?
fn begins(octets: &[u8], with: &[u8]) -> bool {
    octets.iter().zip(with).all(|(octet, expected)| octet == expected)
}

fn be16(octets: &[u8]) -> u16 {
    octets.iter().take(2).fold(0, |number, octet| number << 8 | u16::from(*octet))
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 25`, or `PROXY UNKNOWN` and any text.
fn parse_text(line: &[u8]) -> Option<ProxyHeader> {
    // CR and LF only where the line ends.
    if !line.iter().all(|octet| matches!(octet, b' '..=b'~')) {
        return None;
    }
    let text = str::from_utf8(line).ok()?;
    let mut words = text.split(' ').skip(1);
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(ProxyHeader::Own);
    }
    let address = |text: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => text.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => text.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let source = address(words.next()?)?;
    let _destination = address(words.next()?)?;
    let source_port = port(words.next()?)?;
    let _destination_port = port(words.next()?)?;
    if words.next().is_some() {
        return None;
    }
    Some(client(source, source_port))
}

fn port(text: &str) -> Option<u16> {
    let is_number = text.bytes().all(|octet| octet.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    if is_number && is_short { text.parse().ok() } else { None }
}

/// Version 2: the addresses come first, and the fields after them (TLVs) are ignored.
fn parse_binary(command: u8, family: u8, rest: &[u8]) -> Option<ProxyHeader> {
    match (command, family) {
        // LOCAL: the rest must be ignored.
        (0x20, _) => Some(ProxyHeader::Own),
        // UNSPEC.
        (0x21, 0x00) => Some(ProxyHeader::Own),
        // TCP over IPv4 or IPv6: source, destination, and their ports.
        (0x21, 0x11) => source::<4>(rest),
        (0x21, 0x21) => source::<16>(rest),
        _ => None,
    }
}

/// The source of a connection whose addresses have this many octets.
fn source<const OCTETS: usize>(rest: &[u8]) -> Option<ProxyHeader>
where
    IpAddr: From<[u8; OCTETS]>,
{
    let (source, rest) = rest.split_first_chunk::<OCTETS>()?;
    let (_destination, rest) = rest.split_first_chunk::<OCTETS>()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    rest.first_chunk::<2>()?;
    Some(client(IpAddr::from(*source), u16::from_be_bytes(*port)))
}

fn client(address: IpAddr, port: u16) -> ProxyHeader {
    ProxyHeader::Client(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::proxy::*;

    type Read = Result<Option<ProxyHeader>, ProxyError>;

    /// The contents of the header and its length, read in pieces of at most `most` octets.
    fn read(mut octets: &[u8], most: usize) -> (Read, usize) {
        let mut reader = ProxyReader::default();
        let all = octets.len();
        loop {
            let wanted = reader.missing_octets().min(most).min(octets.len());
            if wanted == 0 {
                return (Ok(None), all);
            }
            let (piece, rest) = octets.split_at(wanted);
            octets = rest;
            match reader.take(piece) {
                Ok(None) => {}
                decided => return (decided, all - octets.len()),
            }
        }
    }

    /// Every division must give the same result, and nothing beyond the header may be read.
    fn header(octets: &[u8]) -> Read {
        let whole = read(octets, usize::MAX);
        let mut longer = octets.to_vec();
        longer.extend_from_slice(b"EHLO x\r\n");
        for most in 1..20 {
            let (read, taken) = read(&longer, most);
            if whole.0 != Ok(None) {
                assert_eq!(read, whole.0, "{}", octets.escape_ascii());
                assert!(read.is_err() || taken == octets.len(), "{}", octets.escape_ascii());
            }
        }
        whole.0
    }

    fn version_2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [BINARY, &[command, family], &length, rest].concat()
    }

    fn of(client: &str) -> Read {
        Ok(Some(ProxyHeader::Client(client.parse().unwrap())))
    }

    #[test]
    fn version_1() {
        assert_eq!(header(b"PROXY TCP4 192.0.2.7 10.0.0.1 56324 25\r\n"), of("192.0.2.7:56324"));
        assert_eq!(header(b"PROXY TCP6 2001:db8::7 ::1 1 25\r\n"), of("[2001:db8::7]:1"));
        assert_eq!(header(b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 25\r\n"), of("[::ffff:192.0.2.7]:1"));
        assert_eq!(header(b"PROXY UNKNOWN\r\n"), Ok(Some(ProxyHeader::Own)));
        assert_eq!(header(b"PROXY UNKNOWN ff:: who knows\r\n"), Ok(Some(ProxyHeader::Own)));
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(PROXY_LINE_OCTETS - 16));
        assert_eq!((longest.len(), header(longest.as_bytes())), (107, Ok(Some(ProxyHeader::Own))));
    }

    #[test]
    fn version_2_with_and_without_more() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xdc, 4, 0, 25];
        assert_eq!(header(&version_2(0x21, 0x11, &v4)), of("192.0.2.7:56324"));
        let with_tlv = [&v4[..], &[4, 0, 3, 0, 0, 0]].concat();
        assert_eq!(header(&version_2(0x21, 0x11, &with_tlv)), of("192.0.2.7:56324"));
        let mapped = [&[0; 10][..], &[0xff, 0xff, 192, 0, 2, 7], &[0; 16], &[0, 9, 0, 25]].concat();
        assert_eq!(header(&version_2(0x21, 0x21, &mapped)), of("[::ffff:192.0.2.7]:9"));
        assert_eq!(header(&version_2(0x20, 0x00, b"")), Ok(Some(ProxyHeader::Own)));
        assert_eq!(header(&version_2(0x20, 0x11, &v4)), Ok(Some(ProxyHeader::Own)));
        assert_eq!(header(&version_2(0x21, 0x00, b"anything")), Ok(Some(ProxyHeader::Own)));
        let most = vec![0; PROXY_HEADER_OCTETS - FIXED];
        assert_eq!(header(&version_2(0x20, 0, &most)), Ok(Some(ProxyHeader::Own)));
    }

    #[test]
    fn invalid_headers_are_refused() {
        use ProxyError::{Malformed, Missing, TooLong};
        let line = [b"PROXY TCP6 ".as_slice(), &[b'f'; 200]].concat();
        let room = PROXY_LINE_OCTETS + 1 - "PROXY UNKNOWN \r\n".len();
        let one_too_long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(room)).into_bytes();
        for (octets, error) in [
            (&b"EHLO x\r\nMAIL"[..], Missing),
            (b"QUIT\r\n", Missing),
            (b"proxy TCP4 1.2.3.4 1.2.3.4 1 1\r\n", Missing),
            (b"PROXY\r\n", Missing),
            (b"PROXY  TCP4 1.2.3.4 1.2.3.4 1 1\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 1\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 +1 1\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 01 1\r\n", Malformed),
            (b"PROXY TCP4 ::1 ::1 1 1\r\n", Malformed),
            (b"PROXY TCP4 1.2.3 1.2.3.4 1 1\r\n", Malformed),
            (b"PROXY TCP6 ::1%lo ::1 1 1\r\n", Malformed),
            (b"PROXY UDP4 1.2.3.4 1.2.3.4 1 1\r\n", Malformed),
            (b"PROXY TCP4 1.2.3.4\n1.2.3.4 1 1\r\n", Malformed),
            (b"PROXY UNKNOWN\rx\r\n", Malformed),
            (b"PROXY T\r\nQUIT\r\n", Malformed),
            (&line, TooLong),
            (&one_too_long, TooLong),
            (&version_2(0x21, 0x11, &[0; 11]), Malformed),
            (&version_2(0x21, 0x21, &[0; 35]), Malformed),
            (&version_2(0x22, 0x11, &[0; 12]), Malformed),
            (&version_2(0x11, 0x11, &[0; 12]), Malformed),
            (&version_2(0x21, 0x12, &[0; 12]), Malformed),
            (&version_2(0x21, 0x31, &[0; 216]), Malformed),
            (&version_2(0x21, 0x11, &[0; PROXY_HEADER_OCTETS]), TooLong),
        ] {
            assert_eq!(header(octets), Err(error), "{}", octets.escape_ascii());
        }
        assert_eq!(header(b"PROXY TCP4 1.2.3.4 "), Ok(None));
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(
            start in 0usize..3,
            octets in proptest::collection::vec(any::<u8>(), 0..120),
        ) {
            header(&[[&b""[..], TEXT, BINARY][start], &octets].concat()).ok();
        }
    }
}
