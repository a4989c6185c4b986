//! Which engine should store the queue? `cargo bench -p relay --bench queue_storage [DIRECTORY]`
//!
//! Measures the rate of durable messages of 4 KiB, each with a small envelope record, committed in
//! groups, and its ratio to a bare append and fdatasync in the same round. The last column shows
//! how many of 1,000 messages remain after one byte of the largest file was inverted, at several
//! offsets. docs/queue-storage.md has the results of a run.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::path::{Domain, ForwardPath, ReversePath};
use relay_queue::schedule::Schedule;
use relay_queue::{Queue, QueueSettings, StoreSettings};

/// Octets of a message.
const MESSAGE: usize = 4096;
/// Octets of an envelope record.
const ENVELOPE: usize = 300;
/// Messages committed by one sync.
const GROUPS: [usize; 4] = [1, 8, 32, 128];
/// How long one cell is measured; the engines alternate, so that other load on the disk affects
/// all.
const SLICE: Duration = Duration::from_millis(400);
/// Turns of each cell. The median is printed.
const TURNS: usize = 5;
/// Messages in the table of damages.
const KEPT: usize = 1000;

/// Offsets of the inverted byte, at equal distances.
const PLACES: u64 = 24;

/// One candidate: commits groups durably.
trait Engine {
    fn commit(&mut self, group: &[(u64, Vec<u8>)]) -> Result<()>;
}

type Open = fn(&Path) -> Result<Box<dyn Engine>>;
/// Counts the messages that are served with the right bytes after a new start.
type Count = fn(&Path) -> Result<usize>;

fn main() -> Result<()> {
    // Cargo passes --bench; the first argument without a dash is the directory.
    let parent = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = parent.map_or_else(env::temp_dir, PathBuf::from);
    let candidates: [(&str, Open, Option<Count>); 8] = [
        ("append + fdatasync", RawLog::open, None),
        ("the same, over zeros", RawLog::open_over_zeros, None),
        ("the queue (SQLite)", TheQueue::open, Some(TheQueue::count)),
        ("SQLite, 4 KiB pages", Sqlite::open::<4096>, None),
        ("SQLite, 8 KiB pages", Sqlite::open::<8192>, None),
        ("SQLite, 16 KiB pages", Sqlite::open::<16384>, None),
        ("fjall 3.1", Fjall::open, Some(Fjall::count)),
        ("redb 4.6", Redb::open, Some(Redb::count)),
    ];
    let mut rates = vec![[0.0; GROUPS.len()]; candidates.len()];
    for (column, group) in GROUPS.into_iter().enumerate() {
        let mut turns = vec![Vec::new(); candidates.len()];
        for _ in 0..TURNS {
            for (row, (_, open, _)) in candidates.iter().enumerate() {
                turns[row].push(rate(*open, &parent, group)?);
            }
        }
        for (row, mut samples) in turns.into_iter().enumerate() {
            samples.sort_by(f64::total_cmp);
            rates[row][column] = samples[TURNS / 2];
        }
    }
    print!("| messages/s (ratio to the first) |");
    GROUPS.iter().for_each(|group| print!(" groups of {group} |"));
    println!(" opens after one flipped byte |");
    println!("|---|{}---|", "---|".repeat(GROUPS.len()));
    for (row, (name, _, count)) in candidates.iter().enumerate() {
        print!("| {name} |");
        for (rate, raw) in rates[row].iter().zip(rates[0]) {
            print!(" {rate:.0} ({:.2}) |", rate / raw);
        }
        match count {
            Some(count) => println!(" {} |", damage(candidates[row].1, *count, &parent)?),
            None => println!(" |"),
        }
    }
    Ok(())
}

/// Messages per second in one slice of time, in a new directory.
fn rate(open: Open, parent: &Path, group: usize) -> Result<f64> {
    let directory = tempfile::tempdir_in(parent)?;
    let mut engine = open(directory.path())?;
    let mut next = 0;
    let begin = Instant::now();
    while begin.elapsed() < SLICE {
        engine.commit(&messages(next, group))?;
        next += group as u64;
    }
    Ok(next as f64 / begin.elapsed().as_secs_f64())
}

/// The result for an engine if one byte of its largest file is inverted, at several offsets.
fn damage(open: Open, count: Count, parent: &Path) -> Result<String> {
    let directory = tempfile::tempdir_in(parent)?;
    let mut engine = open(directory.path())?;
    for number in 0..KEPT as u64 / 8 {
        engine.commit(&messages(number * 8, 8))?;
    }
    // As after a crash: the engine cannot tidy its files.
    let crashed = tempfile::tempdir_in(parent)?;
    copy_tree(directory.path(), crashed.path())?;
    drop(engine);
    let control = tempfile::tempdir_in(parent)?;
    copy_tree(crashed.path(), control.path())?;
    let kept = count(control.path())?;
    ensure!(kept == KEPT, "{kept} of {KEPT} messages are there without any damage");
    let (mut opened, mut fewest) = (0, KEPT);
    for place in 0..PLACES {
        let copy = tempfile::tempdir_in(parent)?;
        copy_tree(crashed.path(), copy.path())?;
        flip(copy.path(), place)?;
        let outcome = std::panic::catch_unwind(|| count(copy.path()));
        if let Ok(Ok(kept)) = outcome {
            opened += 1;
            fewest = fewest.min(kept);
        }
    }
    Ok(match opened {
        0 => format!("never in {PLACES}"),
        _ => format!("{opened} of {PLACES}; then at least {fewest} of {KEPT} messages remain"),
    })
}

fn messages(from: u64, group: usize) -> Vec<(u64, Vec<u8>)> {
    let text = |number: u64| format!("{number:08} the quick brown fox jumps over it\r\n");
    (from..from + group as u64)
        .map(|number| (number, text(number).into_bytes().repeat(MESSAGE / 44)))
        .collect()
}

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Inverts a byte of the largest file, which has most of the messages.
fn flip(directory: &Path, place: u64) -> Result<()> {
    let mut waiting = vec![directory.to_owned()];
    let mut largest = (0, PathBuf::new());
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                waiting.push(entry?.path());
            }
            continue;
        }
        // A file may be longer than its written part.
        let bytes = fs::read(&path)?;
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if used > largest.0 {
            largest = (used, path);
        }
    }
    let (used, path) = largest;
    let offset = (used as u64 - 1) * (2 * place + 1) / (2 * PLACES);
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset)?;
    Ok(file.write_all_at(&[!byte[0]], offset)?)
}

/// The limit of the disk: everything of a group in one write, then one fdatasync.
struct RawLog {
    file: File,
    at: u64,
    /// Octets that exist already and are overwritten, again and again.
    room: Option<u64>,
}

impl RawLog {
    fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self { file: File::create(directory.join("log"))?, at: 0, room: None }))
    }

    /// Zeros that were written need no change of the file's metadata, unlike space that a file
    /// system only reserves.
    fn open_over_zeros(directory: &Path) -> Result<Box<dyn Engine>> {
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
struct TheQueue {
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

    fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self::new(directory)?))
    }

    fn count(directory: &Path) -> Result<usize> {
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
struct Sqlite {
    connection: rusqlite::Connection,
}

impl Sqlite {
    fn open<const PAGE: u32>(directory: &Path) -> Result<Box<dyn Engine>> {
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

struct Fjall {
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

    fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self::new(directory)?))
    }

    fn count(directory: &Path) -> Result<usize> {
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

struct Redb {
    database: redb::Database,
}

impl Redb {
    const ENVELOPES: redb::TableDefinition<'static, u64, &'static [u8]> =
        redb::TableDefinition::new("envelopes");
    const MESSAGES: redb::TableDefinition<'static, u64, &'static [u8]> =
        redb::TableDefinition::new("messages");

    fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self { database: redb::Database::create(directory.join("queue.redb"))? }))
    }

    fn count(directory: &Path) -> Result<usize> {
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
