//! From rows to entries and messages, and what a row that cannot be read means.

use std::time::SystemTime;

use rusqlite::Connection;
use tracing::error;

use super::{Shared, database};
use crate::limits;
use crate::queue::record::{self, StoredBody};
use crate::queue::{Entry, MessageReader, QueueId, StoreError};

impl Shared {
    /// One entry, on this thread.
    pub(super) fn read_entry(&self, id: QueueId) -> Result<Entry, StoreError> {
        self.index().find(id)?;
        let damaged = |what: String| StoreError::Damaged { id, what };
        // An entry and its body leave in one step, so a body without an entry is damage.
        let read = |connection: &Connection| {
            let found = database::find_entry(connection, id)?;
            let is_gone = found.is_none() && database::find_body(connection, id)?.is_none();
            Ok((found, is_gone))
        };
        match self.readers.read(read)? {
            Ok((Some((row, true)), _)) => record::decode(id, &row.record)
                .map(|(entry, _)| entry)
                .map_err(|error| damaged(error.to_string())),
            Ok((Some(_), _)) => Err(damaged("its entry does not have its checksum".to_owned())),
            Ok((None, true)) => Err(StoreError::NotFound(id)),
            Ok((None, false)) => {
                self.ask_for_salvage(&"an entry cannot be found");
                Err(damaged("its entry is lost".to_owned()))
            }
            Err(error) => Err(self.unreadable(id, error)),
        }
    }

    /// Opens the bytes of a message, on this thread.
    pub(super) fn read_message(&self, id: QueueId) -> Result<MessageReader, StoreError> {
        // The index must not stay locked while the entry is read.
        let body = self.index().find(id)?.body;
        if let StoredBody::InFile { checksum } = body {
            return MessageReader::file(self.read_entry(id)?, self.directory.message(id), checksum);
        }
        let damaged = |what: &str| StoreError::Damaged { id, what: what.to_owned() };
        let read = |connection: &Connection| {
            let found = database::find_body(connection, id)?;
            let is_gone = found.is_none() && database::find_entry(connection, id)?.is_none();
            Ok((found, is_gone))
        };
        match self.readers.read(read)? {
            Ok((Some((body, true)), _)) => Ok(MessageReader::memory(id, body.message)),
            Ok((Some(_), _)) => Err(damaged("its bytes do not have their checksum")),
            Ok((None, true)) => Err(StoreError::NotFound(id)),
            Ok((None, false)) => {
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

    /// The structure of the database is damaged. Saving its rows takes a while, so it is left to
    /// the next start, and until then everything else is served.
    pub(super) fn ask_for_salvage(&self, why: &dyn std::fmt::Display) {
        let mark = self.directory.salvage_mark();
        error!(%why, "the queue's database is damaged; its rows will be saved at the next start");
        if let Err(error) = std::fs::write(&mark, []) {
            error!(path = %mark.display(), %error, "cannot ask the next start for it");
        }
    }

    /// An entry that cannot be read must not be claimed again and again.
    pub(super) fn give_up(&self, id: QueueId, error: &StoreError) {
        error!(%id, %error, "cannot read a queued message; it is held");
        self.index().hold_unreadable(id);
    }

    /// An entry that could not be read just now comes back soon.
    pub(super) fn postpone(&self, id: QueueId, error: &StoreError) {
        error!(%id, %error, "cannot read a queued message now; it is tried again");
        self.index().put_back(id, SystemTime::now() + limits::STORE_RETRY);
    }
}
