//! The engine of a single host: an append-only log in segments, and an index in memory.
//!
//! - [`frame`]: one record in bytes, and what damage looks like.
//! - [`segment`]: one file of the log.
//! - [`index`]: where each message is and when it is due.
//! - [`committer`]: the thread that writes; group commit, failed syncs, cleaning.
//! - [`recovery`]: from the files of the last run to an index.
//!
//! docs/queue-storage.md says why this is not one of the embedded key-value engines.

mod committer;
mod frame;
mod index;
mod recovery;
mod segment;

#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tracing::error;

pub use self::recovery::{Damage, OpenError, Recovery};

use self::committer::{Committer, Request, Step};
use self::frame::{Found, Frame, Kind};
use self::index::{Body, Index, Item};
use self::segment::{OpenMedium, Place};
use super::message_file::{MessageFile, MessageReader};
use super::record::{self, RecordError, StoredBody};
use super::store::{Change, Lengths, Message, Pending, Settlement, Store};
use super::{Entry, QueueId, StoreError};
use crate::limits;

/// Where the log is and how large its parts are.
#[derive(Clone, Debug)]
pub struct LogSettings {
    /// The queue's directory; made if it is missing, and locked.
    pub directory: PathBuf,
    /// Octets of one segment.
    pub segment_octets: u64,
    /// Octets that the file system must have free for a message to begin.
    pub min_free_octets: u64,
}

/// The log of a queue directory. Dropped, it has committed everything that was asked of it.
#[derive(Debug)]
pub struct Log {
    shared: Arc<Shared>,
    requests: Option<Sender<Request>>,
    waiting: Arc<Semaphore>,
    committer: Option<JoinHandle<()>>,
    _lock: File,
}

/// The parts of a record that was read and is whole.
struct Stored {
    entry: Bytes,
    message: Bytes,
}

/// What the committer and the callers share.
#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    min_free_octets: u64,
    index: Mutex<Index>,
    /// Why new mail is refused, while it is.
    refusal: Mutex<Option<StoreError>>,
    highest_id: AtomicU64,
    became_due: Arc<Notify>,
}

impl LogSettings {
    /// The defaults of [`limits`] for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            segment_octets: limits::LOG_SEGMENT_OCTETS,
            min_free_octets: limits::QUEUE_MIN_FREE_OCTETS,
        }
    }
}

impl Log {
    /// Opens the queue directory and reads what the last run left. Damaged records are set aside
    /// and named in the [`Recovery`]; they do not keep the rest from being served.
    ///
    /// # Errors
    /// [`OpenError`] when the directory cannot be used at all, or another process uses it.
    pub fn open(settings: &LogSettings) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(settings, |file| Box::new(file))
    }

    fn open_on(
        settings: &LogSettings,
        open_medium: OpenMedium,
    ) -> Result<(Self, Recovery), OpenError> {
        let lock = recovery::prepare(&settings.directory)?;
        let (index, recovery) = recovery::replay(&settings.directory)?;
        let shared = Arc::new(Shared {
            directory: settings.directory.clone(),
            min_free_octets: settings.min_free_octets,
            index: Mutex::new(index),
            refusal: Mutex::new(None),
            highest_id: AtomicU64::new(recovery.highest_id),
            became_due: Arc::new(Notify::new()),
        });
        let (requests, receiver) = mpsc::channel();
        let committer = Committer::new(
            Arc::clone(&shared),
            receiver,
            recovery.next_segment,
            settings.segment_octets,
            open_medium,
        );
        let committer = std::thread::Builder::new()
            .name("queue-committer".to_owned())
            .spawn(move || committer.run())
            .map_err(|source| OpenError::io("start a thread for", &settings.directory, source))?;
        let log = Self {
            shared,
            requests: Some(requests),
            waiting: Arc::new(Semaphore::new(limits::COMMITS_WAITING)),
            committer: Some(committer),
            _lock: lock,
        };
        Ok((log, recovery))
    }

    /// Hands steps to the committer and waits until they are on stable storage.
    async fn commit(&self, steps: Vec<Step>) -> Result<(), StoreError> {
        let permit = Arc::clone(&self.waiting).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let (done, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        let request = Request { steps, done, _permit: permit };
        requests.send(request).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Reads entries on a thread that may block. Those that cannot be read are named in the log
    /// of the daemon and left out.
    async fn read_entries(&self, ids: Vec<QueueId>) -> Result<Vec<Entry>, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = move || {
            let entries = ids.into_iter().filter_map(|id| match shared.read_entry(id) {
                Ok(entry) => Some(entry),
                // It left the queue a moment ago.
                Err(StoreError::NotFound(_)) => None,
                Err(error) => {
                    shared.give_up(id, &error);
                    None
                }
            });
            entries.collect()
        };
        spawn_blocking(read).await.map_err(|_| StoreError::Closed)
    }

    async fn read_one(&self, id: QueueId) -> Result<Entry, StoreError> {
        let shared = Arc::clone(&self.shared);
        let read = move || shared.read_entry(id);
        spawn_blocking(read).await.map_err(|_| StoreError::Closed)?
    }

    fn update(&self, entry: &Entry) -> Result<Step, StoreError> {
        let body = self.shared.index().find(entry.id)?.body;
        let body = match body {
            Body::InLog(_) => StoredBody::InLog,
            Body::InFile { checksum, .. } => StoredBody::InFile { checksum },
        };
        let json = record::encode(entry, body);
        let frame = Frame::new(Kind::Entry, entry.id, json, Vec::new());
        Ok(Step::Update { frame, due: entry.due, held: entry.held })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            error!("the queue's committer panicked");
        }
    }
}

impl Store for Log {
    fn highest_id(&self) -> u64 {
        self.shared.highest_id.load(Ordering::Acquire)
    }

    fn create_file(&self, id: QueueId) -> Result<MessageFile, StoreError> {
        MessageFile::create(self.shared.message_path(id))
    }

    fn accepts(&self) -> Result<(), StoreError> {
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        let queued = self.shared.index().lengths().queued;
        if queued >= limits::QUEUED_MESSAGES {
            return Err(StoreError::Full(format!("it holds {queued} messages")));
        }
        let directory = &self.shared.directory;
        let system = rustix::fs::statvfs(directory)
            .map_err(|error| StoreError::io("examine", directory, error.into()))?;
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < self.shared.min_free_octets {
            return Err(StoreError::Full(format!(
                "{} has {free} octets free",
                directory.display()
            )));
        }
        // Some file systems count no inodes and say 0 of 0.
        if system.f_files > 0 && system.f_favail == 0 {
            return Err(StoreError::Full(format!("{} has no inode free", directory.display())));
        }
        Ok(())
    }

    fn enqueue(&self, entry: Entry, message: Message) -> Pending<'_, ()> {
        Box::pin(async move {
            self.shared.highest_id.fetch_max(entry.id.to_u64(), Ordering::AcqRel);
            let (kind, body, pieces, file) = match message {
                Message::Memory(pieces) => (Kind::Message, StoredBody::InLog, pieces, None),
                Message::File(file) => {
                    file.sync().await?;
                    let body = StoredBody::InFile { checksum: file.checksum() };
                    (Kind::Entry, body, Vec::new(), Some(file))
                }
            };
            let frame = Frame::new(kind, entry.id, record::encode(&entry, body), pieces);
            self.commit(vec![Step::Put { frame, due: entry.due, file }]).await
        })
    }

    fn claim_due(&self, now: SystemTime, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            let claimed = self.shared.index().claim_due(now, limit);
            if claimed.is_empty() { Ok(Vec::new()) } else { self.read_entries(claimed).await }
        })
    }

    fn record(&self, settlement: Settlement) -> Pending<'_, ()> {
        Box::pin(async move {
            let Settlement { entry, report } = settlement;
            let mut steps = Vec::with_capacity(2);
            steps.push(if entry.pending().next().is_some() {
                self.update(&entry)?
            } else {
                Step::remove(entry.id)
            });
            if let Some((entry, message)) = report {
                self.shared.highest_id.fetch_max(entry.id.to_u64(), Ordering::AcqRel);
                let json = record::encode(&entry, StoredBody::InLog);
                let frame = Frame::new(Kind::Message, entry.id, json, vec![message]);
                steps.push(Step::Put { frame, due: entry.due, file: None });
            }
            self.commit(steps).await
        })
    }

    fn put_back(&self, id: QueueId, due: SystemTime) {
        self.shared.index().put_back(id, due);
        self.shared.became_due.notify_one();
    }

    fn read(&self, id: QueueId) -> Pending<'_, MessageReader> {
        Box::pin(async move {
            let shared = Arc::clone(&self.shared);
            let open = move || shared.read_message(id);
            spawn_blocking(open).await.map_err(|_| StoreError::Closed)?
        })
    }

    fn find(&self, id: QueueId) -> Pending<'_, Entry> {
        Box::pin(self.read_one(id))
    }

    fn list(&self, after: Option<QueueId>, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            let items = self.shared.index().list(after, limit);
            self.read_entries(items).await
        })
    }

    fn change(&self, id: QueueId, change: Change) -> Pending<'_, ()> {
        Box::pin(async move {
            let item = self.shared.index().claim(id)?;
            let changed = async {
                let mut entry = self.read_one(id).await?;
                match change {
                    Change::Hold => entry.held = true,
                    Change::Release => entry.held = false,
                    Change::Retry => entry.due = SystemTime::now(),
                }
                self.commit(vec![self.update(&entry)?]).await
            };
            changed.await.inspect_err(|_| self.put_back(id, item.due))
        })
    }

    fn remove(&self, id: QueueId) -> Pending<'_, ()> {
        Box::pin(async move {
            let item = self.shared.index().claim(id)?;
            let removed = self.commit(vec![Step::remove(id)]).await;
            removed.inspect_err(|_| self.put_back(id, item.due))
        })
    }

    fn next_due(&self) -> Option<SystemTime> {
        self.shared.index().next_due()
    }

    fn became_due(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.became_due)
    }

    fn lengths(&self) -> Lengths {
        self.shared.index().lengths()
    }
}

impl Step {
    fn remove(id: QueueId) -> Self {
        Self::Remove { frame: Frame::new(Kind::Removed, id, Vec::new(), Vec::new()) }
    }
}

impl Shared {
    /// The index holds no invariant over a panic that the log could not restore, so a poisoned
    /// lock is as good as any.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self) -> Option<StoreError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets why new mail is refused, and gives what it was.
    fn set_refusal(&self, refusal: Option<StoreError>) -> Option<StoreError> {
        std::mem::replace(
            &mut *self.refusal.lock().unwrap_or_else(PoisonError::into_inner),
            refusal,
        )
    }

    fn log_directory(&self) -> PathBuf {
        recovery::log_directory(&self.directory)
    }

    fn message_path(&self, id: QueueId) -> PathBuf {
        recovery::messages_directory(&self.directory).join(id.to_string())
    }

    /// Reads and checks one frame of a message: the one that `pick` chooses.
    fn read_frame(&self, id: QueueId, pick: fn(&Item) -> Place) -> Result<Stored, StoreError> {
        let (segment, place) = {
            // One lock for both, since the committer may move the message and remove the segment;
            // the open file outlives that.
            let index = self.index();
            let place = pick(&index.find(id)?);
            (index.segment(place.segment).ok_or(StoreError::NotFound(id))?, place)
        };
        let bytes = Bytes::from(segment.read(place)?);
        let damaged = |what: String| {
            let what = format!("{} at {}: {what}", segment.path.display(), place.offset);
            StoreError::Damaged { id, what }
        };
        let found =
            Found::read(&bytes, segment.marker).map_err(|error| damaged(error.to_string()))?;
        if found.id != id {
            return Err(damaged(format!("the record is of message {}", found.id)));
        }
        let (entry, message) = (bytes.slice_ref(found.entry), bytes.slice_ref(found.message));
        Ok(Stored { entry, message })
    }

    /// Copies the damaged record of a message to where an administrator may look at it.
    fn set_aside(&self, id: QueueId) -> bool {
        let place = self.index().find(id).map(|item| (item.entry, item.message_place()));
        let Ok((entry, message)) = place else { return false };
        [("entry", entry), ("message", message)].into_iter().all(|(part, place)| {
            let segment = self.index().segment(place.segment);
            let bytes = segment.and_then(|segment| segment.read(place).ok());
            let path = recovery::damaged_directory(&self.directory).join(format!("{id}.{part}"));
            bytes.is_some_and(|bytes| std::fs::write(path, bytes).is_ok())
        })
    }

    fn read_entry(&self, id: QueueId) -> Result<Entry, StoreError> {
        let stored = self.read_frame(id, |item| item.entry)?;
        let damaged = |error: RecordError| StoreError::Damaged { id, what: error.to_string() };
        record::decode(id, &stored.entry).map(|(entry, _)| entry).map_err(damaged)
    }

    fn read_message(&self, id: QueueId) -> Result<MessageReader, StoreError> {
        // Not within the match, which would hold the lock that reading the record takes.
        let body = self.index().find(id)?.body;
        match body {
            Body::InFile { size, checksum } => {
                MessageReader::file(id, self.message_path(id), size, checksum)
            }
            Body::InLog(_) => {
                let stored = self.read_frame(id, Item::message_place)?;
                Ok(MessageReader::memory(id, stored.message))
            }
        }
    }

    /// An entry that cannot be read must not be claimed again and again.
    fn give_up(&self, id: QueueId, error: &StoreError) {
        error!(%id, %error, "cannot read a queued message; it is held");
        self.index().hold_unreadable(id);
    }
}
