//! The free space of the file system, which every message and every commit needs to know.
//!
//! Asking costs as much as a small write. While there is much more space than can be written in a
//! moment, the value of a moment ago is used; when space is short, the disk is asked each time.

use std::path::{Path, PathBuf};
use std::time::Instant;

use parking_lot::Mutex;
use relay_mail::store_error::StoreError;
use rustix::fs::StatVfs;

use crate::limits;

/// The file system of the queue's directory.
#[derive(Debug)]
pub(super) struct Space {
    directory: PathBuf,
    /// The free octets, if they were more than is ever needed, and when they were read.
    plenty: Mutex<Option<(Instant, u64)>>,
}

impl Space {
    pub(super) fn of(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), plenty: Mutex::new(None) }
    }

    /// The free octets of a moment ago, if they were plenty. Does not ask the disk.
    pub(super) fn seen(&self) -> Option<u64> {
        let (seen, free) = (*self.plenty.lock())?;
        (seen.elapsed() < limits::SPACE_SEEN).then_some(free)
    }

    /// Octets that are free.
    ///
    /// # Errors
    /// [`StoreError::Full`] if no inode is free, even if octets are.
    pub(super) fn free_octets(&self) -> Result<u64, StoreError> {
        if let Some(free) = self.seen() {
            return Ok(free);
        }
        let now = Instant::now();
        let system = self.file_system()?;
        // Some file systems count no inodes and say 0 of 0.
        let counts_inodes = system.f_files > 0;
        if counts_inodes && system.f_favail == 0 {
            let directory = self.directory.display();
            return Err(StoreError::Full(format!("{directory} has no inode free")));
        }
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        let is_plenty = free >= limits::SPACE_PLENTY_OCTETS
            && (!counts_inodes || system.f_favail >= limits::SPACE_PLENTY_INODES);
        *self.plenty.lock() = is_plenty.then_some((now, free));
        Ok(free)
    }

    /// The current state of the file system.
    pub(super) fn file_system(&self) -> Result<StatVfs, StoreError> {
        let examined = rustix::fs::statvfs(&self.directory);
        examined.map_err(|error| StoreError::io("examine", &self.directory, error.into()))
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use crate::sqlite::space::*;

    #[test]
    fn plenty_of_space_is_remembered_and_a_shortage_is_not() {
        let directory = TempDir::new().unwrap();
        let space = Space::of(directory.path());
        let free = space.free_octets().unwrap();
        assert_eq!(space.plenty.lock().is_some(), free >= limits::SPACE_PLENTY_OCTETS);
        *space.plenty.lock() = Some((Instant::now() + limits::SPACE_SEEN, 7));
        assert_eq!(space.free_octets().unwrap(), 7, "what was seen a moment ago");
        let long_ago = Instant::now().checked_sub(limits::SPACE_SEEN).unwrap();
        *space.plenty.lock() = Some((long_ago, 7));
        assert_ne!(space.free_octets().unwrap(), 7, "too old");
    }

    #[test]
    fn a_directory_that_is_gone_is_named() {
        let space = Space::of(Path::new("/nowhere/queue"));
        let error = space.free_octets().unwrap_err().to_string();
        assert!(error.contains("/nowhere/queue"), "{error}");
    }
}
