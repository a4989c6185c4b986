//! From the files of the last run to an index.
//!
//! What is whole is served. What is not is reported by its file and offset and set aside in
//! `damaged/`, and the start goes on. Message files that no record names are swept.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::frame::{Found, Kind};
use super::index::{Body, Index, Item};
use super::segment::{HEADER, Place, Scanned, Segment};
use crate::limits;
use crate::queue::QueueId;
use crate::queue::record::{self, StoredBody};

/// Why a queue directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another daemon has it.
    #[error(
        "the queue directory {} is in use by process {process}; stop it, or give this daemon a \
         directory of its own", directory.display()
    )]
    InUse {
        /// The directory.
        directory: PathBuf,
        /// The process id that the lock file names.
        process: String,
    },
    /// The system refused.
    #[error("cannot {doing} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What opening a queue found.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Messages that are served again.
    pub messages: u64,
    /// What could not be read, at most [`limits::DAMAGES_REPORTED`] of it.
    pub damages: Vec<Damage>,
    /// Message files that no record named, now removed.
    pub orphans: u64,
    /// How long it took.
    pub took: Duration,
    pub(super) highest_id: u64,
    pub(super) next_segment: u32,
}

/// One thing that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, and the offset where there is one.
    pub place: String,
    /// The message, where the damage leaves its id readable.
    pub id: Option<QueueId>,
    /// What is wrong.
    pub what: String,
    /// Where the bytes are kept for an administrator, if they could be.
    pub set_aside: Option<PathBuf>,
}

impl OpenError {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

pub(super) fn log_directory(directory: &Path) -> PathBuf {
    directory.join("log")
}

pub(super) fn messages_directory(directory: &Path) -> PathBuf {
    directory.join("messages")
}

pub(super) fn damaged_directory(directory: &Path) -> PathBuf {
    directory.join("damaged")
}

/// Makes the directories that are missing and locks the queue for this process.
pub(super) fn prepare(directory: &Path) -> Result<File, OpenError> {
    let error = |doing| move |path: &Path, source| OpenError::io(doing, path, source);
    let parts =
        [log_directory(directory), messages_directory(directory), damaged_directory(directory)];
    for part in &parts {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(part);
        made.map_err(|source| error("make the directory")(part, source))?;
    }
    let path = directory.join("lock");
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    let mut lock = options.open(&path).map_err(|source| error("open")(&path, source))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let process = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
            return Err(OpenError::InUse { directory: directory.to_owned(), process });
        }
        Err(TryLockError::Error(source)) => return Err(error("lock")(&path, source)),
    }
    // The number only serves the message above; a full disk must not keep the queue closed.
    let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|source| error("sync")(directory, source))?;
    Ok(lock)
}

/// Reads the log and puts the files beside it in order.
pub(super) fn replay(directory: &Path) -> Result<(Index, Recovery), OpenError> {
    let begin = Instant::now();
    let log = log_directory(directory);
    let segments = Segment::list(&log).map_err(|source| OpenError::io("list", &log, source))?;
    let mut replay = Replay { directory, index: Index::default(), recovery: Recovery::default() };
    let newest = segments.last().map(|(number, _)| *number);
    for (number, path) in segments {
        replay.segment(number, &path, Some(number) == newest);
        replay.recovery.next_segment = number;
    }
    replay.recovery.next_segment += 1;
    replay.missing_files();
    replay
        .orphans()
        .map_err(|source| OpenError::io("list", &messages_directory(directory), source))?;
    let Replay { index, mut recovery, .. } = replay;
    recovery.messages = index.lengths().queued;
    recovery.took = begin.elapsed();
    info!(
        directory = %directory.display(),
        messages = recovery.messages,
        damages = recovery.damages.len(),
        orphans = recovery.orphans,
        milliseconds = recovery.took.as_millis() as u64,
        "the queue is open"
    );
    Ok((index, recovery))
}

struct Replay<'a> {
    directory: &'a Path,
    index: Index,
    recovery: Recovery,
}

impl Replay<'_> {
    fn segment(&mut self, number: u32, path: &Path, newest: bool) {
        let (segment, bytes, highest_id) = match Segment::open(number, path) {
            Ok(opened) => opened,
            Err(error) => return self.lost_segment(path, newest, &error),
        };
        let segment = Arc::new(segment);
        self.recovery.highest_id = self.recovery.highest_id.max(highest_id);
        self.index.add_segment(Arc::clone(&segment));
        let mut end = HEADER as u64;
        let mut may_cut = true;
        for scanned in segment.scan(&bytes) {
            match scanned {
                Scanned::Frame { offset, found } => {
                    end = offset + found.length as u64;
                    if let Err(what) = self.frame(number, offset, found) {
                        let bytes = &bytes[offset as usize..end as usize];
                        self.damage(&segment.path, offset, Some(found.id), what, bytes);
                    }
                }
                // A crash in the middle of a write leaves this, and nobody was told 250 for it.
                Scanned::Bad { offset, bytes, last: true, .. } if newest => {
                    let (path, octets) = (segment.path.display(), bytes.len());
                    info!(%path, offset, octets, "an unfinished write ends the queue's log");
                }
                Scanned::Bad { offset, bytes, error, last } => {
                    let what = error.to_string();
                    let kept = self.damage(&segment.path, offset, error.id(), what, bytes);
                    may_cut &= kept || !last;
                }
            }
        }
        self.index.set_segment_length(number, end);
        // The rest was reserved and never written, or unconfirmed, or is set aside.
        if may_cut
            && bytes.len() as u64 > end
            && let Err(error) = segment.cut(end)
        {
            warn!(path = %segment.path.display(), %error, "cannot cut a segment");
        }
    }

    /// Follows one whole record.
    fn frame(&mut self, segment: u32, offset: u64, found: Found<'_>) -> Result<(), String> {
        let highest = &mut self.recovery.highest_id;
        *highest = (*highest).max(found.id.to_u64());
        let place = Place { segment, length: found.length as u32, offset };
        if found.kind == Kind::Removed {
            self.index.remove(found.id);
            return Ok(());
        }
        let (entry, stored) =
            record::decode(found.id, found.entry).map_err(|error| error.to_string())?;
        let body = match (found.kind, stored) {
            (Kind::Message, _) => Body::InLog(place),
            (_, StoredBody::InFile { checksum }) => Body::InFile { size: entry.size, checksum },
            (_, StoredBody::InLog) => {
                let known = self.index.find(found.id);
                known.map_err(|_| "the record that held its message is lost".to_owned())?.body
            }
        };
        self.index.put(found.id, Item::new(entry.due, entry.held, place, body));
        Ok(())
    }

    /// A segment without a readable header cannot be told from a foreign file.
    fn lost_segment(&mut self, path: &Path, newest: bool, error: &io::Error) {
        let name = path.file_name().unwrap_or_default();
        // A crash while a segment was being made leaves one without a header and a record.
        if newest && is_zero(path) {
            let _ = fs::remove_file(path);
            return;
        }
        let target = damaged_directory(self.directory).join(name);
        let set_aside = fs::rename(path, &target).is_ok().then_some(target);
        let place = path.display().to_string();
        self.report(Damage { place, id: None, what: error.to_string(), set_aside });
    }

    /// Messages whose file is gone or has another length leave the schedule.
    fn missing_files(&mut self) {
        let in_files: Vec<_> = self.index.in_files().collect();
        for (id, size) in in_files {
            let path = messages_directory(self.directory).join(id.to_string());
            let what = match fs::metadata(&path) {
                Ok(metadata) if metadata.len() == size => continue,
                Ok(metadata) => format!("it has {} octets instead of {size}", metadata.len()),
                Err(error) => error.to_string(),
            };
            let place = path.display().to_string();
            let target = damaged_directory(self.directory).join(id.to_string());
            let set_aside = fs::rename(&path, &target).is_ok().then_some(target);
            self.index.remove(id);
            self.report(Damage { place, id: Some(id), what, set_aside });
        }
    }

    /// Removes message files that no record names: abandoned, or removed just before a crash.
    fn orphans(&mut self) -> io::Result<()> {
        let named: HashSet<_> = self.index.in_files().map(|(id, _)| id.to_string()).collect();
        for file in fs::read_dir(messages_directory(self.directory))? {
            let file = file?;
            let is_named = file.file_name().to_str().is_some_and(|name| named.contains(name));
            if !is_named && fs::remove_file(file.path()).is_ok() {
                self.recovery.orphans += 1;
            }
        }
        Ok(())
    }

    /// Reports bytes that are no record. True when they could be set aside.
    fn damage(
        &mut self,
        path: &Path,
        offset: u64,
        id: Option<QueueId>,
        what: String,
        bytes: &[u8],
    ) -> bool {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let target = damaged_directory(self.directory).join(format!("{name}-{offset}.record"));
        let kept = self.recovery.damages.len() < limits::DAMAGES_REPORTED
            && fs::write(&target, bytes).is_ok();
        let place = format!("{} at {offset}", path.display());
        self.report(Damage { place, id, what, set_aside: kept.then_some(target) });
        kept
    }

    fn report(&mut self, damage: Damage) {
        let Damage { place, id, what, set_aside } = &damage;
        let id = id.map(|id| id.to_string());
        let set_aside = set_aside.as_ref().map(|path| path.display().to_string());
        warn!(place, id, what, set_aside, "something in the queue is damaged");
        if self.recovery.damages.len() < limits::DAMAGES_REPORTED {
            self.recovery.damages.push(damage);
        }
    }
}

fn is_zero(path: &Path) -> bool {
    fs::read(path).is_ok_and(|bytes| bytes.iter().all(|&octet| octet == 0))
}
