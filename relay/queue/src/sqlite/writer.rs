//! The connection that writes: one transaction for a batch, and reconciliation after an error.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sqlite::commit_request::{CommitRequest, CommitStep, NewBody};
use crate::sqlite::index::Index;
use crate::sqlite::log_room::LogRoom;
use crate::sqlite::{Shared, database};
use relay_mail::queue_id::QueueId;
use rusqlite::Connection;
use tracing::{error, warn};

use crate::limits;

/// The committer's connection.
pub(super) struct DatabaseWriter {
    pub(super) connection: Connection,
    /// Frames of the log that are not yet in the database.
    pub(super) frames: Arc<AtomicU32>,
    /// Ids up to this one are reserved already.
    pub(super) reserved: u64,
    pub(super) log_room: LogRoom,
}

impl DatabaseWriter {
    pub(super) fn new(
        connection: Connection,
        frames: Arc<AtomicU32>,
        reserved: Option<QueueId>,
        log_room: LogRoom,
    ) -> Self {
        let reserved = reserved.map_or(0, QueueId::to_u64);
        Self { connection, frames, reserved, log_room }
    }

    pub(super) fn frames(&self) -> u32 {
        self.frames.load(Ordering::Acquire)
    }

    pub(super) fn log_octets(&self) -> u64 {
        u64::from(self.frames()) * limits::DATABASE_PAGE_OCTETS as u64
    }

    /// Writes requests in one transaction. Returns the ids of entries that were to be updated and
    /// do not exist. After an error the connection is not used again, and its open transaction ends
    /// with it.
    pub(super) fn commit(&mut self, batch: &[CommitRequest]) -> rusqlite::Result<Vec<QueueId>> {
        let steps = || batch.iter().flat_map(|request| &request.steps);
        self.begin()?;
        let connection = &self.connection;
        let mut lost = Vec::new();
        for step in steps() {
            match step {
                CommitStep::Put { entry, body, .. } => {
                    database::put_entry(connection, entry)?;
                    if let NewBody::Row(body) = body {
                        database::put_body(connection, body)?;
                    }
                }
                CommitStep::Update { entry, .. } => {
                    if !database::update_entry(connection, entry)? {
                        lost.push(entry.id);
                    }
                }
                CommitStep::Remove { id } => database::remove(connection, *id)?,
            }
        }
        let highest = steps().filter_map(CommitStep::new_id).max().unwrap_or(0);
        let reserved = if highest > self.reserved {
            let reserved = highest.saturating_add(limits::QUEUE_IDS_RESERVED);
            database::reserve(connection, QueueId::from_u64(reserved))?;
            reserved
        } else {
            self.reserved
        };
        connection.prepare_cached("COMMIT")?.execute([])?;
        self.reserved = reserved;
        Ok(lost)
    }

    /// Begins the transaction of the next commit. This acquires its locks, which no other
    /// connection needs. Since it happens ahead, a message that arrives alone does not wait for it.
    pub(super) fn begin(&self) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() {
            self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        }
        Ok(())
    }

    /// Ends a transaction that was not used: a checkpoint must run without a transaction.
    fn rest(&self) -> rusqlite::Result<()> {
        if !self.connection.is_autocommit() {
            self.connection.prepare_cached("ROLLBACK")?.execute([])?;
        }
        Ok(())
    }

    /// Moves the log into the database. True if the log is no longer needed.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<bool> {
        self.rest()?;
        database::checkpoint(&self.connection)
    }

    /// After an error: removes messages that were refused, drops messages that are lost, and proves
    /// with one commit that the disk can be written and synced.
    pub(super) fn reconcile_with_index(
        &mut self,
        shared: &Shared,
        on_disk: &Index,
    ) -> rusqlite::Result<()> {
        let (refused, lost) = {
            let index = shared.index.lock();
            (on_disk.missing_in(&index), index.missing_in(on_disk))
        };
        let transaction = self.connection.transaction()?;
        for id in refused {
            warn!(%id, "a message that was refused had reached the disk; removed");
            database::remove(&transaction, id)?;
        }
        database::reserve(&transaction, QueueId::from_u64(self.reserved))?;
        transaction.commit()?;
        for id in lost {
            error!(%id, "a queued message is lost");
            shared.index.lock().remove(id);
        }
        Ok(())
    }
}

impl CommitStep {
    fn new_id(&self) -> Option<u64> {
        match self {
            Self::Put { entry, .. } => Some(entry.id.to_u64()),
            Self::Update { .. } | Self::Remove { .. } => None,
        }
    }
}
