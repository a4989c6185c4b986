//! The queue without a running daemon, read-only: nothing in the directory is changed, created or
//! locked.
//!
//! SQLite would create the index of the write-ahead log beside the file, owned by the user of the
//! command. So the file is opened without locks and as if this process were its only user: then the
//! index is in memory. A daemon that starts meanwhile need not wait; [`Offline::is_in_use`] shows
//! that the data read may be inconsistent.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::Entry;
use crate::record::{self, StoredBody};
use crate::sqlite::database::CheckedRow;
use crate::sqlite::{OpenError, database};
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use rusqlite::{Connection, OpenFlags};

use crate::limits;

/// A queue directory that no daemon uses.
#[derive(Debug)]
pub struct Offline {
    directory: PathBuf,
    connection: Connection,
}

/// A message that cannot be read, and what the next start will do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unserved {
    /// The next start sets it aside.
    SetAside(QueueId),
    /// The daemon will put it on hold.
    Held(QueueId),
}

impl Offline {
    /// Opens the queue in this directory. `None` if there is none yet.
    ///
    /// # Errors
    /// [`OpenError`] if a daemon uses it, or if it cannot be read.
    pub fn open(directory: &Path) -> Result<Option<Self>, OpenError> {
        if is_locked(directory)? {
            let lock = std::fs::read_to_string(directory.join("lock")).unwrap_or_default();
            let process = lock.trim().to_owned();
            return Err(OpenError::InUse { directory: directory.to_owned(), process });
        }
        let path = directory.join("queue.db");
        match path.metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(OpenError::io("open", &path, source)),
        }
        let connection =
            open(&path).map_err(|source| OpenError::Database { path: path.clone(), source })?;
        Ok(Some(Self { directory: directory.to_owned(), connection }))
    }

    /// Has a daemon begun to use it?
    pub fn is_in_use(&self) -> bool {
        is_locked(&self.directory).unwrap_or(true)
    }

    /// Passes every message, oldest first, or what the next start will do with a damaged one.
    ///
    /// # Errors
    /// The errors of SQLite for the file.
    pub fn each(
        &self,
        mut take: impl FnMut(Result<Entry, Unserved>),
    ) -> Result<(), rusqlite::Error> {
        database::each_entry(&self.connection, |row| {
            take(match row {
                CheckedRow::Whole(row) => match record::decode(row.id, &row.record) {
                    Ok((entry, body)) if self.has_file(&entry, body) => Ok(entry),
                    Ok(_) => Err(Unserved::SetAside(row.id)),
                    // A later version may have written the row.
                    Err(_) => Err(Unserved::Held(row.id)),
                },
                CheckedRow::Damaged(row) => Err(Unserved::SetAside(row.id)),
            });
        })
    }

    /// Does the message have its file, with the right length?
    fn has_file(&self, entry: &Entry, body: StoredBody) -> bool {
        let path = || self.directory.join("messages").join(entry.id.to_string());
        match body {
            StoredBody::InDatabase => true,
            StoredBody::InFile { .. } => {
                let file = path().symlink_metadata();
                file.is_ok_and(|file| file.is_file() && file.len() == entry.file_octets())
            }
        }
    }

    /// One message.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], [`StoreError::Damaged`].
    pub fn find(&self, id: QueueId) -> Result<Entry, StoreError> {
        let damaged = |what: String| StoreError::Damaged { id, what };
        match database::find_entry(&self.connection, id) {
            Ok(Some(CheckedRow::Whole(row))) => match record::decode(id, &row.record) {
                Ok((entry, body)) if self.has_file(&entry, body) => Ok(entry),
                Ok(_) => Err(damaged("its file is missing or has another length".to_owned())),
                Err(error) => Err(damaged(error.to_string())),
            },
            Ok(Some(CheckedRow::Damaged(_))) => {
                Err(damaged("its entry does not have its checksum".to_owned()))
            }
            Ok(None) => Err(StoreError::NotFound(id)),
            Err(error) => Err(damaged(error.to_string())),
        }
    }
}

/// Does a daemon hold the lock? Tries the lock only for a moment, and never creates the file.
fn is_locked(directory: &Path) -> Result<bool, OpenError> {
    let path = directory.join("lock");
    let lock = match File::open(&path) {
        Ok(lock) => lock,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(source) => return Err(OpenError::io("open", &path, source)),
    };
    match lock.try_lock_shared() {
        Ok(()) => Ok(false),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(source)) => Err(OpenError::io("lock", &path, source)),
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let has_log = Path::new(&log).metadata().is_ok_and(|log| log.len() > 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = if has_log {
        Connection::open_with_flags_and_vfs(path, flags, NO_LOCKS)?
    } else {
        // If there is no log, SQLite would create an empty one.
        let name = path.to_string_lossy();
        let name = name.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let flags = flags | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)?
    };
    database::set_for_reading(&connection)?;
    if has_log {
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    }
    connection.pragma_update(None, "cache_size", -limits::DATABASE_CACHE_KIBIBYTES)?;
    Ok(connection)
}

/// SQLite's own layer, without locks.
const NO_LOCKS: &str = "unix-none";
