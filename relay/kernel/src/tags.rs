//! Reads the tag of an accepted socket: one system call, by descriptor.

use std::os::fd::{AsRawFd, BorrowedFd};

use crate::{KernelError, take_as};
use aya::Ebpf;
use aya::maps::{MapData, MapError, SkStorage};
use relay_common::tables::Tag;

/// Reads tags. Needs no capability since Linux 5.19.
pub struct TagReader {
    tags: SkStorage<MapData, Tag>,
}

impl TagReader {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        Ok(Self { tags: take_as(ebpf, "TAGS")? })
    }

    /// The tag of this socket; `None` if the tagger left none.
    ///
    /// # Errors
    ///
    /// The kernel refused the request, so the tag is not known.
    pub fn read(&self, socket: BorrowedFd<'_>) -> Result<Option<Tag>, KernelError> {
        match self.tags.get(&socket.as_raw_fd(), 0) {
            Ok(tag) => Ok(Some(tag)),
            Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(None),
            Err(source) => Err(KernelError::Map { map: "TAGS", source }),
        }
    }
}
