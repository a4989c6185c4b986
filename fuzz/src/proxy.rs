//! A PROXY header, in any segments. An input is a proxy's octets, cuts included.

use relay_smtp::limits::PROXY_HEADER_OCTETS;
use relay_smtp::proxy::{ProxyError, ProxyHeader, ProxyReader};

use super::pieces::{pieces, whole};

/// See the module.
pub fn check(input: &[u8]) {
    let stream = whole(input);
    let expected = read([&stream[..]].into_iter());
    assert_eq!(read(pieces(input)), expected, "cuts do not change the result");
    assert_eq!(read(stream.chunks(1)), expected, "cuts do not change the result");
    if let (Ok(Some(header)), taken) = expected {
        // The header ends where the specification says, for any following octets.
        let header_octets = &stream[..taken];
        if header_octets.starts_with(b"PROXY ") {
            assert!(header_octets.ends_with(b"\r\n"));
            assert_eq!(header_octets.iter().filter(|octet| **octet < b' ').count(), 2);
        } else {
            let length = usize::from(header_octets[14]) << 8 | usize::from(header_octets[15]);
            assert_eq!(taken, 16 + length);
        }
        if let ProxyHeader::Client(client) = header {
            assert_eq!(client.ip(), client.ip().to_canonical(), "a mapped address is IPv4");
        }
    }
}

/// The result of reading a stream, never beyond what the reader requests, and the number of octets
/// read.
fn read<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
) -> (Result<Option<ProxyHeader>, ProxyError>, usize) {
    let mut reader = ProxyReader::default();
    let mut taken = 0;
    for mut piece in pieces {
        while !piece.is_empty() {
            let wanted = reader.missing_octets();
            assert!(wanted > 0 && taken + wanted <= PROXY_HEADER_OCTETS);
            let (octets, rest) = piece.split_at(wanted.min(piece.len()));
            piece = rest;
            taken += octets.len();
            match reader.take(octets) {
                Ok(None) => {}
                // The cuts decide when the reader knows that there is no header.
                Err(error) => return (Err(error), 0),
                decided => return (decided, taken),
            }
        }
    }
    (Ok(None), taken)
}
