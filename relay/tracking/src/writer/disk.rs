//! Files: when a file begins, how large it becomes, and which files must be removed for it.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::TrackingSettings;
use crate::files::{self, LogFile, Series};
use crate::limits::{TRACKING_FILE_TIME, TRACKING_REFUSALS_SHARE};
use crate::writer::TrackingWriter;
use relay_host::privileges::directory::{self, DirectoryAccess, DirectoryError};

/// One series of files, and the lines to write to it.
#[derive(Default)]
pub(super) struct Stream {
    pub(super) file: Option<Open>,
    /// Complete lines that are not written yet.
    pub(super) lines: Vec<u8>,
}

/// The current file.
pub(super) struct Open {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// Octets of complete lines in it.
    pub(super) size: u64,
    pub(super) since: Instant,
    /// The same time by the system clock.
    pub(super) began: SystemTime,
}

/// Why lines cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("less than {0} octets are free on the disk; the rest is reserved for mail")]
    Short(u64),
    #[error("cannot {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

impl TrackingWriter {
    /// Octets of one file.
    fn file_octets(&self, series: Series) -> u64 {
        let TrackingSettings { max_file_size, max_directory_size, .. } = self.settings;
        match series {
            Series::Messages => max_file_size,
            // Small enough that the share of refusals consists of several files.
            Series::Refusals => {
                max_file_size.min(max_directory_size / TRACKING_REFUSALS_SHARE / 4).max(1)
            }
        }
    }

    /// Writes complete lines, to as many files as necessary. `written` has the number of written
    /// octets.
    pub(super) fn write_lines(
        &mut self,
        series: Series,
        batch: &[u8],
        written: &mut usize,
    ) -> Result<(), WriteError> {
        while *written < batch.len() {
            let rest = &batch[*written..];
            let most = self.file_octets(series);
            let file = match self.stream(series).file.take() {
                Some(file) if file.since.elapsed() < TRACKING_FILE_TIME => file,
                _ => self.begin_file(series)?,
            };
            let room = usize::try_from(most.saturating_sub(file.size)).unwrap_or(usize::MAX);
            let end = if rest.len() <= room {
                rest.len()
            } else if let Some(end) = memchr::memrchr(b'\n', &rest[..room]) {
                end + 1
            } else if file.size > 0 {
                // The next line begins a new file.
                continue;
            } else {
                memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1)
            };
            check_free(&self.settings.path, self.settings.min_free_octets)?;
            let file = self.stream(series).file.insert(file);
            (&file.file)
                .write_all(&rest[..end])
                .map_err(|error| WriteError::io("write", &file.path, error))?;
            file.size += end as u64;
            *written += end;
        }
        Ok(())
    }

    /// A new file, after room was made for it.
    fn begin_file(&mut self, series: Series) -> Result<Open, WriteError> {
        let directory = self.settings.path.clone();
        let io = |doing| {
            let directory = directory.clone();
            move |error| WriteError::io(doing, &directory, error)
        };
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&directory);
        made.map_err(io("create the directory"))?;
        // Administrators can get access to the log by its group.
        directory::secure(&directory, DirectoryAccess::GroupReads, files::is_file_name)?;
        self.sweep(series, self.file_octets(series)).map_err(io("remove old files from"))?;
        check_free(&directory, self.settings.min_free_octets)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let begin = (now.as_millis() as u64).max(self.highest + 1);
        let path = files::path_of(&directory, series, begin);
        let mut options = OpenOptions::new();
        options.append(true).create_new(true).mode(0o600);
        let file = options.open(&path).map_err(|error| WriteError::io("make", &path, error))?;
        self.highest = begin;
        Ok(Open { file, path, size: 0, since: Instant::now(), began: SystemTime::now() })
    }

    /// Removes files until a file of `next` octets may be created. Refusals have at most their
    /// share, and messages have the rest.
    pub(super) fn sweep(&mut self, series: Series, next: u64) -> io::Result<()> {
        let TrackingSettings { path, max_age, max_directory_size, .. } = self.settings.clone();
        let mut room = max_directory_size;
        for this in [Series::Refusals, Series::Messages] {
            let most = match this {
                Series::Refusals => max_directory_size / TRACKING_REFUSALS_SHARE,
                Series::Messages => room,
            };
            let found = files::list(&path, this)?;
            if let Some(last) = found.last() {
                self.highest = self.highest.max(last.begin);
            }
            let next = if this == series { next } else { 0 };
            let now = SystemTime::now();
            let surplus = files::surplus(&found, now, max_age, most, next);
            found.iter().take(surplus).try_for_each(|file| fs::remove_file(&file.path))?;
            // After this the log of messages begins later, which searches see. That of refusals may
            // begin at any time.
            let young = |file: &&LogFile| {
                let age = now.duration_since(file.changed).unwrap_or_default();
                max_age.is_none_or(|most| age <= most)
            };
            let mut gone = found.iter().take(surplus).filter(young);
            if this == Series::Refusals
                && let Some(first) = gone.next()
            {
                let last = gone.next_back().unwrap_or(first);
                self.record_removed_files(
                    UNIX_EPOCH + Duration::from_millis(first.begin),
                    last.changed,
                );
            }
            let kept: u64 = found.iter().skip(surplus).map(|file| file.size).sum();
            room = room.saturating_sub(kept).saturating_sub(next);
        }
        Ok(())
    }
}

impl WriteError {
    fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Is there room for the log, and for mail?
fn check_free(directory: &Path, min_free: u64) -> Result<(), WriteError> {
    let system = rustix::fs::statvfs(directory)
        .map_err(|error| WriteError::io("examine", directory, error.into()))?;
    match system.f_bavail.saturating_mul(system.f_frsize) < min_free {
        true => Err(WriteError::Short(min_free)),
        false => Ok(()),
    }
}
