//! The new database for the rows of a damaged one.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::record;
use crate::sqlite::database::CheckedRow;
use crate::sqlite::salvage::SalvagedRow;
use crate::sqlite::{database, wal};
use bytes::Bytes;
use relay_mail::queue_id::QueueId;
use rusqlite::Connection;

use crate::limits;

/// A database that is being filled.
pub(super) struct Saving {
    path: PathBuf,
    connection: Connection,
    rows: usize,
}

/// Saved rows that are not a complete message.
#[derive(Debug, Default)]
pub(super) struct Lost {
    /// Messages without an entry: their recipients are not known.
    pub(super) bodies: Vec<(QueueId, Bytes)>,
    /// Entries without a message.
    pub(super) entries: Vec<(QueueId, Vec<u8>)>,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum SaveError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

impl Saving {
    pub(super) fn begin(path: &Path) -> rusqlite::Result<Self> {
        let connection = database::open_writer(path, None, &Arc::default())?;
        connection.execute_batch("BEGIN")?;
        Ok(Self { path: path.to_owned(), connection, rows: 0 })
    }

    pub(super) fn take(&mut self, found: SalvagedRow) -> Result<(), SaveError> {
        match found {
            SalvagedRow::Entry(row) => database::put_entry(&self.connection, &row)?,
            SalvagedRow::Body(row) => database::put_body(&self.connection, &row)?,
            SalvagedRow::Reserved(id) => database::reserve(&self.connection, id)?,
            SalvagedRow::DamagedRow(_) | SalvagedRow::DamagedPage(_) => return Ok(()),
        }
        self.rows += 1;
        if self.rows.is_multiple_of(limits::SALVAGED_ROWS) {
            self.connection.execute_batch("COMMIT")?;
            database::checkpoint(&self.connection)?;
            self.connection.execute_batch("BEGIN")?;
        }
        Ok(())
    }

    /// Removes rows that are not a complete message, and syncs the rest.
    pub(super) fn finish(self) -> Result<Lost, SaveError> {
        let lost = self.lost()?;
        for (id, _) in &lost.bodies {
            database::remove(&self.connection, *id)?;
        }
        for (id, _) in &lost.entries {
            database::remove(&self.connection, *id)?;
        }
        self.connection.execute_batch("COMMIT")?;
        database::checkpoint(&self.connection)?;
        drop(self.connection);
        let log = wal::path(&self.path);
        if log.exists() {
            fs::remove_file(log)?;
        }
        Ok(lost)
    }

    fn lost(&self) -> rusqlite::Result<Lost> {
        let ids = |select: &str| {
            let mut statement = self.connection.prepare(select)?;
            let ids = statement.query_map([], |row| Ok(database::id_of(row.get(0)?)))?;
            ids.collect::<rusqlite::Result<Vec<QueueId>>>()
        };
        let mut lost = Lost::default();
        for id in ids("SELECT id FROM body WHERE id NOT IN (SELECT id FROM entry)")? {
            if let Some(body) = database::find_body(&self.connection, id)? {
                lost.bodies.push((id, body.into_row().message));
            }
        }
        for id in ids("SELECT id FROM entry WHERE id NOT IN (SELECT id FROM body)")? {
            if let Some(row) = database::find_entry(&self.connection, id)?.map(CheckedRow::into_row)
                && !record::may_be_in_file(&row.record)
            {
                lost.entries.push((id, row.record));
            }
        }
        Ok(lost)
    }
}
