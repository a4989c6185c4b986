//! From the files of the last run to an open database and an index.
//!
//! Intact parts are served. Damaged parts are named and moved to `damaged/`, and the start
//! continues: a row whose checksum does not match; a database whose structure is damaged, whose
//! rows move to a new database; a log with damaged frames; a message file that is missing or has
//! another length. Message files that no entry names are removed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::record::{self, StoredBody};
use crate::sqlite::database::{CheckedRow, EntryRow};
use crate::sqlite::directory::{Directory, OpenError};
use crate::sqlite::index::{Index, Item};
use crate::sqlite::{database, wal};
use relay_mail::queue_id::QueueId;
use rusqlite::Connection;
use tracing::{info, warn};

use crate::limits;

/// The findings of opening a queue.
#[derive(Debug, Default)]
pub struct Recovery {
    /// Messages that are served again.
    pub messages: u64,
    /// The parts that could not be read, at most [`limits::DAMAGES_REPORTED`].
    pub damages: Vec<Damage>,
    /// Message files that no entry named, now removed.
    pub orphans: u64,
    /// The duration.
    pub took: Duration,
}

/// One part that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, and the page or table if there is one.
    pub place: String,
    /// The message, if its id is still readable.
    pub id: Option<QueueId>,
    /// The damage.
    pub what: String,
    /// The file in `damaged/` with the octets, if they could be copied.
    pub set_aside: Option<PathBuf>,
}

/// An open database and its contents.
pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) frames: Arc<AtomicU32>,
    pub(super) index: Index,
    pub(super) reserved: Option<QueueId>,
    pub(super) recovery: Recovery,
}

/// Why an attempt to open has ended.
pub(super) enum RecoveryFailure {
    /// The database is damaged; its rows may be saved.
    Corrupt(rusqlite::Error),
    /// Another error, which is not damage.
    Other(rusqlite::Error),
}

/// Does SQLite examine the structure of a database when it is opened?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SoundnessCheck {
    /// Yes, up to [`limits::DATABASE_CHECKED_OCTETS`].
    OfSmallDatabase,
    /// No: its rows were saved into a new file just now.
    None,
}

/// When a database is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    /// The daemon starts. Nothing is known of the last run.
    Start,
    /// A commit or a checkpoint has failed. Messages are being received, so no file is an orphan.
    AfterError {
        /// Frames of the log that had been synced before.
        frames: u32,
    },
}

/// Opens the database of a directory that no other process has open.
///
/// # Errors
/// [`OpenError`] if the system refuses. Damage is not an error.
pub(super) fn open(
    directory: &Directory,
    vfs: Option<&'static str>,
    occasion: Occasion,
) -> Result<Opened, OpenError> {
    let begin = Instant::now();
    let mut recovering =
        Recovering { directory, recovery: Recovery::default(), entries_lost: false };
    recovering.finish_exchange()?;
    recovering.renew_log(match occasion {
        Occasion::Start => None,
        Occasion::AfterError { frames } => Some(frames),
    })?;
    let marked = directory.salvage_mark().exists();
    let attempt = if marked {
        Err(RecoveryFailure::Corrupt(marked_error()))
    } else {
        recovering.open(vfs, SoundnessCheck::OfSmallDatabase)
    };
    let (connection, frames, index) = match attempt {
        Ok(opened) => opened,
        Err(RecoveryFailure::Corrupt(cause)) => {
            recovering.exchange(&cause)?;
            let opened = recovering.open(vfs, SoundnessCheck::None);
            opened.map_err(|failure| recovering.failed(failure))?
        }
        Err(failure) => return Err(recovering.failed(failure)),
    };
    let mut opened =
        Opened { connection, frames, index, reserved: None, recovery: Recovery::default() };
    recovering
        .files(&mut opened)
        .map_err(|error| recovering.failed(RecoveryFailure::Other(error)))?;
    opened.reserved = database::reserved(&opened.connection)
        .map_err(|error| recovering.failed(RecoveryFailure::Other(error)))?;
    if occasion == Occasion::Start {
        let orphans = recovering.orphans(&opened.index);
        orphans.map_err(|source| OpenError::io("list", &directory.messages(), source))?;
    }
    opened.recovery = recovering.recovery;
    opened.recovery.messages = opened.index.lengths().queued;
    opened.recovery.took = begin.elapsed();
    info!(
        directory = %directory.path().display(),
        messages = opened.recovery.messages,
        damages = opened.recovery.damages.len(),
        orphans = opened.recovery.orphans,
        milliseconds = opened.recovery.took.as_millis() as u64,
        "the queue is open"
    );
    Ok(opened)
}

pub(super) struct Recovering<'a> {
    pub(super) directory: &'a Directory,
    recovery: Recovery,
    /// Entries may have been lost, and with them the names of message files.
    pub(super) entries_lost: bool,
}

impl Recovering<'_> {
    fn renew_log(&mut self, believed: Option<u32>) -> Result<(), OpenError> {
        let path = self.directory.database();
        // The database is not open: the shared memory of the last run is not needed.
        let _ = fs::remove_file(with_suffix(&path, "-shm"));
        let log = wal::path(&path);
        let set_aside = self.directory.damaged(&self.unique("log"));
        let page = limits::DATABASE_PAGE_OCTETS;
        let judgement =
            self.io("renew", &log, wal::rewrite_log(&path, page, believed, &set_aside))?;
        if judgement.cut > 0 {
            let (frames, kept) = (judgement.cut, judgement.frames);
            info!(frames, kept, "cut off the frames of the queue's log after its last commit");
        }
        if judgement.is_damaged() {
            self.entries_lost = true;
            let mut what = Vec::new();
            if judgement.header_damaged {
                what.push("its header was damaged and has been rebuilt".to_owned());
            }
            if judgement.last_is_doubtful {
                what.push("its last transaction is not whole and was left out".to_owned());
            }
            if !judgement.damaged_pages.is_empty() {
                what.push(format!("pages {:?} are damaged in it", judgement.damaged_pages));
            }
            self.damage(log.display(), None, what.join("; "), Some(set_aside));
        }
        Ok(())
    }

    /// Opens the database and reads its entries.
    fn open(
        &mut self,
        vfs: Option<&'static str>,
        check: SoundnessCheck,
    ) -> Result<(Connection, Arc<AtomicU32>, Index), RecoveryFailure> {
        let path = self.directory.database();
        let frames = Arc::new(AtomicU32::new(0));
        let sort = |error: rusqlite::Error| {
            if database::is_corrupt(&error) {
                RecoveryFailure::Corrupt(error)
            } else {
                RecoveryFailure::Other(error)
            }
        };
        let connection = database::open_writer(&path, vfs, &frames).map_err(sort)?;
        // After a start with a log, the hook has not run yet; the length of the log is the length
        // of its file.
        let octets = fs::metadata(wal::path(&path)).map_or(0, |file| file.len());
        let in_log = octets / (limits::DATABASE_PAGE_OCTETS as u64 + 24);
        frames.fetch_max(u32::try_from(in_log).unwrap_or(u32::MAX), Ordering::AcqRel);
        let small = fs::metadata(&path).is_ok_and(|f| f.len() <= limits::DATABASE_CHECKED_OCTETS);
        if check == SoundnessCheck::OfSmallDatabase
            && small
            && !database::passes_integrity_check(&connection).map_err(sort)?
        {
            return Err(RecoveryFailure::Corrupt(unsound_error()));
        }
        let mut index = Index::default();
        let mut damaged = Vec::new();
        let read = database::each_entry(&connection, |row| match row {
            CheckedRow::Whole(row) => match item(&row) {
                Some(item) => index.put(row.id, item),
                None => damaged.push(row),
            },
            CheckedRow::Damaged(row) => damaged.push(row),
        });
        read.map_err(sort)?;
        self.entries_lost |= !damaged.is_empty();
        for row in damaged {
            let set_aside = self.move_to_damaged(&format!("{}.entry", row.id), &row.record);
            let body = database::find_body(&connection, row.id);
            if let Ok(Some(body)) = body {
                self.move_to_damaged(&format!("{}.eml", row.id), &body.into_row().message);
            }
            let what = "its entry does not have its checksum; it leaves the queue".to_owned();
            self.damage(format!("{}, table entry", path.display()), Some(row.id), what, set_aside);
            database::remove(&connection, row.id).map_err(sort)?;
        }
        Ok((connection, frames, index))
    }

    /// Messages whose file is missing or has another length leave the schedule.
    fn files(&mut self, opened: &mut Opened) -> rusqlite::Result<()> {
        let ids: Vec<_> = opened.index.in_files().collect();
        for id in ids {
            let Some(row) = database::find_entry(&opened.connection, id)? else { continue };
            let row = row.into_row();
            let Ok((entry, _)) = record::decode(id, &row.record) else { continue };
            let path = self.directory.message(id);
            let what = match fs::symlink_metadata(&path) {
                Ok(metadata) if metadata.is_file() && metadata.len() == entry.file_octets() => {
                    continue;
                }
                Ok(metadata) if !metadata.is_file() => {
                    "something that is no file stands in its place; it leaves the queue".to_owned()
                }
                Ok(metadata) => format!(
                    "its file has {} octets instead of {}; it leaves the queue",
                    metadata.len(),
                    entry.file_octets()
                ),
                Err(error) => {
                    format!("its file cannot be examined: {error}; it leaves the queue")
                }
            };
            let target = self.directory.damaged(&id.to_string());
            let set_aside = fs::rename(&path, &target).is_ok().then_some(target);
            let envelope = self.move_to_damaged(&format!("{id}.entry"), &row.record);
            let set_aside = set_aside.or(envelope);
            database::remove(&opened.connection, id)?;
            opened.index.remove(id);
            self.damage(path.display(), Some(id), what, set_aside);
        }
        Ok(())
    }

    /// Removes message files that no entry names: abandoned, or removed just before a crash. If
    /// entries may have been lost, the file may be the only remaining part: it is moved to
    /// `damaged/`.
    fn orphans(&mut self, index: &Index) -> io::Result<()> {
        let named: std::collections::HashSet<_> =
            index.in_files().map(|id| id.to_string()).collect();
        for file in fs::read_dir(self.directory.messages())? {
            let file = file?;
            let name = file.file_name().to_string_lossy().into_owned();
            if named.contains(&name) {
                continue;
            }
            if self.entries_lost {
                let target = self.directory.damaged(&name);
                let set_aside = fs::rename(file.path(), &target).is_ok().then_some(target);
                let what = "no entry names it, and entries were damaged".to_owned();
                self.damage(file.path().display(), name.parse().ok(), what, set_aside);
            } else if fs::remove_file(file.path()).is_ok() {
                self.recovery.orphans += 1;
            }
        }
        Ok(())
    }

    /// Copies octets to `damaged/`, while the bound of damage reports is not reached.
    pub(super) fn move_to_damaged(&self, name: &str, bytes: &[u8]) -> Option<PathBuf> {
        let target = self.directory.damaged(name);
        let room = self.recovery.damages.len() < limits::DAMAGES_REPORTED;
        (room && fs::write(&target, bytes).is_ok()).then_some(target)
    }

    pub(super) fn damage(
        &mut self,
        place: impl ToString,
        id: Option<QueueId>,
        what: String,
        set_aside: Option<PathBuf>,
    ) {
        let damage = Damage { place: place.to_string(), id, what, set_aside };
        let Damage { place, id, what, set_aside } = &damage;
        let id = id.map(|id| id.to_string());
        let set_aside = set_aside.as_ref().map(|path| path.display().to_string());
        warn!(place, id, what, set_aside, "found damage in the queue");
        if self.recovery.damages.len() < limits::DAMAGES_REPORTED {
            self.recovery.damages.push(damage);
        }
    }

    /// A name in `damaged/` that no earlier damage has.
    pub(super) fn unique(&self, what: &str) -> String {
        let taken = |name: &String| self.directory.damaged(name).exists();
        let mut names = (1..).map(|number: u32| format!("{what}-{number}"));
        names.find(|name| !taken(name)).unwrap_or_else(|| what.to_owned())
    }

    pub(super) fn io<T>(
        &self,
        doing: &'static str,
        path: &Path,
        result: io::Result<T>,
    ) -> Result<T, OpenError> {
        result.map_err(|source| OpenError::io(doing, path, source))
    }

    pub(super) fn failed(&self, failure: RecoveryFailure) -> OpenError {
        let (RecoveryFailure::Corrupt(source) | RecoveryFailure::Other(source)) = failure;
        OpenError::Database { path: self.directory.database(), source }
    }
}

/// What the index keeps of an entry. None when its record cannot be read.
fn item(row: &EntryRow) -> Option<Item> {
    // Nearly all messages are in the database, and their records need not be read.
    let body = if record::may_be_in_file(&row.record) {
        record::decode(row.id, &row.record).ok()?.1
    } else {
        StoredBody::InDatabase
    };
    let due = UNIX_EPOCH + Duration::from_millis(u64::try_from(row.due).unwrap_or(0));
    Some(Item { due, held: row.held, body, claimed: false })
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn marked_error() -> rusqlite::Error {
    failure("the last run found its structure damaged")
}

fn unsound_error() -> rusqlite::Error {
    failure("its structure is not sound")
}

fn failure(what: &str) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(what.to_owned()))
}
