//! Chunks of one message, however they are cut, and on to the next hop. An input is a stream of
//! BDAT lines and octets, cuts included.

use bytes::{Buf, BytesMut};
use relay_smtp::command::{Chunk, Command};
use relay_smtp::data::{ChunkEvent, ChunkReader, Violation};
use relay_smtp::line::LineReader;

use super::pieces::{pieces, whole};

/// What a stream came to.
#[derive(Debug, Default, PartialEq)]
struct Read {
    message: Vec<u8>,
    violation: Option<Violation>,
    /// The last chunk is complete.
    complete: bool,
    /// Octets after it, or from the first line on that is no BDAT.
    rest: Vec<u8>,
}

/// See the module.
pub fn check(input: &[u8]) {
    let stream = whole(input);
    let expected = read([&stream[..]].into_iter());
    let mut cut = read(pieces(input));
    let mut octets = read(stream.chunks(1));
    for read in [&mut cut, &mut octets] {
        if !expected.complete {
            // An unfinished line waits in one case and was let go in another.
            read.rest.clone_from(&expected.rest);
        }
        assert_eq!(*read, expected, "cuts do not matter");
    }
    let reference = reference(&stream);
    assert_eq!(expected.message, reference.message);
    assert_eq!(expected.complete, reference.complete);
    if expected.complete {
        assert_eq!(expected.rest, reference.rest);
        assert_eq!(expected.violation, reference.violation);
    }
}

fn chunk(line: &[u8]) -> Option<Chunk> {
    match Command::parse(line) {
        Ok(Command::Bdat(chunk)) => Some(chunk),
        _ => None,
    }
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let (mut lines, mut reader) = (LineReader::default(), ChunkReader::default());
    let mut read = Read::default();
    let mut buffer = BytesMut::new();
    let mut current: Option<Chunk> = None;
    let mut stopped = false;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        while !read.complete && !stopped {
            let Some(open) = current else {
                match lines.next_line(&mut buffer, false) {
                    None => break,
                    Some(line) => match line.ok().and_then(|line| chunk(&line)) {
                        Some(next) => {
                            reader.begin(next.octets);
                            current = Some(next);
                        }
                        None => stopped = true,
                    },
                }
                continue;
            };
            match reader.next_event(&mut buffer) {
                None => break,
                Some(ChunkEvent::Content(content)) => read.message.extend_from_slice(&content),
                Some(ChunkEvent::End) => {
                    current = None;
                    if open.last {
                        reader.finish();
                        read.complete = true;
                    }
                }
            }
        }
    }
    read.violation = reader.violation();
    read.rest.extend_from_slice(&buffer);
    buffer.advance(buffer.len());
    read
}

/// RFC 3030 section 2, one octet after the other.
fn reference(stream: &[u8]) -> Read {
    let mut read = Read::default();
    let mut rest = stream;
    while let Some(end) = rest.windows(2).position(|pair| pair == b"\r\n") {
        let (line, after) = (&rest[..end], &rest[end + 2..]);
        let has_forbidden = line.iter().any(|octet| b"\r\n\0".contains(octet));
        let Some(chunk) = chunk(line).filter(|_| !has_forbidden && line.len() < 4000) else {
            return read;
        };
        let present = usize::try_from(chunk.octets).unwrap_or(usize::MAX).min(after.len());
        read.message.extend_from_slice(&after[..present]);
        rest = &after[present..];
        if (present as u64) < chunk.octets {
            return read;
        }
        if chunk.last {
            read.complete = true;
            read.rest = rest.to_vec();
            break;
        }
    }
    let message = &read.message;
    read.violation = message.iter().enumerate().find_map(|(at, &octet)| {
        let place = at as u64;
        match octet {
            b'\r' if message.get(at + 1) != Some(&b'\n') => Some(Violation::BareCr(place)),
            b'\n' if at == 0 || message[at - 1] != b'\r' => Some(Violation::BareLf(place)),
            0 => Some(Violation::Nul(place)),
            _ => None,
        }
    });
    read
}
