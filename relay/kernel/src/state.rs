//! How does the daemon write the only value of STATE while programs read it?
//!
//! The value is mapped into the daemon. Programs read two words of it: the generation and the
//! namespace. Each is written by one aligned store, which every CPU sees as a whole; a map update
//! by system call copies bytes and has a weaker guarantee. The namespace is written once, before a
//! program is attached. The other fields describe the generation for readers of the map: they are
//! written first, and the generation last.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::KernelError;
use aya::maps::Map;
use relay_common::tables::{NO_GENERATION, SCHEMA, StateEntry};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The mapped value. The descriptor may be closed: the mapping keeps the map.
pub(super) struct StateWord {
    state: *mut StateEntry,
}

// SAFETY: the mapping is the process's; the publisher, which owns this, is used by one thread at
// a time.
unsafe impl Send for StateWord {}

impl StateWord {
    /// Maps STATE before a program uses it, and writes the layout's version and the namespace.
    pub(super) fn new(map: &Map, namespace: u64) -> Result<Self, KernelError> {
        let Map::Array(data) = map else {
            return Err(KernelError::Missing("STATE"));
        };
        // SAFETY: a new mapping of one page of a map that is mappable and at least that long.
        let address = unsafe {
            mmap(
                ptr::null_mut(),
                size_of::<StateEntry>(),
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::SHARED,
                data.fd(),
                0,
            )
        }
        .map_err(|error| KernelError::Io {
            what: "cannot map STATE into memory".to_owned(),
            source: error.into(),
        })?;
        let mapped = Self { state: address.cast() };
        mapped.namespace().store(namespace, Ordering::Relaxed);
        mapped.describe(&StateEntry { schema: SCHEMA, ..StateEntry::default() });
        mapped.word().store(NO_GENERATION, Ordering::Release);
        Ok(mapped)
    }

    /// Puts a generation in force: writes its description first, then the word that every program
    /// reads. For a moment a reader of the map sees the new description with the old generation;
    /// programs do not read the description. The namespace is unchanged.
    pub(super) fn publish(&self, state: &StateEntry) {
        self.describe(state);
        self.word().store(state.generation, Ordering::Release);
    }

    /// The whole value.
    pub(super) fn read(&self) -> StateEntry {
        // SAFETY: the mapping contains a State, and only this process writes it.
        unsafe { ptr::read_volatile(self.state) }
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping lives as long as `self`, and the word is aligned in it.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.state).generation) }
    }

    fn namespace(&self) -> &AtomicU64 {
        // SAFETY: the mapping lives as long as `self`, and the cookie is aligned in it.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.state).namespace) }
    }

    /// Writes all fields except the two words that programs read.
    fn describe(&self, state: &StateEntry) {
        // All fields are listed, so that a new field is not forgotten.
        let StateEntry {
            generation: _,
            schema,
            namespace: _,
            bindings,
            ranges,
            blocks,
            connectors,
            digest,
        } = *state;
        let target = self.state;
        // SAFETY: the mapping contains a State, and only this process writes it. Programs do not
        // read these fields, and volatile stores are not merged with stores to the words beside
        // them.
        unsafe {
            (&raw mut (*target).schema).write_volatile(schema);
            (&raw mut (*target).bindings).write_volatile(bindings);
            (&raw mut (*target).ranges).write_volatile(ranges);
            (&raw mut (*target).blocks).write_volatile(blocks);
            (&raw mut (*target).connectors).write_volatile(connectors);
            (&raw mut (*target).digest).write_volatile(digest);
        }
    }
}

impl Drop for StateWord {
    fn drop(&mut self) {
        // A failure cannot be handled, and the mapping ends with the process anyway.
        // SAFETY: the mapping is ours and no reference to it remains.
        let _ = unsafe { munmap(self.state.cast(), size_of::<StateEntry>()) };
    }
}

/// The cookie by which the kernel identifies this process's network namespace.
pub(super) fn namespace_cookie() -> io::Result<u64> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0")?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` octets to `cookie`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

/// asm-generic/socket.h, since Linux 5.14. The libc crate has no name for it on every target.
const SO_NETNS_COOKIE: libc::c_int = 71;

#[cfg(test)]
mod tests {
    use std::mem::ManuallyDrop;

    use super::*;

    /// A value in ordinary memory, which must not be unmapped.
    fn over(state: &mut StateEntry) -> ManuallyDrop<StateWord> {
        ManuallyDrop::new(StateWord { state })
    }

    #[test]
    fn a_publication_writes_everything_but_the_namespace() {
        let mut memory = StateEntry { namespace: 7, generation: 1, ..StateEntry::default() };
        let word = over(&mut memory);
        let published = StateEntry {
            generation: 2,
            schema: SCHEMA,
            namespace: 8,
            bindings: 3,
            ranges: 4,
            blocks: 5,
            connectors: 6,
            digest: [9; 32],
        };
        word.publish(&published);
        assert_eq!(word.read(), StateEntry { namespace: 7, ..published });
    }

    #[test]
    fn a_description_alone_has_no_effect() {
        let mut memory = StateEntry { generation: 1, ..StateEntry::default() };
        let word = over(&mut memory);
        word.describe(&StateEntry { generation: 2, bindings: 3, ..StateEntry::default() });
        let state = word.read();
        assert_eq!((state.generation, state.bindings), (1, 3));
    }
}
