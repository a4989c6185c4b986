//! Parts of a message on their way to the queue; small ones are combined.
//!
//! A part costs the queue a handle besides its octets, and a small slice keeps its whole input
//! buffer alive. The client decides how its message is divided into packets and how many fields the
//! firewall removes; it must not decide how much memory an octet uses.

use crate::Action;
use bytes::{Bytes, BytesMut};
use relay_mail::limits::SMALL_WRITE_OCTETS;

/// Gathers small parts. Large ones go through as they are.
#[derive(Debug, Default)]
pub(super) struct MessageWriter {
    gathered: BytesMut,
}

impl MessageWriter {
    /// The next part of the message.
    pub(super) fn write(&mut self, part: Bytes, act: &mut impl FnMut(Action)) {
        if part.len() >= SMALL_WRITE_OCTETS {
            self.flush(act);
            return act(Action::Write(part));
        }
        self.gathered.extend_from_slice(&part);
        if self.gathered.len() >= SMALL_WRITE_OCTETS {
            self.flush(act);
        }
    }

    /// Octets that have gathered.
    pub(super) fn octets(&self) -> usize {
        self.gathered.capacity()
    }

    /// Writes the buffered octets.
    pub(super) fn flush(&mut self, act: &mut impl FnMut(Action)) {
        if !self.gathered.is_empty() {
            act(Action::Write(std::mem::take(&mut self.gathered).freeze()));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::message_parts::*;

    fn written(parts: &[usize]) -> Vec<usize> {
        let mut written = Vec::new();
        let mut act = |action| match action {
            Action::Write(octets) => written.push(octets.len()),
            other => panic!("{other:?}"),
        };
        let mut writer = MessageWriter::default();
        for &octets in parts {
            writer.write(Bytes::from(vec![b'x'; octets]), &mut act);
        }
        writer.flush(&mut act);
        written
    }

    #[test]
    fn small_parts_are_gathered_and_large_ones_are_not() {
        const SMALL: usize = SMALL_WRITE_OCTETS;
        assert_eq!(written(&[]), [0usize; 0]);
        assert_eq!(written(&[1; 3 * SMALL + 5]), [SMALL, SMALL, SMALL, 5]);
        assert_eq!(written(&[1, SMALL, 2, 3, 2 * SMALL]), [1, SMALL, 5, 2 * SMALL]);
        assert_eq!(written(&[SMALL - 1, SMALL - 1]), [2 * SMALL - 2]);
    }

    #[test]
    fn a_large_part_is_not_copied() {
        let part = Bytes::from(vec![b'x'; SMALL_WRITE_OCTETS]);
        let start = part.as_ptr();
        MessageWriter::default().write(part, &mut |action| match action {
            Action::Write(octets) => assert_eq!(octets.as_ptr(), start),
            other => panic!("{other:?}"),
        });
    }
}
