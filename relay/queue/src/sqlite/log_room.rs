//! Preallocates the log, so that a commit overwrites octets that the file has.
//!
//! A sync after an append must also write the file's new length, for which a journalling file
//! system needs another transaction after the data. After overwriting octets that were synced
//! before, a sync writes the data alone, in half the time: measured in docs/queue-storage.md. The
//! preallocated octets are zeros, which are never a valid frame: SQLite and [`super::wal`] stop
//! there as they stop at old frames. If preallocation fails, the log grows as usual.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use tracing::info;

use crate::limits;

/// The preallocated room of one log.
#[derive(Debug)]
pub(super) struct LogRoom {
    path: PathBuf,
    /// Octets of the file when it was last looked at.
    length: u64,
    /// There is no more to be had.
    ends_here: bool,
}

impl LogRoom {
    /// For the log at this path, which may not be there yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, length: 0, ends_here: false }
    }

    /// Is there too little in front of a log of `used` octets?
    pub(super) fn is_short(&self, used: u64) -> bool {
        !self.ends_here && self.length < used + limits::LOG_ROOM_LEAST
    }

    /// Preallocates more, while no transaction writes to the log.
    pub(super) fn extend(&mut self) {
        match self.try_extend() {
            Ok(length) => {
                self.length = length;
                self.ends_here = length >= limits::LOG_ROOM_MOST;
            }
            Err(error) => {
                info!(path = %self.path.display(), %error, "cannot preallocate the queue's log");
                self.ends_here = true;
            }
        }
    }

    /// The length of the file afterwards.
    fn try_extend(&self) -> io::Result<u64> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        let from = file.metadata()?.len();
        let length = from + limits::LOG_ROOM_STEP;
        fill(&file, from, length)?;
        // Synced here, because otherwise the next commit would wait for it.
        file.sync_data()?;
        Ok(length)
    }
}

fn fill(file: &File, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; limits::LOG_ROOM_WRITE];
    let mut at = from;
    while at < to {
        let piece = usize::try_from(to - at).unwrap_or(usize::MAX).min(zeros.len());
        file.write_all_at(&zeros[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}
