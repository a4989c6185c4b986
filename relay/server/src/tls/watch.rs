//! Files that are looked at from time to time, and whether they have changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Files that are read together.
#[derive(Debug)]
pub(super) struct Watch {
    /// What they looked like when they were last read.
    read: Look,
    /// What they looked like at the last look, where that differs: they are perhaps being written.
    changing: Option<Look>,
}

/// What files look like from outside. `None`: one is not there. Links are followed, so that a link
/// which is turned elsewhere is a change.
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
    /// To be begun before the files are read: a change meanwhile is then seen as one.
    pub(super) fn begin(paths: &[&Path]) -> Self {
        Self { read: look(paths), changing: None }
    }

    /// Are they to be read again? A change counts once two looks in a row have seen the same:
    /// several files are to be written before they are read.
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
