//! The octets of a message outside the database: a large message has its own file.
//!
//! The file is created with its final name and removed again unless an entry names it. So an
//! abandoned message leaves nothing, and a crash leaves only files that no entry names.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Entry;
use bytes::Bytes;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::limits;

/// The file of a large message. Dropping it removes the file, unless the message was stored.
#[derive(Debug)]
pub struct MessageFile {
    path: PathBuf,
    file: Arc<File>,
    size: u64,
    checksum: crc32fast::Hasher,
    kept: bool,
}

impl MessageFile {
    /// Makes the file, on a thread that may block.
    pub(super) fn create(path: PathBuf) -> Result<Self, StoreError> {
        let file =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(|error| StoreError::io("create", &path, error))?;
        let checksum = crc32fast::Hasher::new();
        Ok(Self { path, file: Arc::new(file), size: 0, checksum, kept: false })
    }

    /// Octets written so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The checksum of the octets written so far.
    pub(super) fn checksum(&self) -> u32 {
        self.checksum.clone().finalize()
    }

    /// The file, to read the octets written so far. Writes continue at the end, independent of
    /// reads.
    pub(super) fn handle(&self) -> (Arc<File>, PathBuf) {
        (Arc::clone(&self.file), self.path.clone())
    }

    /// Writes pieces at the end, on a thread that may block.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Io`].
    pub async fn append(&mut self, pieces: Vec<Bytes>) -> Result<(), StoreError> {
        for piece in &pieces {
            self.size += piece.len() as u64;
            self.checksum.update(piece);
        }
        let file = Arc::clone(&self.file);
        let write = move || pieces.iter().try_for_each(|piece| (&*file).write_all(piece));
        self.blocking("write", write).await
    }

    /// Syncs the file and its directory entry.
    ///
    /// # Errors
    /// [`StoreError::Io`]. The octets written so far must then not be trusted.
    pub(super) async fn sync(&self) -> Result<(), StoreError> {
        let file = Arc::clone(&self.file);
        let directory = self.path.parent().map(Path::to_owned);
        let sync = move || {
            file.sync_data()?;
            directory.map_or(Ok(()), |directory| File::open(directory)?.sync_all())
        };
        self.blocking("sync", sync).await
    }

    /// An entry names the file now; it stays.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    async fn blocking(
        &self,
        doing: &'static str,
        work: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), StoreError> {
        let result = spawn_blocking(work).await.map_err(|_| StoreError::Closed)?;
        result.map_err(|error| StoreError::io(doing, &self.path, error))
    }
}

impl Drop for MessageFile {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        let (path, file) = (std::mem::take(&mut self.path), Arc::clone(&self.file));
        let unlink = move || {
            if let Err(error) = std::fs::remove_file(&path) {
                // The sweep at the next start removes it.
                tracing::warn!(path = %path.display(), %error, "cannot remove abandoned message");
            }
            // Closing the last descriptor frees the file's space, which may block.
            drop(file);
        };
        match Handle::try_current() {
            // Sessions drop their messages on the threads that serve all sessions, so the removal
            // runs elsewhere.
            Ok(runtime) => drop(runtime.spawn_blocking(unlink)),
            // The committer may wait for a disk.
            Err(_) => unlink(),
        }
    }
}

/// Returns the octets of a message piece by piece. The end is reached only if every octet is as it
/// was committed, so a caller that sends its end of data at the end never sends a damaged message.
#[derive(Debug)]
pub struct MessageReader {
    id: QueueId,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// A small message, already checked.
    Memory(Option<Bytes>),
    File {
        /// The fields before the file.
        fields: Option<Bytes>,
        path: PathBuf,
        file: Arc<File>,
        remaining: u64,
        sum: crc32fast::Hasher,
        expected: u32,
    },
}

impl MessageReader {
    /// A message that has been read and checked.
    pub fn memory(id: QueueId, bytes: Bytes) -> Self {
        Self { id, source: Source::Memory(Some(bytes).filter(|bytes| !bytes.is_empty())) }
    }

    /// A message in its own file, which must have the size of the entry and the checksum
    /// `expected`.
    pub(super) fn file(entry: Entry, path: PathBuf, expected: u32) -> Result<Self, StoreError> {
        let (id, size) = (entry.id, entry.file_octets());
        let fields = Some(Bytes::from(entry.fields_before_file)).filter(|f| !f.is_empty());
        let file = File::open(&path).map_err(|error| StoreError::io("open", &path, error))?;
        let length = file.metadata().map_err(|error| StoreError::io("read", &path, error))?.len();
        if length != size {
            let what = format!("{} has {length} octets instead of {size}", path.display());
            return Err(StoreError::Damaged { id, what });
        }
        let sum = crc32fast::Hasher::new();
        let file = Arc::new(file);
        Ok(Self { id, source: Source::File { fields, path, file, remaining: size, sum, expected } })
    }

    /// The next piece, at most [`limits::MESSAGE_READ`] octets of a large message; none at the end.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the octets are not those that were committed.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        match &mut self.source {
            Source::Memory(bytes) => Ok(bytes.take()),
            Source::File { fields: fields @ Some(_), .. } => Ok(fields.take()),
            Source::File { remaining: 0, sum, expected, path, .. } => {
                if sum.clone().finalize() == *expected {
                    return Ok(None);
                }
                let what = format!("{} does not have the checksum of its record", path.display());
                Err(StoreError::Damaged { id: self.id, what })
            }
            Source::File { path, file, remaining, sum, .. } => {
                let length = (*remaining).min(limits::MESSAGE_READ as u64);
                let handle = Arc::clone(file);
                let read = move || {
                    let mut piece = vec![0; length as usize];
                    (&*handle).read_exact(&mut piece).map(|()| Bytes::from(piece))
                };
                let piece = spawn_blocking(read).await.map_err(|_| StoreError::Closed)?;
                let piece = piece.map_err(|error| StoreError::io("read", &*path, error))?;
                sum.update(&piece);
                *remaining -= length;
                Ok(Some(piece))
            }
        }
    }
}
