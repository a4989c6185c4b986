//! Replaces a damaged database by a new one with its rows.
//!
//! The new database is complete and synced before the damaged one is renamed, and the damaged one
//! is renamed before the new one gets its name. After a crash in between, the next start sees which
//! of the two renames has happened.

use std::fs::{self, File};

use crate::sqlite::directory::OpenError;
use crate::sqlite::recovery::{Recovering, RecoveryFailure};
use crate::sqlite::salvage::{self, SalvagedRow};
use crate::sqlite::saving::{SaveError, Saving};
use crate::sqlite::wal;
use tracing::error;

impl Recovering<'_> {
    /// Completes an exchange after a crash between the two renames of [`Recovering::exchange`].
    pub(super) fn finish_exchange(&mut self) -> Result<(), OpenError> {
        let (path, salvaged) = (self.directory.database(), self.directory.salvaged());
        if !salvaged.exists() {
            return Ok(());
        }
        if path.exists() {
            // The new database was not complete; the old one still has its name.
            self.io("remove", &salvaged, fs::remove_file(&salvaged))?;
            let _ = fs::remove_file(wal::path(&salvaged));
            return Ok(());
        }
        self.put_salvaged_in_place()
    }

    /// Moves the readable rows to a new database and moves the damaged one to `damaged/`.
    pub(super) fn exchange(&mut self, cause: &rusqlite::Error) -> Result<(), OpenError> {
        self.entries_lost = true;
        let path = self.directory.database();
        error!(path = %path.display(), %cause, "the queue's database is damaged; saving its rows");
        let salvaged = self.directory.salvaged();
        let _ = fs::remove_file(&salvaged);
        let _ = fs::remove_file(wal::path(&salvaged));
        let mut saving =
            Saving::begin(&salvaged).map_err(|e| self.failed(RecoveryFailure::Other(e)))?;
        let mut notes = Vec::new();
        let read = salvage::read(&path, |found| {
            match &found {
                SalvagedRow::DamagedRow(id) => {
                    notes.push((Some(*id), "a row of it is damaged".to_owned()))
                }
                SalvagedRow::DamagedPage(page) => {
                    notes.push((None, format!("page {page} is damaged")))
                }
                _ => {}
            }
            saving.take(found)
        });
        let lost = read.and_then(|()| saving.finish());
        let lost = lost.map_err(|error| match error {
            SaveError::Io(source) => OpenError::io("read", &path, source),
            SaveError::Sqlite(error) => self.failed(RecoveryFailure::Other(error)),
        })?;
        let set_aside = self.directory.damaged(&self.unique("database"));
        let move_aside = fs::rename(&path, &set_aside);
        self.io("set aside", &path, move_aside)?;
        let place = path.display().to_string();
        self.damage(&place, None, cause.to_string(), Some(set_aside));
        notes.dedup();
        for (id, what) in notes {
            self.damage(&place, id, what, None);
        }
        for (id, message) in lost.bodies {
            let set_aside = self.move_to_damaged(&format!("{id}.eml"), &message);
            self.damage(
                &place,
                Some(id),
                "its entry is lost; it leaves the queue".to_owned(),
                set_aside,
            );
        }
        for (id, record) in lost.entries {
            let set_aside = self.move_to_damaged(&format!("{id}.entry"), &record);
            self.damage(
                &place,
                Some(id),
                "its message is lost; it leaves the queue".to_owned(),
                set_aside,
            );
        }
        self.put_salvaged_in_place()
    }

    fn put_salvaged_in_place(&mut self) -> Result<(), OpenError> {
        let (path, salvaged) = (self.directory.database(), self.directory.salvaged());
        let log = wal::path(&path);
        if log.exists() {
            let set_aside = self.directory.damaged(&self.unique("log"));
            self.io("set aside", &log, fs::rename(&log, set_aside))?;
        }
        self.io("rename", &salvaged, fs::rename(&salvaged, &path))?;
        let _ = fs::remove_file(self.directory.salvage_mark());
        let synced = File::open(self.directory.path()).and_then(|directory| directory.sync_all());
        self.io("sync", self.directory.path(), synced)
    }
}
