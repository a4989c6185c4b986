//! The engine of a single host: an SQLite database, large messages in files beside it, and an
//! index in memory.
//!
//! - [`directory`]: what is where, and the lock.
//! - [`database`]: tables, statements, checksums, and what is asked of SQLite about durability.
//! - [`committer`]: the thread that writes; group commit, checkpoints, what follows an error.
//!   [`writer`]: its connection. [`joined_writes`] and [`log_room`]: what makes a commit a short
//!   one.
//! - [`readers`]: connections for reads beside it; [`reading`]: what they find. [`fresh`]: what need
//!   not be read at all.
//! - [`space`]: what the disk has free. [`offline`]: the queue of a daemon that does not run.
//! - [`index`]: which messages there are and when they are due; [`clock`]: by which clock.
//! - [`recovery`]: from the files of the last run to an index, with [`wal`] for the log,
//!   [`salvage`] for the rows of a damaged database, [`saving`] for where they go and [`exchange`]
//!   for the moment when it takes the place of the old one.
//!
//! docs/queue-storage.md says why it is SQLite, and what was measured.

mod clock;
mod committer;
mod database;
mod directory;
mod exchange;
mod fresh;
mod index;
mod joined_writes;
mod log_room;
mod offline;
mod readers;
mod reading;
mod recovery;
mod salvage;
mod saving;
mod space;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tracing::error;

pub use self::directory::{OpenError, is_part};
pub use self::offline::{Offline, Unserved};
pub use self::recovery::{Damage, Recovery};

use self::clock::Clock;
use self::committer::{Committer, NewBody, Request, Step};
use self::database::{BodyRow, EntryRow};
use self::directory::Directory;
use self::fresh::Fresh;
use self::index::Index;
use self::readers::Readers;
use self::recovery::{Occasion, Opened};
use self::space::Space;
use super::Entry;
use super::message_file::{MessageFile, MessageReader};
use super::record::{self, StoredBody};
use super::schedule::Schedule;
use super::store::{Change, Lengths, Message, Pending, Settlement, Store, Usage};
use crate::limits;
use crate::vital;

/// Where the queue is and how much of the disk it leaves.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The queue's directory; made if it is missing, and locked.
    pub directory: PathBuf,
    /// Octets that the file system must have free for a message to begin.
    pub min_free_octets: u64,
    /// The longest that a message waits for its next attempt. One that is due later, when the
    /// queue is opened, was put off by a clock that was wrong, and is due at once.
    pub longest_wait: Duration,
}

/// The database of a queue directory. Dropped, it has committed everything that was asked of it.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    requests: Option<Sender<Request>>,
    waiting: Arc<Semaphore>,
    committer: Option<JoinHandle<()>>,
}

/// What the committer and the callers share.
#[derive(Debug)]
struct Shared {
    directory: Directory,
    /// The layer between SQLite and the files; none for its own. Tests put errors there.
    vfs: Option<&'static str>,
    min_free_octets: u64,
    /// Moments in the index are of the steady clock.
    index: Mutex<Index>,
    clock: Clock,
    readers: Readers,
    fresh: Fresh,
    space: Space,
    /// Why new mail is refused, while it is.
    refusal: Mutex<Option<StoreError>>,
    highest_id: AtomicU64,
    became_due: Arc<Notify>,
}

impl StoreSettings {
    /// The defaults of [`limits`] for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            min_free_octets: limits::QUEUE_MIN_FREE_OCTETS,
            longest_wait: Schedule::default().longest_wait(),
        }
    }
}

impl SqliteStore {
    /// Opens the queue directory and reads what the last run left. What is damaged is set aside
    /// and named in the [`Recovery`]; it does not keep the rest from being served.
    ///
    /// # Errors
    /// [`OpenError`] when the directory cannot be used at all, or another process uses it.
    pub fn open(settings: &StoreSettings) -> Result<(Self, Recovery), OpenError> {
        Self::open_on(settings, None)
    }

    fn open_on(
        settings: &StoreSettings,
        vfs: Option<&'static str>,
    ) -> Result<(Self, Recovery), OpenError> {
        let directory = Directory::lock(&settings.directory)?;
        let opened = recovery::open(&directory, vfs, Occasion::Start)?;
        let Opened { connection, frames, mut index, reserved, recovery } = opened;
        let now = SystemTime::now();
        index.bring_late_forward(now + settings.longest_wait, now);
        let highest = index.highest().max(reserved).map_or(0, QueueId::to_u64);
        let shared = Arc::new(Shared {
            readers: Readers::new(directory.database(), vfs),
            fresh: Fresh::default(),
            space: Space::of(directory.path()),
            directory,
            vfs,
            min_free_octets: settings.min_free_octets,
            index: Mutex::new(index),
            clock: Clock::start(),
            refusal: Mutex::new(None),
            highest_id: AtomicU64::new(highest),
            became_due: Arc::new(Notify::new()),
        });
        let (requests, receiver) = mpsc::channel();
        let committer = Committer::new(Arc::clone(&shared), receiver, connection, frames, reserved);
        let committer = std::thread::Builder::new()
            .name("queue-committer".to_owned())
            .spawn(move || vital::thread("queue", || committer.run()))
            .map_err(|source| OpenError::io("start a thread for", &settings.directory, source))?;
        let store = Self {
            shared,
            requests: Some(requests),
            waiting: Arc::new(Semaphore::new(limits::COMMITS_WAITING)),
            committer: Some(committer),
        };
        Ok((store, recovery))
    }

    /// Hands steps to the committer and waits until they are on stable storage.
    async fn commit(&self, steps: Vec<Step>, is_new_mail: bool) -> Result<(), StoreError> {
        let permit = Arc::clone(&self.waiting).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let (done, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        let request = Request { steps, is_new_mail, done, _permit: permit };
        requests.send(request).map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// Works on a thread that may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let shared = Arc::clone(&self.shared);
        spawn_blocking(move || work(&shared)).await.map_err(|_| StoreError::Closed)
    }

    /// The entries of messages that were just claimed.
    async fn read_claimed(&self, ids: Vec<QueueId>) -> Result<Vec<Entry>, StoreError> {
        let fresh: Option<Vec<_>> = ids.iter().map(|&id| self.shared.fresh_entry(id)).collect();
        match fresh {
            Some(entries) => Ok(entries),
            None => self.blocking(move |shared| shared.read_claimed(&ids)).await,
        }
    }

    fn update(&self, entry: &Entry, claimed: bool) -> Result<Step, StoreError> {
        let body = self.shared.index().find(entry.id)?.body;
        Ok(Step::Update { entry: row(entry, body), due: entry.due, claimed })
    }

    fn put(&self, entry: &Entry, body: NewBody) -> Step {
        self.shared.highest_id.fetch_max(entry.id.to_u64(), Ordering::AcqRel);
        Step::Put { entry: row(entry, body.stored()), due: entry.due, body }
    }
}

/// The entry as a row.
fn row(entry: &Entry, body: StoredBody) -> EntryRow {
    let due = entry.due.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    EntryRow {
        id: entry.id,
        due: i64::try_from(due).unwrap_or(i64::MAX),
        held: entry.held,
        record: record::encode(entry, body),
    }
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(committer) = self.committer.take()
            && committer.join().is_err()
        {
            error!("the queue's committer panicked");
        }
    }
}

impl Store for SqliteStore {
    fn highest_id(&self) -> u64 {
        self.shared.highest_id.load(Ordering::Acquire)
    }

    fn create_file(&self, id: QueueId) -> Result<MessageFile, StoreError> {
        MessageFile::create(self.shared.directory.message(id))
    }

    fn accepts(&self) -> Result<(), StoreError> {
        if let Some(refusal) = self.shared.refusal() {
            return Err(refusal);
        }
        let queued = self.shared.index().lengths().queued;
        if queued >= limits::QUEUED_MESSAGES {
            return Err(StoreError::Full(format!("it holds {queued} messages")));
        }
        let free = self.shared.space.free_octets()?;
        if free < self.shared.min_free_octets {
            let directory = self.shared.directory.path().display();
            let least = self.shared.min_free_octets;
            return Err(StoreError::Full(format!(
                "{directory} has {free} octets free, min_free_space is {least}"
            )));
        }
        Ok(())
    }

    fn damaged_files(&self) -> u64 {
        let files = std::fs::read_dir(self.shared.directory.damaged(""));
        files.map_or(0, |files| files.flatten().count() as u64)
    }

    fn usage(&self) -> Result<Usage, StoreError> {
        let system = self.shared.space.file_system()?;
        let block = system.f_frsize;
        let used_octets = system.f_blocks.saturating_sub(system.f_bfree).saturating_mul(block);
        // As df counts: what is reserved for root can never be ours.
        let free_octets = system.f_bavail.saturating_mul(block);
        let octets = used_octets.saturating_add(free_octets);
        let now = self.shared.clock.steady(SystemTime::now());
        let backlog = self.shared.index().backlog(now);
        let min_free_octets = self.shared.min_free_octets;
        Ok(Usage { backlog, used_octets, octets, free_octets, min_free_octets })
    }

    fn enqueue(&self, entry: Entry, message: Message) -> Pending<'_, ()> {
        Box::pin(async move {
            let body = match message {
                Message::Memory(pieces) => {
                    NewBody::Row(BodyRow { id: entry.id, message: joined(pieces) })
                }
                Message::File(file) => {
                    file.sync().await?;
                    NewBody::File(file)
                }
            };
            let step = self.put(&entry, body);
            if let Step::Put { entry: row, .. } = &step {
                // An entry that cannot be read again could never be delivered.
                let read = record::decode(entry.id, &row.record);
                read.map_err(|error| StoreError::Unfit { what: error.to_string() })?;
            }
            self.commit(vec![step], true).await
        })
    }

    fn claim_due(&self, now: SystemTime, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            let now = self.shared.clock.steady(now);
            let claimed = self.shared.index().claim_due(now, limit);
            if claimed.is_empty() { Ok(Vec::new()) } else { self.read_claimed(claimed).await }
        })
    }

    fn claim(&self, id: QueueId) -> Pending<'_, Entry> {
        Box::pin(async move {
            let item = self.shared.index().claim(id)?;
            self.shared.fresh.take(id);
            self.find(id).await.inspect_err(|_| self.shared.put_back(id, item.due))
        })
    }

    fn is_claimed(&self, id: QueueId) -> bool {
        self.shared.index().find(id).is_ok_and(|item| item.claimed)
    }

    fn record(&self, settlement: Settlement) -> Pending<'_, ()> {
        Box::pin(async move {
            let Settlement { entry, report, keeps_claim } = settlement;
            let mut steps = Vec::with_capacity(2);
            steps.push(if entry.pending().next().is_some() {
                self.update(&entry, keeps_claim)?
            } else {
                Step::Remove { id: entry.id }
            });
            if let Some((entry, message)) = report {
                let body = NewBody::Row(BodyRow { id: entry.id, message });
                steps.push(self.put(&entry, body));
            }
            self.commit(steps, false).await
        })
    }

    fn put_back(&self, id: QueueId, due: SystemTime) {
        self.shared.fresh.take(id);
        self.shared.put_back(id, self.shared.clock.steady(due));
    }

    fn bring_forward(&self, ids: &[QueueId], due: SystemTime) {
        if ids.is_empty() {
            return;
        }
        let due = self.shared.clock.steady(due);
        let mut index = self.shared.index();
        ids.iter().for_each(|&id| index.bring_forward(id, due));
        drop(index);
        self.shared.became_due.notify_one();
    }

    fn read(&self, id: QueueId) -> Pending<'_, MessageReader> {
        Box::pin(async move {
            if let Some(message) = self.shared.fresh.take(id) {
                return Ok(MessageReader::memory(id, message));
            }
            self.blocking(move |shared| shared.read_message(id)).await?
        })
    }

    fn find(&self, id: QueueId) -> Pending<'_, Entry> {
        Box::pin(async move { self.blocking(move |shared| shared.read_entry(id)).await? })
    }

    fn list(&self, after: Option<QueueId>, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            let mut after = after;
            loop {
                let ids = self.shared.index().list(after, limit);
                let Some(&last) = ids.last() else { return Ok(Vec::new()) };
                let entries = self.blocking(move |shared| shared.read_listed(&ids)).await?;
                if !entries.is_empty() {
                    return Ok(entries);
                }
                // Nothing of it can be read, and that is not the end of the queue.
                after = Some(last);
            }
        })
    }

    fn change(&self, id: QueueId, change: Change) -> Pending<'_, ()> {
        Box::pin(async move {
            let item = self.shared.index().claim(id)?;
            let changed = async {
                let mut entry = self.find(id).await?;
                // The wall clock may have been set since this was written.
                entry.due = self.shared.clock.wall(item.due);
                match change {
                    Change::Hold => entry.held = true,
                    Change::Release => entry.held = false,
                    Change::Retry => entry.due = SystemTime::now(),
                }
                self.commit(vec![self.update(&entry, false)?], false).await
            };
            changed.await.inspect_err(|_| self.shared.put_back(id, item.due))
        })
    }

    fn remove(&self, id: QueueId) -> Pending<'_, ()> {
        Box::pin(async move {
            let item = self.shared.index().claim(id)?;
            let removed = self.commit(vec![Step::Remove { id }], false).await;
            removed.inspect_err(|_| self.shared.put_back(id, item.due))
        })
    }

    fn next_due(&self) -> Option<SystemTime> {
        let due = self.shared.index().next_due()?;
        Some(self.shared.clock.wall(due))
    }

    fn became_due(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.became_due)
    }

    fn lengths(&self) -> Lengths {
        self.shared.index().lengths()
    }
}

impl Shared {
    /// The index holds no invariant over a panic that the database could not restore, so a
    /// poisoned lock is as good as any.
    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives up a claim; due again at `due` of the steady clock.
    fn put_back(&self, id: QueueId, due: SystemTime) {
        self.index().put_back(id, due);
        self.became_due.notify_one();
    }

    fn refusal(&self) -> Option<StoreError> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_refusal(&self, refusal: Option<StoreError>) {
        *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = refusal;
    }
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    }
}
