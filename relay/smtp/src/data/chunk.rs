//! Reads the octets after BDAT (RFC 3030): exactly as many as the command stated.
//!
//! No octet among them ends the chunk. Line endings are checked nevertheless: a message received in
//! chunks may have to be sent by DATA.

use crate::data::{LineEndings, Violation};
use bytes::{Bytes, BytesMut};

/// The next part of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChunkEvent {
    /// Octets of the message.
    Content(Bytes),
    /// The chunk is complete. The rest of the input is commands.
    End,
}

/// Takes chunk after chunk of one message off the front of a buffer. The result depends on the
/// octets only, never on how they were cut into packets or into chunks.
///
/// ```
/// use bytes::BytesMut;
/// use relay_smtp::data::{ChunkEvent, ChunkReader};
///
/// let (mut reader, mut input) = (ChunkReader::default(), BytesMut::from("a\r\n.\r\nQUIT\r\n"));
/// reader.begin(6);
/// // A dot on its own line ends nothing here; only the size does.
/// assert_eq!(reader.next_event(&mut input), Some(ChunkEvent::Content("a\r\n.\r\n".into())));
/// assert_eq!(reader.next_event(&mut input), Some(ChunkEvent::End));
/// assert_eq!(input, "QUIT\r\n");
/// ```
#[derive(Debug, Default)]
pub struct ChunkReader {
    remaining: u64,
    endings: LineEndings,
}

impl ChunkReader {
    /// So many octets follow.
    pub fn begin(&mut self, octets: u64) {
        self.remaining = octets;
    }

    /// The first violation so far. A CR at the end of a chunk does not count yet.
    pub fn violation(&self) -> Option<Violation> {
        self.endings.violation()
    }

    /// The message has ended with the last chunk.
    pub fn finish(&mut self) {
        self.endings.finish();
    }

    /// The next part of the chunk, as a slice of the input with all octets that it has. `None` if
    /// more input is needed.
    pub fn next_event(&mut self, input: &mut BytesMut) -> Option<ChunkEvent> {
        if self.remaining == 0 {
            return Some(ChunkEvent::End);
        }
        if input.is_empty() {
            return None;
        }
        let octets = skip(&mut self.remaining, input.len());
        let content = input.split_to(octets).freeze();
        self.endings.scan(&content);
        Some(ChunkEvent::Content(content))
    }
}

/// How many of `present` octets belong to a chunk with `remaining` octets; subtracts them.
pub fn skip(remaining: &mut u64, present: usize) -> usize {
    // The present octets fit memory, so the smaller number does too.
    let octets = usize::try_from(*remaining).map_or(present, |remaining| remaining.min(present));
    *remaining -= octets as u64;
    octets
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::data::chunk::*;

    /// The message, its violation, and the rest.
    fn read(chunks: &[u64], packets: &[&[u8]]) -> (Vec<u8>, Option<Violation>, Vec<u8>) {
        let (mut reader, mut input, mut message) =
            (ChunkReader::default(), BytesMut::new(), Vec::new());
        let mut packets = packets.iter();
        for &octets in chunks {
            reader.begin(octets);
            loop {
                match reader.next_event(&mut input) {
                    Some(ChunkEvent::Content(content)) => message.extend_from_slice(&content),
                    Some(ChunkEvent::End) => break,
                    None => match packets.next() {
                        Some(packet) => input.extend_from_slice(packet),
                        None => return (message, reader.violation(), Vec::new()),
                    },
                }
            }
        }
        reader.finish();
        packets.for_each(|packet| input.extend_from_slice(packet));
        (message, reader.violation(), input.to_vec())
    }

    #[test]
    fn a_chunk_is_its_octets_and_nothing_ends_it() {
        let octets = b"a\r\n.\r\nQUIT\r\n..b\r\nNOOP\r\n";
        let (message, violation, rest) = read(&[17], &[octets]);
        assert_eq!(message, b"a\r\n.\r\nQUIT\r\n..b\r\n");
        assert_eq!((violation, &rest[..]), (None, &b"NOOP\r\n"[..]));
    }

    #[test]
    fn a_line_ending_may_be_cut_by_chunks() {
        assert_eq!(read(&[2, 2], &[b"a\r\nb"]).1, None);
        assert_eq!(read(&[2, 1], &[b"a\rb"]).1, Some(Violation::BareCr(1)));
        assert_eq!(read(&[2, 0], &[b"a\r"]).1, Some(Violation::BareCr(1)));
        assert_eq!(read(&[1, 1], &[b"a\n"]).1, Some(Violation::BareLf(1)));
        assert_eq!(read(&[1, 1], &[b"a\0"]).1, Some(Violation::Nul(1)));
    }

    #[test]
    fn a_size_beyond_any_memory_is_counted_down() {
        let mut remaining = u64::MAX;
        assert_eq!(skip(&mut remaining, 10), 10);
        assert_eq!(remaining, u64::MAX - 10);
    }

    proptest! {
        #[test]
        fn neither_chunks_nor_packets_matter(
            octets in proptest::collection::vec(
                prop_oneof![Just(b'\r'), Just(b'\n'), Just(0), Just(b'.'), Just(b'a')], 0..40),
            chunk in 1u64..9,
            packet in 1usize..9,
        ) {
            let whole = read(&[octets.len() as u64], &[&octets]);
            let length = octets.len() as u64;
            let mut chunks = vec![chunk; usize::try_from(length / chunk).unwrap()];
            chunks.push(length % chunk);
            let packets: Vec<_> = octets.chunks(packet).collect();
            prop_assert_eq!(&read(&chunks, &packets), &whole);
            prop_assert_eq!(&whole.0, &octets);
        }
    }
}
