//! Files that are checked from time to time for changes.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Files that are read together.
#[derive(Debug)]
pub(super) struct Watch {
    /// The state of the files when they were last read.
    read: Look,
    /// The state of the files at the last check, if it differs: they may be in the middle of a
    /// change.
    changing: Option<Look>,
}

/// The state of a file from outside. `None`: it does not exist. Links are followed, so that a
/// changed link is a change.
type Look = Vec<Option<FileLook>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileLook {
    device: u64,
    inode: u64,
    octets: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Must begin before the files are read: a change in between is then noticed.
    pub(super) fn begin(paths: &[&Path]) -> Self {
        Self { read: look(paths), changing: None }
    }

    /// Must the files be read again? A change counts when two checks have seen the same state,
    /// because several files may be written one after the other.
    pub(super) fn has_changed(&mut self, paths: &[&Path]) -> bool {
        let now = look(paths);
        if now == self.read {
            self.changing = None;
            return false;
        }
        if self.changing.as_ref() != Some(&now) {
            self.changing = Some(now);
            return false;
        }
        self.changing = None;
        self.read = now;
        true
    }
}

fn look(paths: &[&Path]) -> Look {
    let look = |path: &&Path| {
        let found = fs::metadata(path).ok()?;
        Some(FileLook {
            device: found.dev(),
            inode: found.ino(),
            octets: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    };
    paths.iter().map(look).collect()
}
