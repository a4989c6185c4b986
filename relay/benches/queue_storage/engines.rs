//! The candidates: each commits groups of messages durably, in its own way.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use bytes::Bytes;
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::path::{Domain, ForwardPath, ReversePath};
use relay_queue::schedule::Schedule;
use relay_queue::{Queue, QueueSettings, StoreSettings};

use crate::{ENVELOPE, MESSAGE, messages};

/// One candidate: commits groups durably.
pub trait Engine {
    fn commit(&mut self, group: &[(u64, Vec<u8>)]) -> Result<()>;
}

/// The limit of the disk: everything of a group in one write, then one fdatasync.
pub struct RawLog {
    file: File,
    at: u64,
    /// Octets that exist already and are overwritten, again and again.
    room: Option<u64>,
}

impl RawLog {
    pub fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self { file: File::create(directory.join("log"))?, at: 0, room: None }))
    }

    /// Zeros that were written need no change of the file's metadata, unlike space that a file
    /// system only reserves.
    pub fn open_over_zeros(directory: &Path) -> Result<Box<dyn Engine>> {
        const ROOM: u64 = 32 << 20;
        let mut file = File::create(directory.join("log"))?;
        file.write_all(&vec![0; ROOM as usize])?;
        file.sync_all()?;
        Ok(Box::new(Self { file, at: 0, room: Some(ROOM) }))
    }
}

impl Engine for RawLog {
    fn commit(&mut self, group: &[(u64, Vec<u8>)]) -> Result<()> {
        let mut buffer = Vec::with_capacity(group.len() * (MESSAGE + ENVELOPE));
        for (number, message) in group {
            buffer.extend_from_slice(&number.to_be_bytes());
            buffer.resize(buffer.len() + ENVELOPE, b'e');
            buffer.extend_from_slice(message);
        }
        if self.room.is_some_and(|room| self.at + buffer.len() as u64 > room) {
            self.at = 0;
        }
        self.file.write_all_at(&buffer, self.at)?;
        self.at += buffer.len() as u64;
        Ok(self.file.sync_data()?)
    }
}

/// The daemon's own queue, through its own committer.
pub struct TheQueue {
    queue: Queue,
    runtime: tokio::runtime::Runtime,
}

impl TheQueue {
    fn new(directory: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hostname = Domain::parse("edge1.contoso.example").context("the host's name")?;
        let settings = QueueSettings { hostname, schedule: Schedule::default() };
        let store = StoreSettings { min_free_octets: 0, ..StoreSettings::new(directory) };
        let (queue, _) = Queue::open(&store, settings)?;
        Ok(Self { queue, runtime })
    }

    pub fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self::new(directory)?))
    }

    pub fn count(directory: &Path) -> Result<usize> {
        let Self { queue, runtime } = Self::new(directory)?;
        runtime.block_on(async {
            let mut whole = 0;
            for entry in queue.store().list(None, usize::MAX).await? {
                let Ok(mut reader) = queue.store().read(entry.id).await else { continue };
                let bytes = reader.next().await?.unwrap_or_default();
                let number = str::from_utf8(&bytes[..8])?.parse()?;
                whole += usize::from(messages(number, 1)[0].1 == bytes);
            }
            Ok(whole)
        })
    }
}

impl Engine for TheQueue {
    fn commit(&mut self, group: &[(u64, Vec<u8>)]) -> Result<()> {
        let sender = ReversePath::parse("<sender@contoso.example>")?;
        let recipient = ForwardPath::parse("<recipient@fabrikam.example>")?;
        self.runtime.block_on(async {
            let mut commits = tokio::task::JoinSet::new();
            for (_, message) in group {
                let incoming = self.queue.begin(Envelope {
                    sender: sender.clone(),
                    recipients: vec![recipient.clone().into()],
                    body: BodyType::SevenBit,
                    smtputf8: false,
                    dsn: relay_mail::dsn::MailDsn::default(),
                });
                let mut incoming = incoming.await?;
                let message = Bytes::copy_from_slice(message);
                commits.spawn(async move {
                    incoming.write(message).await?;
                    incoming.commit().await
                });
            }
            while let Some(commit) = commits.join_next().await {
                commit??;
            }
            Ok(())
        })
    }
}

/// SQLite with the queue's settings and nothing around it, to choose its page size.
pub struct Sqlite {
    connection: rusqlite::Connection,
}

impl Sqlite {
    pub fn open<const PAGE: u32>(directory: &Path) -> Result<Box<dyn Engine>> {
        let connection = rusqlite::Connection::open(directory.join("queue.db"))?;
        connection.execute_batch(&format!(
            "PRAGMA page_size = {PAGE}; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA wal_autocheckpoint = {};
             CREATE TABLE entry (id INTEGER PRIMARY KEY, record BLOB);
             CREATE TABLE body (id INTEGER PRIMARY KEY, message BLOB);",
            (32 << 20) / PAGE
        ))?;
        Ok(Box::new(Self { connection }))
    }
}

impl Engine for Sqlite {
    fn commit(&mut self, group: &[(u64, Vec<u8>)]) -> Result<()> {
        let transaction = self.connection.transaction()?;
        for (number, message) in group {
            let id = i64::try_from(*number)?;
            let entry = rusqlite::params![id, vec![b'e'; ENVELOPE]];
            transaction.prepare_cached("INSERT INTO entry VALUES (?1, ?2)")?.execute(entry)?;
            let body = rusqlite::params![id, message];
            transaction.prepare_cached("INSERT INTO body VALUES (?1, ?2)")?.execute(body)?;
        }
        Ok(transaction.commit()?)
    }
}

pub struct Fjall {
    database: fjall::Database,
    envelopes: fjall::Keyspace,
    messages: fjall::Keyspace,
}

impl Fjall {
    fn new(directory: &Path) -> Result<Self> {
        let database = fjall::Database::builder(directory).open()?;
        let envelopes = database.keyspace("envelopes", fjall::KeyspaceCreateOptions::default)?;
        let messages = database.keyspace("messages", fjall::KeyspaceCreateOptions::default)?;
        Ok(Self { database, envelopes, messages })
    }

    pub fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self::new(directory)?))
    }

    pub fn count(directory: &Path) -> Result<usize> {
        let mut whole = 0;
        for row in Self::new(directory)?.messages.iter() {
            let (number, message) = row.into_inner()?;
            let number = u64::from_be_bytes(number.as_ref().try_into()?);
            whole += usize::from(messages(number, 1)[0].1 == *message);
        }
        Ok(whole)
    }
}

impl Engine for Fjall {
    fn commit(&mut self, group: &[(u64, Vec<u8>)]) -> Result<()> {
        let mut batch = self.database.batch().durability(Some(fjall::PersistMode::SyncData));
        for (number, message) in group {
            batch.insert(&self.envelopes, number.to_be_bytes(), vec![b'e'; ENVELOPE]);
            batch.insert(&self.messages, number.to_be_bytes(), message.as_slice());
        }
        Ok(batch.commit()?)
    }
}

pub struct Redb {
    database: redb::Database,
}

impl Redb {
    const ENVELOPES: redb::TableDefinition<'static, u64, &'static [u8]> =
        redb::TableDefinition::new("envelopes");
    const MESSAGES: redb::TableDefinition<'static, u64, &'static [u8]> =
        redb::TableDefinition::new("messages");

    pub fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self { database: redb::Database::create(directory.join("queue.redb"))? }))
    }

    pub fn count(directory: &Path) -> Result<usize> {
        use redb::{ReadableDatabase, ReadableTable};
        let database = redb::Database::create(directory.join("queue.redb"))?;
        let table = database.begin_read()?.open_table(Self::MESSAGES)?;
        let mut whole = 0;
        for row in table.iter()? {
            let (number, message) = row?;
            // redb does not check the bytes of a value when it is read; the caller must.
            if messages(number.value(), 1)[0].1 == message.value() {
                whole += 1;
            }
        }
        Ok(whole)
    }
}

impl Engine for Redb {
    fn commit(&mut self, group: &[(u64, Vec<u8>)]) -> Result<()> {
        let transaction = self.database.begin_write()?;
        {
            let mut envelopes = transaction.open_table(Self::ENVELOPES)?;
            let mut messages = transaction.open_table(Self::MESSAGES)?;
            for (number, message) in group {
                envelopes.insert(number, [b'e'; ENVELOPE].as_slice())?;
                messages.insert(number, message.as_slice())?;
            }
        }
        Ok(transaction.commit()?)
    }
}
