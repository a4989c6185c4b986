//! Connections for reads, which neither wait for commits nor delay them.

use std::path::PathBuf;

use crate::sqlite::database;
use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use relay_mail::store_error::StoreError;
use rusqlite::Connection;

use crate::limits;

/// Idle connections, and a gate that keeps all readers out while the database is closed.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    vfs: Option<&'static str>,
    /// Is the database open?
    gate: RwLock<bool>,
    idle: Mutex<Vec<Connection>>,
}

/// While this value lives, no reader reads.
pub(super) struct Pause<'a>(RwLockWriteGuard<'a, bool>);

impl Readers {
    /// Readers of a database that the committer has open.
    pub(super) fn new(path: PathBuf, vfs: Option<&'static str>) -> Self {
        Self { path, vfs, gate: RwLock::new(true), idle: Mutex::new(Vec::new()) }
    }

    /// Reads on this thread.
    ///
    /// # Errors
    /// [`StoreError::Refusing`] while the database is closed after an error.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<rusqlite::Result<T>, StoreError> {
        let gate = self.enter();
        if !*gate {
            return Err(StoreError::Refusing);
        }
        let idle = self.idle.lock().pop();
        let connection = match idle.map_or_else(|| database::open_reader(&self.path, self.vfs), Ok)
        {
            Ok(connection) => connection,
            Err(error) => return Ok(Err(error)),
        };
        let result = read(&connection);
        let mut idle = self.idle.lock();
        // A connection that has seen an error may have more of it in its cache.
        if result.is_ok() && idle.len() < limits::DATABASE_READERS {
            idle.push(connection);
        }
        Ok(result)
    }

    /// Waits for those that read and keeps others waiting.
    pub(super) fn pause(&self) -> Pause<'_> {
        Pause(self.gate.write())
    }

    /// Closes the idle connections (all of them during a [`Pause`]), and opens no other.
    pub(super) fn close(&self, pause: &mut Pause<'_>) {
        *pause.0 = false;
        self.idle.lock().clear();
    }

    /// The committer has opened the database again.
    pub(super) fn open(&self, pause: &mut Pause<'_>) {
        *pause.0 = true;
    }

    fn enter(&self) -> RwLockReadGuard<'_, bool> {
        self.gate.read()
    }
}
