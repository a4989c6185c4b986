//! The engine of a single host: an SQLite database, files of large messages beside it, and an index
//! in memory.
//!
//! - [`directory`]: the files of the directory, and the lock.
//! - [`database`]: tables, statements, checksums, and the settings of SQLite for durability.
//! - [`engine`]: the calls of [`super::store::Store`].
//! - [`committer`]: the thread that writes; group commit, checkpoints, the steps after an error.
//!   [`writer`]: its connection. [`log_room`]: preallocation, which makes commits short.
//! - [`readers`]: connections for reads; [`reading`]: from rows to messages. [`recent_commits`]: recent
//!   commits, which need not be read.
//! - [`space`]: the free space of the disk. [`offline`]: the queue without a running daemon.
//! - [`index`]: the messages and their due times; [`clock`]: the clock of these times; [`claim`]:
//!   who gives up a claim.
//! - [`recovery`]: from the files of the last run to an index, with [`wal`] for the log,
//!   [`salvage`] for the rows of a damaged database, [`saving`] for the new database, and
//!   [`exchange`] for the renames that put it in use.
//!
//! docs/queue-storage.md explains the choice of SQLite and lists the measurements.

mod claim;
mod clock;
mod commit_request;
mod committer;
mod database;
mod directory;
mod engine;
mod exchange;
mod index;
mod log_room;
mod offline;
mod readers;
mod reading;
mod recent_commits;
mod recovery;
mod salvage;
mod saving;
mod space;
mod wal;
mod writer;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{self, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use crate::schedule::Schedule;
use crate::sqlite::claim::ClaimGuard;
use crate::sqlite::clock::Clock;
use crate::sqlite::commit_request::{CommitPurpose, CommitRequest, CommitStep};
use crate::sqlite::committer::Committer;
use crate::sqlite::directory::Directory;
use crate::sqlite::index::Index;
use crate::sqlite::readers::Readers;
use crate::sqlite::recent_commits::RecentCommits;
use crate::sqlite::recovery::{Occasion, Opened};
use crate::sqlite::space::Space;
use parking_lot::Mutex;
use relay_host::vital;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::spawn_blocking;
use tracing::{error, warn};

pub use crate::sqlite::directory::{OpenError, is_part};
pub use crate::sqlite::offline::{Offline, Unserved};
pub use crate::sqlite::recovery::{Damage, Recovery};

use crate::limits;

/// The directory of the queue, and the space that it leaves free.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// The queue's directory; made if it is missing, and locked.
    pub directory: PathBuf,
    /// Octets that the file system must have free for a message to begin.
    pub min_free_octets: u64,
    /// The longest interval between attempts. A message that is due later when the queue is opened
    /// was deferred by a wrong clock, and is due at once.
    pub longest_wait: Duration,
}

/// The database of a queue directory. When it is dropped, all requests are committed first.
#[derive(Debug)]
pub struct SqliteStore {
    shared: Arc<Shared>,
    requests: Option<Sender<CommitRequest>>,
    waiting: Arc<Semaphore>,
    committer: Option<JoinHandle<()>>,
}

/// The state that the committer and the callers share.
#[derive(Debug)]
struct Shared {
    directory: Directory,
    /// The layer between SQLite and the files; none for SQLite's own. Tests inject errors there.
    vfs: Option<&'static str>,
    min_free_octets: u64,
    /// Moments in the index are of the steady clock.
    index: Mutex<Index>,
    clock: Clock,
    readers: Readers,
    recent_commits: RecentCommits,
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
    /// Opens the queue directory and reads the files of the last run. Damaged parts are moved to
    /// `damaged/` and named in the [`Recovery`]; the rest is served.
    ///
    /// # Errors
    /// [`OpenError`] if the directory cannot be used at all, or if another process uses it.
    pub fn open(settings: &StoreSettings) -> Result<(Self, Recovery), OpenError> {
        if !database::is_built_with_our_flags() {
            warn!(
                "SQLite was built without HAVE_FDATASYNC, so every commit takes longer; build the \
                 daemon in its own repository, or set LIBSQLITE3_FLAGS as .cargo/config.toml does"
            );
        }
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
        index.limit_due_times(now + settings.longest_wait, now);
        let highest = index.highest().max(reserved).map_or(0, QueueId::to_u64);
        let shared = Arc::new(Shared {
            readers: Readers::new(directory.database(), vfs),
            recent_commits: RecentCommits::default(),
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
    async fn commit(
        &self,
        steps: Vec<CommitStep>,
        purpose: CommitPurpose,
    ) -> Result<(), StoreError> {
        self.commit_claimed(None, steps, purpose).await
    }

    /// The same for a message that this store has claimed only in order to change it.
    async fn commit_claimed(
        &self,
        claim: Option<ClaimGuard>,
        steps: Vec<CommitStep>,
        purpose: CommitPurpose,
    ) -> Result<(), StoreError> {
        let permit = Arc::clone(&self.waiting).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let (done, answer) = oneshot::channel();
        let requests = self.requests.as_ref().ok_or(StoreError::Closed)?;
        let request = CommitRequest { steps, purpose, claim, done, _permit: permit };
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

impl Shared {
    /// Gives up a claim; due again at `due` of the steady clock.
    fn put_back(&self, id: QueueId, due: SystemTime) {
        self.index.lock().put_back(id, due);
        self.became_due.notify_one();
    }

    fn refusal(&self) -> Option<StoreError> {
        self.refusal.lock().clone()
    }

    fn set_refusal(&self, refusal: Option<StoreError>) {
        *self.refusal.lock() = refusal;
    }
}
