//! The one thread that writes. It commits everything that arrived during its last sync as one
//! transaction with one sync, and moves the log into the database in idle times.
//!
//! A message that arrives alone waits only for its own sync. After any error nothing is repeated on
//! the same connection: a kernel may report a failed write-back once and then mark the pages as
//! clean. Every waiting commit fails, and new mail is refused. Once a second the database is closed
//! and opened again from the frames whose sync had succeeded; these are written and synced again. A
//! message whose commit failed is not among them. If such a message is found nevertheless, it is
//! removed: its client will send it again, and both copies would be delivered.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use crate::record::StoredBody;
use crate::sqlite::Shared;
use crate::sqlite::claim::ClaimGuard;
use crate::sqlite::commit_request::{CommitPurpose, CommitRequest, CommitStep, NewBody};
use crate::sqlite::database;
use crate::sqlite::index::Item;
use crate::sqlite::log_room::LogRoom;
use crate::sqlite::recovery::{self, Occasion, Opened};
use crate::sqlite::wal;
use crate::sqlite::writer::DatabaseWriter;
use crate::store::ClaimAfter;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use rusqlite::{Connection, ErrorCode};
use tracing::{error, info, warn};

use crate::limits;

/// Do readers continue during a checkpoint?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckpointMode {
    /// Yes. The part of the log that a reader needs stays in the log.
    BesideReaders,
    /// No, they wait, and the whole log is moved.
    WithoutReaders,
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    requests: Receiver<CommitRequest>,
    /// None after an error, until the database is open again.
    writer: Option<DatabaseWriter>,
    /// After an error: the frames of the log that had been synced.
    believed: u32,
    /// The earliest time for opening the database again.
    retry_at: Instant,
}

impl Committer {
    pub(super) fn new(
        shared: Arc<Shared>,
        requests: Receiver<CommitRequest>,
        connection: Connection,
        frames: Arc<AtomicU32>,
        reserved: Option<QueueId>,
    ) -> Self {
        let writer = DatabaseWriter::new(connection, frames, reserved, shared.log_room());
        Self { shared, requests, writer: Some(writer), believed: 0, retry_at: Instant::now() }
    }

    /// Commits until the last sender is dropped.
    pub(super) fn run(mut self) {
        loop {
            let wait = match &self.writer {
                Some(writer) if writer.frames() == 0 => None,
                Some(_) => Some(limits::CHECKPOINT_IDLE),
                None => Some(self.retry_at.saturating_duration_since(Instant::now())),
            };
            let first = match wait {
                Some(wait) => self.requests.recv_timeout(wait),
                None => self.requests.recv().map_err(RecvTimeoutError::from),
            };
            match first {
                Ok(first) => self.commit(first),
                Err(RecvTimeoutError::Timeout) if self.writer.is_some() => {
                    self.checkpoint(CheckpointMode::BesideReaders)
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.writer.is_none() && Instant::now() >= self.retry_at {
                self.reopen();
            }
        }
        self.checkpoint(CheckpointMode::WithoutReaders);
        if let Some(writer) = &self.writer
            && let Err(error) = database::truncate_log(&writer.connection)
        {
            // It is complete and stays for the next start.
            warn!(%error, "cannot empty the queue's log");
        }
    }

    /// Commits one request and all requests that wait behind it.
    fn commit(&mut self, first: CommitRequest) {
        let mut octets = first.octets();
        let mut batch = vec![first];
        while octets < limits::COMMIT_OCTETS
            && let Ok(request) = self.requests.try_recv()
        {
            octets += request.octets();
            batch.push(request);
        }
        if let Err(error) = self.make_room(octets as u64) {
            // Without room for new mail there is still some for what makes room.
            for request in batch.extract_if(.., |request| request.purpose == CommitPurpose::NewMail)
            {
                request.answer(Err(error.clone()));
            }
        }
        if batch.is_empty() {
            return;
        }
        let Some(writer) = &mut self.writer else {
            let refusal = self.shared.refusal().unwrap_or(StoreError::Refusing);
            return batch.into_iter().for_each(|request| request.answer(Err(refusal.clone())));
        };
        match writer.commit(&batch) {
            Ok(lost) => {
                for request in batch {
                    let CommitRequest { steps, claim, done, .. } = request;
                    self.shared.apply(steps, &lost);
                    // The steps have changed the index, and with it the claim.
                    claim.into_iter().for_each(ClaimGuard::release);
                    // The caller may have gone; the commit is valid.
                    let _ = done.send(Ok(()));
                }
                self.shared.became_due.notify_one();
                // If there is only one CPU, the waiting tasks run first; the rest can wait.
                std::thread::yield_now();
                self.make_log_room();
                let log_octets = self.writer.as_ref().map_or(0, DatabaseWriter::log_octets);
                if log_octets > limits::DATABASE_LOG_OCTETS {
                    self.checkpoint(if log_octets > 2 * limits::DATABASE_LOG_OCTETS {
                        CheckpointMode::WithoutReaders
                    } else {
                        CheckpointMode::BesideReaders
                    });
                }
                if let Some(Err(failure)) = self.writer.as_ref().map(DatabaseWriter::begin) {
                    self.fail(failure);
                }
            }
            Err(failure) => {
                let refusal = self.fail(failure);
                batch.into_iter().for_each(|request| request.answer(Err(refusal.clone())));
            }
        }
    }

    /// Preallocates room for the next commits, if the disk has more space than mail may need.
    fn make_log_room(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        let spare = self.shared.min_free_octets + limits::LOG_ROOM_MOST;
        if writer.log_room.is_short(writer.log_octets())
            && self.shared.space.free_octets().is_ok_and(|free| free >= spare)
        {
            writer.log_room.extend();
        }
    }

    /// Is there room for a commit, and for the checkpoint that follows later? With a completely
    /// full disk the queue could not even record deliveries.
    fn make_room(&mut self, octets: u64) -> Result<(), StoreError> {
        let Some(writer) = &self.writer else { return Ok(()) };
        let enough = 2 * (writer.log_octets() + octets) + limits::DATABASE_SPARE_OCTETS;
        if self.shared.space.free_octets()? >= enough {
            return Ok(());
        }
        // When space is short the log restarts at each commit, and free space within the files
        // counts.
        self.checkpoint(CheckpointMode::WithoutReaders);
        let Some(writer) = &self.writer else { return Ok(()) };
        let path = self.shared.directory.database();
        let log = std::fs::metadata(wal::path(&path)).map_or(0, |file| file.len());
        let log = log.saturating_sub(writer.log_octets());
        let within = database::free_octets(&writer.connection);
        let within = within.map_err(|failure| self.shared.store_error("examine", failure))?;
        let missing = (octets + limits::DATABASE_SPARE_OCTETS).saturating_sub(log)
            + octets.saturating_sub(within);
        let free = self.shared.space.free_octets()?;
        if free >= missing {
            return Ok(());
        }
        let directory = self.shared.directory.path().display();
        Err(StoreError::Full(format!("{directory} has {free} octets free")))
    }

    /// Moves the log into the database.
    fn checkpoint(&mut self, mode: CheckpointMode) {
        let Some(writer) = &self.writer else { return };
        let readers = (mode == CheckpointMode::WithoutReaders).then(|| self.shared.readers.pause());
        let moved = writer.checkpoint();
        drop(readers);
        match moved {
            // The next commit restarts the log at the beginning of its file.
            Ok(true) => writer.frames.store(0, Ordering::Release),
            Ok(false) => {}
            Err(failure) => {
                self.fail(failure);
            }
        }
    }

    /// Believes nothing more of this connection.
    fn fail(&mut self, failure: rusqlite::Error) -> StoreError {
        if let Some(writer) = self.writer.take() {
            self.believed = writer.frames();
        }
        // From now on only the contents of the disk count.
        self.shared.recent_commits.clear();
        if database::is_corrupt(&failure) {
            self.shared.ask_for_salvage(&failure);
        }
        let refusal = self.shared.store_error("commit to", failure);
        error!(error = %refusal, "the queue refuses mail until its database can be opened again");
        self.shared.set_refusal(Some(refusal.clone()));
        self.retry_at = Instant::now() + limits::STORE_RETRY;
        refusal
    }

    /// Opens the database from the contents of the disk, and makes index and disk agree.
    fn reopen(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut pause = shared.readers.pause();
        shared.readers.close(&mut pause);
        let occasion = Occasion::AfterError { frames: self.believed };
        let opened = recovery::open(&shared.directory, shared.vfs, occasion);
        let Opened { connection, frames, index, reserved, .. } = match opened {
            Ok(opened) => opened,
            Err(error) => {
                warn!(%error, "the queue's database cannot be opened; trying again");
                self.retry_at = Instant::now() + limits::STORE_RETRY;
                return;
            }
        };
        let mut writer = DatabaseWriter::new(connection, frames, reserved, shared.log_room());
        let agreed = writer.reconcile_with_index(&shared, &index);
        self.writer = Some(writer);
        match agreed {
            Ok(()) => {
                shared.readers.open(&mut pause);
                drop(pause);
                shared.set_refusal(None);
                shared.became_due.notify_one();
                info!(messages = index.lengths().queued, "the queue accepts mail again");
            }
            Err(failure) => {
                drop(pause);
                self.fail(failure);
            }
        }
    }
}

impl Shared {
    /// Applies a committed request to the index and to the message files.
    fn apply(&self, steps: Vec<CommitStep>, lost: &[QueueId]) {
        let mut index = self.index.lock();
        for step in steps {
            match step {
                CommitStep::Put { entry, due, body } => {
                    let (id, stored) = (entry.id, body.stored());
                    match body {
                        NewBody::File(file) => file.keep(),
                        NewBody::Row(body) => {
                            self.recent_commits.put(id, entry.record, body.message)
                        }
                    }
                    let due = self.clock.monotonic(due);
                    index.put(id, Item { due, held: false, body: stored, claimed: false });
                }
                CommitStep::Update { entry, .. } if lost.contains(&entry.id) => {
                    error!(id = %entry.id, "the entry of a queued message is lost");
                    index.remove(entry.id);
                }
                CommitStep::Update { entry, due, claim } => {
                    self.recent_commits.take(entry.id);
                    if let Ok(old) = index.find(entry.id) {
                        let (due, held) = (self.clock.monotonic(due), entry.held);
                        let claimed = claim == ClaimAfter::Kept;
                        index.put(entry.id, Item { due, held, body: old.body, claimed });
                    }
                }
                CommitStep::Remove { id } => {
                    self.recent_commits.take(id);
                    let body = index.remove(id).map(|item| item.body);
                    if let Some(StoredBody::InFile { .. }) = body {
                        let path = self.directory.message(id);
                        if let Err(error) = std::fs::remove_file(&path) {
                            // The sweep at the next start removes it.
                            warn!(path = %path.display(), %error, "cannot remove a message file");
                        }
                    }
                }
            }
        }
    }

    fn log_room(&self) -> LogRoom {
        LogRoom::new(wal::path(&self.directory.database()))
    }

    /// The error for the caller after a failure of SQLite.
    pub(super) fn store_error(&self, doing: &'static str, failure: rusqlite::Error) -> StoreError {
        let path = self.directory.database();
        match failure.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => {
                StoreError::Full(format!("cannot {doing} {}: {failure}", path.display()))
            }
            _ => StoreError::io(doing, path, std::io::Error::other(failure)),
        }
    }
}
