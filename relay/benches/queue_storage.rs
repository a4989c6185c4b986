//! Which engine keeps the queue? `cargo bench -p relay --bench queue_storage [DIRECTORY]`
//!
//! Two tables. The first is the rate of durable messages of 4 KiB, each with a small envelope
//! record, committed in groups of 1, 8 and 32, as a ratio to a bare append and fdatasync in the
//! same round. The second is what is left of 1,000 committed messages after one byte in the middle
//! of the engine's newest data has been flipped. docs/queue-storage.md keeps a run of it.

use std::env;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use relay::queue::schedule::Schedule;
use relay::queue::{BodyType, Envelope, LogSettings, Queue, Recovery, Settings};
use relay::smtp::path::{Domain, ForwardPath, ReversePath};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Octets of a message.
const MESSAGE: usize = 4096;
/// Octets of an envelope record.
const ENVELOPE: usize = 300;
/// Messages committed by one sync.
const GROUPS: [usize; 3] = [1, 8, 32];
/// How long one cell is measured; the engines take turns, so that a noisy disk meets them all.
const SLICE: Duration = Duration::from_millis(400);
/// Turns of each cell. The median is printed.
const TURNS: usize = 5;
/// Messages in the table of damages.
const KEPT: usize = 1000;

/// One candidate: commits groups durably and counts what it finds after it was opened again.
trait Engine {
    fn commit(&mut self, group: &[(u64, Vec<u8>)]) -> Result<()>;
}

type Open = fn(&Path) -> Result<Box<dyn Engine>>;
type Count = fn(&Path) -> Result<usize>;

fn main() -> Result<()> {
    // Cargo passes --bench; the first argument without a dash is the directory.
    let parent = env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let parent = parent.map_or_else(env::temp_dir, PathBuf::from);
    let candidates: [(&str, Open, Option<Count>); 5] = [
        ("append + fdatasync", RawLog::open, None),
        ("append, preallocated", RawLog::open_preallocated, None),
        ("relay's log", RelayLog::open, Some(RelayLog::count)),
        ("fjall 3.1", Fjall::open, Some(Fjall::count)),
        ("redb 4.6", Redb::open, Some(Redb::count)),
    ];
    println!("4 KiB messages, durable before they count; files in {}", parent.display());
    print!("{:<22}", "engine");
    for group in GROUPS {
        print!(" {:>22}", format!("groups of {group}"));
    }
    println!();
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
    for (row, (name, ..)) in candidates.iter().enumerate() {
        print!("{name:<22}");
        for (rate, raw) in rates[row].iter().zip(rates[0]) {
            print!(" {:>22}", format!("{rate:.0}/s ({:.2})", rate / raw));
        }
        println!();
    }
    println!("\n{KEPT} messages committed, then one byte flipped");
    for (name, open, count) in candidates {
        if let Some(count) = count {
            println!("{name:<22} {}", damage(open, count, &parent)?);
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

/// What an engine says after a byte in the middle of its largest used region was flipped.
fn damage(open: Open, count: Count, parent: &Path) -> Result<String> {
    let directory = tempfile::tempdir_in(parent)?;
    let mut engine = open(directory.path())?;
    for number in 0..KEPT {
        engine.commit(&messages(number as u64, 1))?;
    }
    // As after a crash: the engine has no chance to put its files in order.
    std::mem::forget(engine);
    let copy = tempfile::tempdir_in(parent)?;
    copy_tree(directory.path(), copy.path())?;
    flip(copy.path())?;
    let outcome = std::panic::catch_unwind(|| count(copy.path()));
    Ok(match outcome {
        Ok(Ok(kept)) => format!("opens; {kept} messages are left"),
        Ok(Err(error)) => format!("does not open: {error:#}"),
        Err(_) => "panics".to_owned(),
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

/// Flips a byte of the text of message 500, in every file that holds it.
fn flip(directory: &Path) -> Result<()> {
    let needle = b"00000500 the quick";
    let mut pending = vec![directory.to_owned()];
    let mut flipped = 0;
    while let Some(path) = pending.pop() {
        if path.is_dir() {
            for entry in fs::read_dir(&path)? {
                pending.push(entry?.path());
            }
            continue;
        }
        let bytes = fs::read(&path)?;
        if let Some(at) = memchr::memmem::find(&bytes, needle) {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.write_all_at(b"#", at as u64 + 10)?;
            flipped += 1;
        }
    }
    if flipped == 0 {
        bail!("message 500 is in no file");
    }
    Ok(())
}

/// What the disk can do: everything of a group in one write, then one fdatasync.
struct RawLog {
    file: File,
}

impl RawLog {
    fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self { file: File::create(directory.join("log"))? }))
    }

    fn open_preallocated(directory: &Path) -> Result<Box<dyn Engine>> {
        let file = File::create(directory.join("log"))?;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, 512 << 20)
            .context("cannot preallocate")?;
        Ok(Box::new(Self { file }))
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
        self.file.write_all(&buffer)?;
        Ok(self.file.sync_data()?)
    }
}

/// The queue itself: each message of a group is a commit of its own, all at the same time.
struct RelayLog {
    runtime: Runtime,
    queue: Queue,
}

impl RelayLog {
    fn new(directory: &Path) -> Result<(Self, Recovery)> {
        let hostname = Domain::parse("bench.example")?;
        let settings = Settings { hostname, schedule: Schedule::default() };
        let (queue, recovery) = Queue::open(&LogSettings::new(directory), settings)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok((Self { runtime, queue }, recovery))
    }

    fn open(directory: &Path) -> Result<Box<dyn Engine>> {
        Ok(Box::new(Self::new(directory)?.0))
    }

    fn count(directory: &Path) -> Result<usize> {
        Ok(Self::new(directory)?.1.messages as usize)
    }
}

impl Engine for RelayLog {
    fn commit(&mut self, group: &[(u64, Vec<u8>)]) -> Result<()> {
        self.runtime.block_on(async {
            let mut commits = JoinSet::new();
            for (_, message) in group {
                let mut incoming = self.queue.begin(Envelope {
                    sender: ReversePath::parse("<sender@bench.example>")?,
                    recipients: vec![ForwardPath::parse("<recipient@bench.example>")?],
                    body: BodyType::SevenBit,
                    smtputf8: false,
                })?;
                incoming.write(message.clone().into()).await?;
                commits.spawn(incoming.commit());
            }
            while let Some(committed) = commits.join_next().await {
                committed??;
            }
            Ok(())
        })
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
        Ok(Self::new(directory)?.messages.len()?)
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
