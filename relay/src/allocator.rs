//! The allocator, and when free memory goes back to the system.
//!
//! glibc keeps free memory between long-lived objects: after four thousand large sessions, a daemon
//! that used 23 MB kept 125 MB. Other allocators return the memory of a thread only when that
//! thread runs again, but most threads of a daemon sleep after an attack. jemalloc has a background
//! thread for this. SQLite uses glibc's allocator.

use tracing::warn;

/// The `#[global_allocator]` of a program that runs the daemon.
pub use tikv_jemallocator::Jemalloc as Allocator;

/// Starts a thread that returns pages to the system when they have been empty for ten seconds, even
/// while all other threads sleep. The new thread keeps the capabilities of the calling thread.
pub fn start_background_purge() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        warn!(%error, "memory is not returned to the system while the daemon is idle");
    }
}
