//! The allocator, and when free memory goes back to the system.
//!
//! glibc keeps what is freed between things that live long: after four thousand sessions that held
//! much, 125 MB stayed with a daemon that used 23. Others give back what a thread freed when that
//! thread works again, and most of a daemon's threads sleep after an attack. jemalloc has a thread
//! for it. SQLite has glibc's allocator.

use tracing::warn;

/// To be the `#[global_allocator]` of a program that runs the daemon.
pub use tikv_jemallocator::Jemalloc as Allocator;

/// From now on, pages that have been empty for ten seconds go back to the system, also while
/// all threads of this process sleep. Starts a thread, which keeps the rights that this one has.
pub fn give_back_in_background() {
    if let Err(error) = tikv_jemalloc_ctl::background_thread::write(true) {
        warn!(%error, "free memory will not go back to the system while the daemon is idle");
    }
}
