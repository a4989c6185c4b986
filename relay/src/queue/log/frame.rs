//! One record in a segment: how it is framed, and how it is found again in damaged bytes.
//!
//! Every frame begins with a marker that is random per segment. A reader that has lost its place
//! looks for the next marker; since no sender can know it, no message can hold a forged frame.

use bytes::Bytes;

use crate::queue::QueueId;

/// Octets before the payload of a frame.
pub(super) const HEADER: usize = 32;
/// Frames begin at multiples of this.
pub(super) const ALIGNMENT: usize = 8;
/// Octets of a payload that is still believable: a small message and its entry with every
/// recipient's answer fit many times over.
const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

/// What begins every frame of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Marker(pub(super) [u8; 8]);

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry and, behind it, its message.
    Message = 1,
    /// An entry alone: its message is in a file, or in an earlier record.
    Entry = 2,
    /// The message has left the queue.
    Removed = 3,
}

/// A record on its way into a segment, its checksum done by whoever made it.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) kind: Kind,
    pub(super) id: QueueId,
    entry: Vec<u8>,
    message: Vec<Bytes>,
    payload: usize,
    checksum: u32,
}

/// A record as it was found in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found<'a> {
    pub(super) kind: Kind,
    pub(super) id: QueueId,
    pub(super) entry: &'a [u8],
    pub(super) message: &'a [u8],
    /// Octets of the whole frame, padding included.
    pub(super) length: usize,
}

/// What is wrong with the bytes where a frame should begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    /// The marker is missing.
    #[error("no record begins here")]
    NoMarker,
    /// The bytes end before the frame does.
    #[error("the record of message {0} is cut off")]
    CutOff(QueueId),
    /// Length, kind or checksum do not fit the bytes.
    #[error("the record of message {0} does not have its checksum")]
    Checksum(QueueId),
}

impl FrameError {
    /// The message, if the damage leaves its id readable.
    pub(super) fn id(self) -> Option<QueueId> {
        match self {
            Self::NoMarker => None,
            Self::CutOff(id) | Self::Checksum(id) => Some(id),
        }
    }
}

impl Frame {
    pub(super) fn new(kind: Kind, id: QueueId, entry: Vec<u8>, message: Vec<Bytes>) -> Self {
        let payload = entry.len() + message.iter().map(Bytes::len).sum::<usize>();
        let mut sum = crc32fast::Hasher::new();
        sum.update(&fields(payload, kind as u32, entry.len(), id));
        sum.update(&entry);
        message.iter().for_each(|piece| sum.update(piece));
        Self { kind, id, entry, message, payload, checksum: sum.finalize() }
    }

    /// Octets that the frame takes in a segment.
    pub(super) fn length(&self) -> usize {
        padded(HEADER + self.payload)
    }

    /// Appends the frame to `buffer`.
    pub(super) fn write(&self, marker: Marker, buffer: &mut Vec<u8>) {
        let end = buffer.len() + self.length();
        buffer.reserve(self.length());
        buffer.extend_from_slice(&marker.0);
        buffer.extend_from_slice(&self.checksum.to_le_bytes());
        let fields = fields(self.payload, self.kind as u32, self.entry.len(), self.id);
        buffer.extend_from_slice(&fields);
        buffer.extend_from_slice(&self.entry);
        self.message.iter().for_each(|piece| buffer.extend_from_slice(piece));
        buffer.resize(end, 0);
    }
}

impl<'a> Found<'a> {
    /// Reads the frame at the beginning of `bytes`.
    pub(super) fn read(bytes: &'a [u8], marker: Marker) -> Result<Self, FrameError> {
        let (header, rest) = bytes.split_first_chunk::<HEADER>().ok_or(FrameError::NoMarker)?;
        if header[..8] != marker.0 {
            return Err(FrameError::NoMarker);
        }
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let id = QueueId::from_u64(u64::from(word(24)) | u64::from(word(28)) << 32);
        let (checksum, payload, kind, entry) =
            (word(8), word(12) as usize, word(16), word(20) as usize);
        if payload > MAX_PAYLOAD || entry > payload {
            return Err(FrameError::Checksum(id));
        }
        let body = rest.get(..payload).ok_or(FrameError::CutOff(id))?;
        let mut sum = crc32fast::Hasher::new();
        sum.update(&header[12..]);
        sum.update(body);
        let kind = match kind {
            1 => Kind::Message,
            2 => Kind::Entry,
            3 => Kind::Removed,
            _ => return Err(FrameError::Checksum(id)),
        };
        if sum.finalize() != checksum {
            return Err(FrameError::Checksum(id));
        }
        let (entry, message) = body.split_at(entry);
        Ok(Self { kind, id, entry, message, length: padded(HEADER + payload) })
    }
}

/// The header without marker and checksum: what the checksum covers of it.
fn fields(payload: usize, kind: u32, entry: usize, id: QueueId) -> [u8; HEADER - 12] {
    let mut fields = [0; HEADER - 12];
    fields[..4].copy_from_slice(&(payload as u32).to_le_bytes());
    fields[4..8].copy_from_slice(&kind.to_le_bytes());
    fields[8..12].copy_from_slice(&(entry as u32).to_le_bytes());
    fields[12..].copy_from_slice(&id.to_u64().to_le_bytes());
    fields
}

const fn padded(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const MARKER: Marker = Marker(*b"\x01marker\xff");

    fn written(frame: &Frame) -> Vec<u8> {
        let mut buffer = Vec::new();
        frame.write(MARKER, &mut buffer);
        buffer
    }

    proptest! {
        #[test]
        fn written_and_read(entry in vec(any::<u8>(), 0..300), message in vec(any::<u8>(), 0..300), id: u64) {
            let id = QueueId::from_u64(id);
            let frame = Frame::new(Kind::Message, id, entry.clone(), vec![message.clone().into()]);
            let bytes = written(&frame);
            prop_assert_eq!(bytes.len(), frame.length());
            let found = Found::read(&bytes, MARKER).unwrap();
            prop_assert_eq!((found.kind, found.id, found.length), (Kind::Message, id, bytes.len()));
            prop_assert_eq!((found.entry, found.message), (entry.as_slice(), message.as_slice()));
        }

        #[test]
        fn any_changed_bit_is_noticed(entry in vec(any::<u8>(), 1..80), position: prop::sample::Index, bit in 0..8u8) {
            let frame = Frame::new(Kind::Entry, QueueId::from_u64(7), entry, Vec::new());
            let mut bytes = written(&frame);
            let used = HEADER + frame.payload;
            bytes[position.index(used)] ^= 1 << bit;
            prop_assert!(Found::read(&bytes, MARKER).is_err());
        }

        #[test]
        fn any_truncation_is_noticed(message in vec(any::<u8>(), 0..80), position: prop::sample::Index) {
            let frame = Frame::new(Kind::Message, QueueId::from_u64(7), b"{}".to_vec(), vec![message.into()]);
            let bytes = written(&frame);
            let used = HEADER + frame.payload;
            prop_assert!(Found::read(&bytes[..position.index(used)], MARKER).is_err());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..100)) {
            let mut bytes = bytes;
            bytes.splice(0..0, MARKER.0);
            if let Ok(found) = Found::read(&bytes, MARKER) {
                prop_assert!(found.length >= HEADER);
            }
        }
    }
}
