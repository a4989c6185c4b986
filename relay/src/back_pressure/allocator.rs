//! Makes the allocator give free memory back to the system.
//!
//! glibc keeps what is freed for later use, in an arena for each few threads, and gives back only what
//! lies at an arena's end. After a burst of sessions, or of large messages, hundreds of megabytes stay
//! with the process. They count as its private memory, and back pressure would refuse mail for them.
//!
//! When to look is for [`super::meter`]. Other allocators have their own ways, and nothing is done.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::FREE_MEMORY_KEPT;

/// What the allocator could not give back the last time.
#[derive(Debug, Default)]
pub(super) struct Allocator {
    kept: AtomicU64,
}

impl Allocator {
    /// Gives free memory back where there is much of it. `resident` reads the octets of private memory
    /// that the process has.
    pub(super) fn give_back(&self, resident: impl Fn() -> Option<u64>) {
        let free = |octets: u64| octets.saturating_sub(in_use());
        let Some(before) = resident().filter(|&octets| octets > FREE_MEMORY_KEPT) else { return };
        let kept = self.kept.load(Ordering::Relaxed);
        if free(before) <= kept.saturating_add(FREE_MEMORY_KEPT) {
            // What could not be given back once may be in use by now, and free again later.
            self.kept.fetch_min(free(before), Ordering::Relaxed);
            return;
        }
        trim();
        let after = resident().unwrap_or(before);
        self.kept.store(free(after), Ordering::Relaxed);
        tracing::debug!(before, after, "the allocator gave memory back");
    }
}

/// Octets that the process has allocated.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn in_use() -> u64 {
    // SAFETY: it takes no argument, and locks each arena while it reads.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as u64
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: it takes no pointer, and locks each arena while it works.
    let _ = unsafe { libc::malloc_trim(0) };
}

/// Without a way to ask, all of it counts as in use.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn in_use() -> u64 {
    u64::MAX
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    /// Small pieces, every second of which is freed first, leave no end of an arena free.
    #[test]
    fn what_is_free_goes_back_once() {
        let resident = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
            let kibibytes: u64 = line.trim().strip_suffix(" kB").unwrap().parse().unwrap();
            Some(kibibytes * 1024)
        };
        let pieces: Vec<_> = (0..3 * FREE_MEMORY_KEPT / 1024).map(|_| vec![1u8; 1000]).collect();
        // It lies above all of them, so that nothing below goes back by itself.
        let last = vec![1u8; 1000];
        let full = resident().unwrap();
        drop(pieces);
        let allocator = Allocator::default();
        allocator.give_back(resident);
        let after = resident().unwrap();
        assert!(after + 2 * FREE_MEMORY_KEPT < full, "{after} of {full}");
        assert!(allocator.kept.load(Ordering::Relaxed) < FREE_MEMORY_KEPT);
        drop(last);
    }
}
