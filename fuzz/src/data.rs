//! The octets after DATA, however they are cut, against a reference that looks at one octet at a
//! time; and back out through the sender's dot stuffing.

use bytes::BytesMut;
use relay_smtp::client::DotStuffer;
use relay_smtp::data::{DataEvent, DataReader, Violation};

use super::pieces::{pieces, whole};

/// What a reader made of a stream.
#[derive(Debug, Default, PartialEq)]
struct Read {
    message: Vec<u8>,
    violation: Option<Violation>,
    /// What follows the end of data; `None` while it has not come.
    rest: Option<Vec<u8>>,
}

/// See the module.
pub fn check(input: &[u8]) {
    let stream = whole(input);
    let expected = reference(&stream);
    let mut cut = read(pieces(input));
    let mut one_write = read([&stream[..]].into_iter());
    let mut octets = read(stream.chunks(1));
    if expected.rest.is_none() {
        // An unfinished message may differ by the dot and the CR that wait for what follows.
        for read in [&mut cut, &mut one_write, &mut octets] {
            assert!(expected.message.starts_with(&read.message));
            assert!(expected.message.len() - read.message.len() <= 1, "{read:?}");
            read.message.clone_from(&expected.message);
        }
    }
    assert_eq!(cut, expected);
    assert_eq!(one_write, expected);
    assert_eq!(octets, expected);
    if expected.rest.is_some() {
        check_way_out(&expected);
    }
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut reader = DataReader::new();
    let mut read = Read::default();
    let mut buffer = BytesMut::new();
    for piece in pieces {
        if let Some(rest) = &mut read.rest {
            rest.extend_from_slice(piece);
            continue;
        }
        buffer.extend_from_slice(piece);
        while read.rest.is_none() {
            match reader.next_event(&mut buffer) {
                None => break,
                Some(DataEvent::Content(content)) => read.message.extend_from_slice(&content),
                Some(DataEvent::End) => read.rest = Some(buffer.split().to_vec()),
            }
        }
        assert!(buffer.len() <= 2, "nothing waits but a dot and a CR");
    }
    read.violation = reader.violation();
    read
}

/// RFC 5321 sections 4.1.1.4 and 4.5.2 without any haste.
fn reference(stream: &[u8]) -> Read {
    let mut read = Read::default();
    for (at, &octet) in stream.iter().enumerate() {
        let before = &stream[..at];
        let follows = stream.get(at + 1);
        let violation = match octet {
            b'\r' if follows.is_some_and(|&octet| octet != b'\n') => Violation::BareCr,
            b'\n' if before.last() != Some(&b'\r') => Violation::BareLf,
            0 => Violation::Nul,
            b'.' if before.is_empty() || before.ends_with(b"\r\n") => {
                if stream[at..].starts_with(b".\r\n") {
                    read.rest = Some(stream[at + 3..].to_vec());
                    return read;
                }
                continue;
            }
            _ => {
                read.message.push(octet);
                continue;
            }
        };
        read.violation.get_or_insert(violation(at as u64));
        read.message.push(octet);
    }
    read
}

/// A message without violations comes out of the sender as it came into the receiver; one with a
/// violation does not leave.
fn check_way_out(read: &Read) {
    let mut stuffer = DotStuffer::new();
    let mut out = Vec::new();
    let middle = read.message.len() / 2;
    let sent = stuffer
        .stuff(&read.message[..middle], &mut out)
        .and_then(|()| stuffer.stuff(&read.message[middle..], &mut out))
        .and_then(|()| stuffer.finish(&mut out));
    assert_eq!(sent.is_ok(), read.violation.is_none(), "{sent:?} {:?}", read.violation);
    if sent.is_ok() {
        let again = reference(&out);
        assert_eq!(again.message, read.message);
        assert_eq!((again.violation, again.rest), (None, Some(Vec::new())));
    }
}
