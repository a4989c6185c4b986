//! The tables, and the settings of SQLite for durability.
//!
//! A message is one row of `entry` and, unless it has its own file, one row of `body`, so that
//! recording an attempt does not write the message again. Every row has our own checksum, since
//! SQLite has none for its pages: this detects bits that were flipped on the disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use relay_mail::queue_id::QueueId;
use rusqlite::config::DbConfig;
use rusqlite::hooks::Wal;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use crate::limits;

const PAGE: i64 = limits::DATABASE_PAGE_OCTETS as i64;

/// Root pages of the tables, in the order of the schema. They never move, since no table is ever
/// dropped and the database is never vacuumed.
pub(super) const ROOT_PAGES: [u32; 3] = [2, 3, 4];

/// `reserved` has one row: no id up to it may be assigned again.
const SCHEMA: &str = "
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY,
        checksum INTEGER NOT NULL,
        due INTEGER NOT NULL,
        held INTEGER NOT NULL,
        record BLOB NOT NULL
    ) STRICT;
    CREATE TABLE body (
        id INTEGER PRIMARY KEY,
        checksum INTEGER NOT NULL,
        message BLOB NOT NULL
    ) STRICT;
    CREATE TABLE reserved (
        id INTEGER PRIMARY KEY,
        checksum INTEGER NOT NULL
    ) STRICT;
";

/// A row of `entry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EntryRow {
    pub(super) id: QueueId,
    /// Milliseconds since 1970.
    pub(super) due: i64,
    pub(super) held: bool,
    /// The entry as [`crate::record`] encodes it.
    pub(super) record: Vec<u8>,
}

/// A row of `body`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BodyRow {
    pub(super) id: QueueId,
    pub(super) message: Bytes,
}

/// A row that was read, compared with its checksum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CheckedRow<Row> {
    /// The row is as it was written.
    Whole(Row),
    /// The row does not have its checksum.
    Damaged(Row),
}

impl<Row> CheckedRow<Row> {
    fn new(row: Row, stored: i64, computed: u32) -> Self {
        if stored == i64::from(computed) { Self::Whole(row) } else { Self::Damaged(row) }
    }

    /// The row, whole or damaged.
    pub(super) fn into_row(self) -> Row {
        let (Self::Whole(row) | Self::Damaged(row)) = self;
        row
    }
}

impl EntryRow {
    /// The checksum that is stored beside the row.
    pub(super) fn checksum(&self) -> u32 {
        let mut sum = begin_checksum(b'e', self.id);
        sum.update(&self.due.to_le_bytes());
        sum.update(&[u8::from(self.held)]);
        sum.update(&self.record);
        sum.finalize()
    }

    fn read(row: &Row<'_>) -> rusqlite::Result<CheckedRow<Self>> {
        let entry = Self {
            id: id_of(row.get(0)?),
            due: row.get(2)?,
            held: row.get(3)?,
            record: row.get(4)?,
        };
        let computed = entry.checksum();
        Ok(CheckedRow::new(entry, row.get(1)?, computed))
    }
}

impl BodyRow {
    /// The checksum that is stored beside the row.
    pub(super) fn checksum(&self) -> u32 {
        let mut sum = begin_checksum(b'b', self.id);
        sum.update(&self.message);
        sum.finalize()
    }
}

/// The checksum of the row of `reserved`.
pub(super) fn reserved_checksum(id: QueueId) -> u32 {
    begin_checksum(b'r', id).finalize()
}

fn begin_checksum(table: u8, id: QueueId) -> crc32fast::Hasher {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&[table]);
    sum.update(&id.to_u64().to_le_bytes());
    sum
}

/// SQLite's integers are signed; ids use 61 bits in this century.
pub(super) fn key(id: QueueId) -> i64 {
    id.to_u64().cast_signed()
}

pub(super) fn id_of(key: i64) -> QueueId {
    QueueId::from_u64(key.cast_unsigned())
}

/// Opens the database for the committer, and creates its tables if there are none. `frames` follows
/// the length of the write-ahead log after each commit.
pub(super) fn open_writer(
    path: &Path,
    vfs: Option<&str>,
    frames: &Arc<AtomicU32>,
) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let mut connection = open(path, flags, vfs)?;
    connection.pragma_update(None, "page_size", PAGE)?;
    let mode: String =
        connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(corrupt(format!("the journal mode is {mode} and cannot be changed")));
    }
    // Each commit syncs the log once; checkpoints sync the database.
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "secure_delete", "OFF")?;
    connection.pragma_update(None, "cache_size", -limits::DATABASE_CACHE_KIBIBYTES)?;
    // A commit larger than the cache, at most COMMIT_OCTETS, stays in memory until it is written:
    // if pages were written early and changed again, the checksums of the log's frames would have
    // to be computed a second time.
    connection.pragma_update(None, "cache_spill", false)?;
    // The committer decides when to run checkpoints. This hook replaces the automatic one.
    let frames = Arc::clone(frames);
    connection.wal_hook(Some(move |_: &mut Wal, count| {
        frames.store(u32::try_from(count).unwrap_or(0), Ordering::Release);
        Ok(())
    }))?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        let transaction = connection.transaction()?;
        transaction.execute_batch(SCHEMA)?;
        transaction.commit()?;
    }
    let roots = "SELECT rootpage FROM sqlite_schema WHERE name IN ('entry', 'body', 'reserved')";
    let roots: Vec<u32> = {
        let mut statement = connection.prepare(roots)?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect::<rusqlite::Result<_>>()?
    };
    let page: i64 = connection.pragma_query_value(None, "page_size", |row| row.get(0))?;
    if roots != ROOT_PAGES || page != PAGE {
        return Err(corrupt(format!("its tables are at {roots:?}, its pages have {page} octets")));
    }
    Ok(connection)
}

/// Opens the database for reads beside the committer.
pub(super) fn open_reader(path: &Path, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, vfs)?;
    connection.pragma_update(None, "cache_size", -limits::DATABASE_READER_CACHE_KIBIBYTES)?;
    Ok(connection)
}

fn open(path: &Path, flags: OpenFlags, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs)?,
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(limits::DATABASE_BUSY)?;
    set_for_reading(&connection)?;
    Ok(connection)
}

/// Settings for every connection.
pub(super) fn set_for_reading(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    // Closing must not move frames into the database that were not trusted before.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.pragma_update(None, "cell_size_check", "ON")
}

/// Did the compiler of SQLite get the flags of .cargo/config.toml? Cargo looks for that file from
/// the current directory, so a build from another directory does not use them.
///
/// SQLite does not report whether it was compiled with HAVE_FDATASYNC. HAVE_ISNAN is in the same
/// variable because SQLite reports it.
pub(super) fn is_built_with_our_flags() -> bool {
    // SAFETY: the name ends with a NUL octet, and SQLite only reads it.
    unsafe { rusqlite::ffi::sqlite3_compileoption_used(c"HAVE_ISNAN".as_ptr()) != 0 }
}

fn corrupt(what: String) -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(code, Some(what))
}

/// Does SQLite say that the file is not a sound database?
pub(super) fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, ReadOnly, Unknown};
    match error {
        // A damaged header may require a later version of SQLite for writing, or name a schema that
        // cannot be parsed. A read-only file system was detected before.
        rusqlite::Error::SqliteFailure(failure, _) => {
            matches!(failure.code, DatabaseCorrupt | NotADatabase | ReadOnly | Unknown)
        }
        // A value of another type than its column's.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..) => true,
        _ => false,
    }
}

pub(super) fn put_entry(connection: &Connection, row: &EntryRow) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO entry VALUES (?1, ?2, ?3, ?4, ?5)";
    let values = params![key(row.id), row.checksum(), row.due, row.held, row.record];
    connection.prepare_cached(insert)?.execute(values).map(drop)
}

/// Writes an entry over its older version. False if there is none.
pub(super) fn update_entry(connection: &Connection, row: &EntryRow) -> rusqlite::Result<bool> {
    let update = "UPDATE entry SET checksum = ?2, due = ?3, held = ?4, record = ?5 WHERE id = ?1";
    let values = params![key(row.id), row.checksum(), row.due, row.held, row.record];
    connection.prepare_cached(update)?.execute(values).map(|changed| changed > 0)
}

pub(super) fn put_body(connection: &Connection, row: &BodyRow) -> rusqlite::Result<()> {
    let insert = "INSERT OR REPLACE INTO body VALUES (?1, ?2, ?3)";
    let values = params![key(row.id), row.checksum(), &row.message[..]];
    connection.prepare_cached(insert)?.execute(values).map(drop)
}

pub(super) fn remove(connection: &Connection, id: QueueId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM entry WHERE id = ?1")?.execute([key(id)])?;
    connection.prepare_cached("DELETE FROM body WHERE id = ?1")?.execute([key(id)])?;
    Ok(())
}

pub(super) fn reserve(connection: &Connection, id: QueueId) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM reserved")?.execute([])?;
    let insert = "INSERT INTO reserved VALUES (?1, ?2)";
    connection.prepare_cached(insert)?.execute(params![key(id), reserved_checksum(id)]).map(drop)
}

/// The highest reserved id, if its row is whole.
pub(super) fn reserved(connection: &Connection) -> rusqlite::Result<Option<QueueId>> {
    let mut statement = connection.prepare("SELECT id, checksum FROM reserved")?;
    let rows = statement.query_map([], |row| Ok((id_of(row.get(0)?), row.get::<_, i64>(1)?)))?;
    let rows: Vec<_> = rows.collect::<rusqlite::Result<_>>()?;
    let is_whole = |(id, sum): &(QueueId, i64)| *sum == i64::from(reserved_checksum(*id));
    Ok(rows.into_iter().filter(is_whole).map(|(id, _)| id).max())
}

/// The row of one entry.
pub(super) fn find_entry(
    connection: &Connection,
    id: QueueId,
) -> rusqlite::Result<Option<CheckedRow<EntryRow>>> {
    let select = "SELECT id, checksum, due, held, record FROM entry WHERE id = ?1";
    connection.prepare_cached(select)?.query_row([key(id)], EntryRow::read).optional()
}

/// The row of one body.
pub(super) fn find_body(
    connection: &Connection,
    id: QueueId,
) -> rusqlite::Result<Option<CheckedRow<BodyRow>>> {
    let select = "SELECT checksum, message FROM body WHERE id = ?1";
    let read = |row: &Row<'_>| {
        let body = BodyRow { id, message: Bytes::from(row.get::<_, Vec<u8>>(1)?) };
        let computed = body.checksum();
        Ok(CheckedRow::new(body, row.get(0)?, computed))
    };
    connection.prepare_cached(select)?.query_row([key(id)], read).optional()
}

/// Every entry, in order of ids.
pub(super) fn each_entry(
    connection: &Connection,
    mut take: impl FnMut(CheckedRow<EntryRow>),
) -> rusqlite::Result<()> {
    let mut statement =
        connection.prepare("SELECT id, checksum, due, held, record FROM entry ORDER BY id")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(EntryRow::read(row)?);
    }
    Ok(())
}

/// Moves the frames of the log into the database and syncs it. True if the log is no longer needed;
/// false if a reader still needs a part of it.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<bool> {
    let result = |row: &Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
    let (log, moved) = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], result)?;
    Ok(log == moved)
}

/// Empties the log after all of it was moved.
pub(super) fn truncate_log(connection: &Connection) -> rusqlite::Result<()> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Octets of the file that are on the list of free pages and will be used again.
pub(super) fn free_octets(connection: &Connection) -> rusqlite::Result<u64> {
    let pages: u32 = connection.pragma_query_value(None, "freelist_count", |row| row.get(0))?;
    Ok(u64::from(pages) * limits::DATABASE_PAGE_OCTETS as u64)
}

/// Does SQLite's integrity check pass? Reads the whole file.
pub(super) fn passes_integrity_check(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA quick_check(1)", [], |row| Ok(row.get::<_, String>(0)? == "ok"))
}
