//! From rows to entries and messages, and the consequences of rows that cannot be read.

use std::time::SystemTime;

use crate::record::{self, StoredBody};
use crate::sqlite::Shared;
use crate::sqlite::database::{self, BodyRow, CheckedRow, EntryRow};
use crate::{Entry, MessageReader};
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use rusqlite::Connection;
use tracing::error;

use crate::limits;

/// What the database has of one half of a message, its entry or its body. Both leave the database
/// in one step, so one half without the other is damage.
enum Found<Row> {
    Row(CheckedRow<Row>),
    /// Only the other half of the message is there.
    Lost,
    /// The message has left the queue.
    Gone,
}

impl Shared {
    /// Claimed entries in this order, on this thread. Entries that cannot be read are given up or
    /// postponed.
    pub(super) fn read_claimed(&self, ids: &[QueueId]) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(ids.len());
        self.read_each(ids, |id, read| match read {
            Ok(entry) => entries.push(entry),
            // The message left the queue a moment ago.
            Err(StoreError::NotFound(_)) => {}
            Err(error @ StoreError::Damaged { .. }) => self.give_up(id, &error),
            // The database is closed for a moment, or the disk has an error; the entry may be good.
            Err(error) => self.postpone(id, &error),
        });
        entries
    }

    /// Entries in this order, on this thread, claimed or not. Entries that cannot be read are
    /// logged and left out.
    pub(super) fn read_listed(&self, ids: &[QueueId]) -> Vec<Entry> {
        let mut entries = Vec::with_capacity(ids.len());
        self.read_each(ids, |id, read| match read {
            Ok(entry) => entries.push(entry),
            Err(StoreError::NotFound(_)) => {}
            Err(error) => error!(%id, %error, "cannot list a queued message"),
        });
        entries
    }

    fn read_each(&self, ids: &[QueueId], mut take: impl FnMut(QueueId, Result<Entry, StoreError>)) {
        for ids in ids.chunks(limits::CLAIMED_AT_ONCE) {
            // One transaction for all, since its locks cost more than a row. If it fails, the rows
            // are read one by one, and an error then names its message.
            let found = self.readers.read(|connection| {
                let _snapshot = connection.unchecked_transaction()?;
                ids.iter()
                    .map(|&id| find_entry(connection, id))
                    .collect::<rusqlite::Result<Vec<_>>>()
            });
            let mut found = found.ok().and_then(Result::ok).unwrap_or_default().into_iter();
            for &id in ids {
                let entry = found.next().map(|found| self.entry(id, found));
                take(id, entry.unwrap_or_else(|| self.read_entry(id)));
            }
        }
    }

    /// One entry, on this thread.
    pub(super) fn read_entry(&self, id: QueueId) -> Result<Entry, StoreError> {
        self.index.lock().find(id)?;
        match self.readers.read(|connection| find_entry(connection, id))? {
            Ok(found) => self.entry(id, found),
            Err(error) => Err(self.unreadable(id, error)),
        }
    }

    fn entry(&self, id: QueueId, found: Found<EntryRow>) -> Result<Entry, StoreError> {
        let damaged = |what: String| StoreError::Damaged { id, what };
        match found {
            Found::Row(CheckedRow::Whole(row)) => record::decode(id, &row.record)
                .map(|(entry, _)| entry)
                .map_err(|error| damaged(error.to_string())),
            Found::Row(CheckedRow::Damaged(_)) => {
                Err(damaged("its entry does not have its checksum".to_owned()))
            }
            Found::Gone => Err(StoreError::NotFound(id)),
            Found::Lost => {
                self.ask_for_salvage(&"an entry cannot be found");
                Err(damaged("its entry is lost".to_owned()))
            }
        }
    }

    /// An entry that need not be read.
    pub(super) fn recent_commit(&self, id: QueueId) -> Option<Entry> {
        let decoded = self.recent_commits.record(id, |record| record::decode(id, record))?;
        decoded.ok().map(|(entry, _)| entry)
    }

    /// Opens the bytes of a message, on this thread.
    pub(super) fn read_message(&self, id: QueueId) -> Result<MessageReader, StoreError> {
        // The index must not stay locked while the entry is read.
        let body = self.index.lock().find(id)?.body;
        if let StoredBody::InFile { checksum } = body {
            return MessageReader::file(self.read_entry(id)?, self.directory.message(id), checksum);
        }
        let damaged = |what: &str| StoreError::Damaged { id, what: what.to_owned() };
        match self.readers.read(|connection| find_body(connection, id))? {
            Ok(Found::Row(CheckedRow::Whole(body))) => Ok(MessageReader::memory(id, body.message)),
            Ok(Found::Row(CheckedRow::Damaged(_))) => {
                Err(damaged("its bytes do not have their checksum"))
            }
            Ok(Found::Gone) => Err(StoreError::NotFound(id)),
            Ok(Found::Lost) => {
                self.ask_for_salvage(&"a message cannot be found");
                Err(damaged("its bytes are lost"))
            }
            Err(error) => Err(self.unreadable(id, error)),
        }
    }

    fn unreadable(&self, id: QueueId, error: rusqlite::Error) -> StoreError {
        if !database::is_corrupt(&error) {
            return self.store_error("read", error);
        }
        self.ask_for_salvage(&error);
        StoreError::Damaged { id, what: error.to_string() }
    }

    /// The structure of the database is damaged. Saving its rows needs some time, so the next start
    /// does it; until then the rest is served.
    pub(super) fn ask_for_salvage(&self, why: &dyn std::fmt::Display) {
        let mark = self.directory.salvage_mark();
        error!(%why, "the queue's database is damaged; its rows will be saved at the next start");
        if let Err(error) = std::fs::write(&mark, []) {
            error!(path = %mark.display(), %error, "cannot mark the database for salvage at the next start");
        }
    }

    /// An entry that cannot be read must not be claimed again and again.
    pub(super) fn give_up(&self, id: QueueId, error: &StoreError) {
        error!(%id, %error, "cannot read a queued message; it is held");
        self.index.lock().hold_damaged(id);
    }

    /// An entry that cannot be read at the moment is soon tried again.
    pub(super) fn postpone(&self, id: QueueId, error: &StoreError) {
        error!(%id, %error, "cannot read a queued message now; it is tried again");
        let due = self.clock.monotonic(SystemTime::now() + limits::STORE_RETRY);
        self.index.lock().put_back(id, due);
    }
}

fn find_entry(connection: &Connection, id: QueueId) -> rusqlite::Result<Found<EntryRow>> {
    Ok(match database::find_entry(connection, id)? {
        Some(row) => Found::Row(row),
        None if database::find_body(connection, id)?.is_some() => Found::Lost,
        None => Found::Gone,
    })
}

fn find_body(connection: &Connection, id: QueueId) -> rusqlite::Result<Found<BodyRow>> {
    Ok(match database::find_body(connection, id)? {
        Some(row) => Found::Row(row),
        None if database::find_entry(connection, id)?.is_some() => Found::Lost,
        None => Found::Gone,
    })
}
