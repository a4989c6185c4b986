//! The one value of STATE, mapped into the daemon.
//!
//! Publishing is one aligned store that every CPU sees whole; a map update by system call copies
//! bytes and promises less.

use std::io;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::KernelError;
use aya::maps::Map;
use relay_common::tables::{SCHEMA, State};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The mapped value. The descriptor may be closed: the mapping keeps the map.
pub(super) struct StateWord {
    state: *mut State,
}

// SAFETY: the mapping is the process's; the publisher, which owns this, is used by one thread at
// a time.
unsafe impl Send for StateWord {}

impl StateWord {
    /// Maps STATE and writes down the layout's version and the namespace.
    pub(super) fn new(map: &Map, namespace: u64) -> Result<Self, KernelError> {
        let Map::Array(data) = map else {
            return Err(KernelError::Missing("STATE"));
        };
        // SAFETY: a new mapping of one page of a map that is mappable and at least that long.
        let address = unsafe {
            mmap(
                ptr::null_mut(),
                size_of::<State>(),
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
        mapped.write(State { schema: SCHEMA, namespace, ..State::default() });
        Ok(mapped)
    }

    /// Puts a generation in force: first what describes it, then the word that every program
    /// reads. For a moment a dump shows the new description beside the old generation; no
    /// program reads the description.
    pub(super) fn publish(&self, state: State) {
        let described = State { generation: self.generation(), ..state };
        self.write(described);
        self.word().store(state.generation, Ordering::Release);
    }

    /// The generation in force.
    pub(super) fn generation(&self) -> u32 {
        self.word().load(Ordering::Acquire)
    }

    /// The whole value.
    pub(super) fn read(&self) -> State {
        // SAFETY: the mapping holds a State, and only this process writes it.
        unsafe { ptr::read_volatile(self.state) }
    }

    fn word(&self) -> &AtomicU32 {
        // SAFETY: the mapping lives as long as `self`, and the word is aligned in it.
        unsafe { AtomicU32::from_ptr(&raw mut (*self.state).generation) }
    }

    /// The generation and the namespace keep their bytes when they do not change, so programs
    /// that read them meanwhile see the same.
    fn write(&self, state: State) {
        // SAFETY: the mapping holds a State; programs read two words of it, volatile.
        unsafe { ptr::write_volatile(self.state, state) }
    }
}

impl Drop for StateWord {
    fn drop(&mut self) {
        // Nothing can be done about a failure, and the mapping ends with the process anyway.
        // SAFETY: the mapping is ours and nothing refers to it any more.
        let _ = unsafe { munmap(self.state.cast(), size_of::<State>()) };
    }
}

/// The cookie by which the kernel tells this process's network namespace from every other.
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
