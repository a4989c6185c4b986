//! The files of the queue's directory, and the lock that reserves it for one process.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::limits::{QUEUE_LOCK_PAUSE, QUEUE_LOCK_TRIES};
use relay_host::privileges::directory::{self, DirectoryAccess, DirectoryError};
use relay_mail::queue_id::QueueId;

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
        /// The failed action, as a verb.
        doing: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The directory is not owned by this process's user alone.
    #[error("the queue: {0}")]
    Directory(#[from] DirectoryError),
    /// SQLite refused, and not because of damage.
    #[error("cannot open the queue's database {}: {source}", path.display())]
    Database {
        /// The database.
        path: PathBuf,
        /// The error of SQLite.
        source: rusqlite::Error,
    },
}

impl OpenError {
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { doing, path: path.to_owned(), source }
    }
}

/// Is this the name of a file that a daemon creates in the queue's directory?
pub fn is_part(name: &OsStr) -> bool {
    const PARTS: [&str; 5] =
        ["damaged", "lock", "message_tracking", "messages", "salvage-at-next-start"];
    let name = name.to_string_lossy();
    PARTS.contains(&&*name) || name.starts_with("queue.db") || name.starts_with("salvaged.db")
}

/// A queue directory that this process has locked.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Creates missing directories and locks the queue for this process.
    pub(super) fn lock(path: &Path) -> Result<Self, OpenError> {
        make(path)?;
        directory::secure(path, DirectoryAccess::Owner, is_part)?;
        for part in [messages(path), damaged(path)] {
            make(&part)?;
            directory::secure(&part, DirectoryAccess::Owner, |_| true)?;
        }
        secure_files(path)?;
        sync_above(path)?;
        let lock_path = path.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock =
            options.open(&lock_path).map_err(|source| OpenError::io("open", &lock_path, source))?;
        // The owner of the lock may be ending at this moment: a process that was killed, or its
        // child that has not executed another program yet.
        let mut tries = 1;
        while matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) && tries < QUEUE_LOCK_TRIES {
            tries += 1;
            std::thread::sleep(QUEUE_LOCK_PAUSE);
        }
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let process = fs::read_to_string(&lock_path).unwrap_or_default().trim().to_owned();
                return Err(OpenError::InUse { directory: path.to_owned(), process });
            }
            Err(TryLockError::Error(source)) => {
                return Err(OpenError::io("lock", &lock_path, source));
            }
        }
        // The number only serves the message above; a full disk must not prevent opening the queue.
        let _ = lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id()));
        let synced = File::open(path).and_then(|directory| directory.sync_all());
        synced.map_err(|source| OpenError::io("sync", path, source))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn database(&self) -> PathBuf {
        self.path.join("queue.db")
    }

    /// Where the rows of a damaged database are gathered.
    pub(super) fn salvaged(&self) -> PathBuf {
        self.path.join("salvaged.db")
    }

    /// A file that tells the next start to save the rows of the database into a new database.
    pub(super) fn salvage_mark(&self) -> PathBuf {
        self.path.join("salvage-at-next-start")
    }

    pub(super) fn messages(&self) -> PathBuf {
        messages(&self.path)
    }

    pub(super) fn message(&self, id: QueueId) -> PathBuf {
        self.messages().join(id.to_string())
    }

    /// Where something damaged is kept for an administrator.
    pub(super) fn damaged(&self, name: &str) -> PathBuf {
        damaged(&self.path).join(name)
    }
}

/// Closes the files of a daemon with another umask to other users. A lock of another user on one of
/// these files would stop the queue.
fn secure_files(path: &Path) -> Result<(), OpenError> {
    for name in ["queue.db", "salvaged.db"] {
        for suffix in ["", "-wal", "-shm", "-journal"] {
            directory::secure_file(&path.join(format!("{name}{suffix}")))?;
        }
    }
    Ok(directory::secure_file(&path.join("lock"))?)
}

/// Creates a directory and its missing parents. The name of each is synced before anything is
/// written into it: losing the name would lose all contents.
fn make(path: &Path) -> Result<(), OpenError> {
    if path.is_dir() {
        return Ok(());
    }
    let above = above(path);
    make(above)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => {
            return Err(OpenError::io("make the directory", path, source));
        }
        _ => {}
    }
    let synced = File::open(above).and_then(|directory| directory.sync_all());
    synced.map_err(|source| OpenError::io("sync", above, source))
}

/// A daemon that was killed may have created the queue's directory without syncing its name. If the
/// parent belongs to another user and cannot be read, or its file system cannot sync directories,
/// this is skipped.
fn sync_above(path: &Path) -> Result<(), OpenError> {
    let above = above(path);
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    match File::open(above).and_then(|directory| directory.sync_all()) {
        Err(source) if matches!(source.kind(), InvalidInput | PermissionDenied | Unsupported) => {
            Ok(())
        }
        result => result.map_err(|source| OpenError::io("sync", above, source)),
    }
}

/// The directory that a path is in.
fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

fn messages(directory: &Path) -> PathBuf {
    directory.join("messages")
}

fn damaged(directory: &Path) -> PathBuf {
    directory.join("damaged")
}
