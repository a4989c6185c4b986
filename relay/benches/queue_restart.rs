//! How long does a start with a long queue last? `cargo bench -p relay --bench queue_restart
//! [MESSAGES] [DIRECTORY]`
//!
//! Fills a queue with messages of 4 KiB (a million by default), closes it, opens it again, claims
//! due messages and commits one more message. The limit for comparison is the time for reading the
//! database's file once in the same run. docs/queue-storage.md has the results of a run.

use std::env;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use relay_mail::dsn::MailDsn;
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::path::{Domain, ForwardPath, ReversePath};
use relay_queue::schedule::Schedule;
use relay_queue::{Queue, QueueSettings, Recovery, StoreSettings};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// Messages, unless the command says how many.
const MESSAGES: usize = 1_000_000;
/// Octets of a message.
const MESSAGE: usize = 4096;
/// Messages that are committed at one time.
const AT_ONCE: usize = 200;

fn main() -> Result<()> {
    // Cargo passes --bench.
    let words: Vec<String> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let messages = words.first().map_or(Ok(MESSAGES), |word| word.parse())?;
    let parent = words.get(1).map_or_else(env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("relay-queue-restart-{}", std::process::id()));
    let result = measure(&directory, messages);
    fs::remove_dir_all(&directory)?;
    result
}

fn measure(directory: &Path, messages: usize) -> Result<()> {
    let runtime = Runtime::new()?;
    let (queue, _) = open(directory)?;
    let begun = Instant::now();
    runtime.block_on(fill(&queue, messages))?;
    let filled = begun.elapsed();
    drop(queue);

    let begun = Instant::now();
    let (queue, recovery) = open(directory)?;
    let opened = begun.elapsed();
    let claimed = runtime.block_on(queue.store().claim_due(SystemTime::now(), 100))?.len();
    let first_claim = begun.elapsed();
    runtime.block_on(commit(queue.clone(), message()))?;
    let first_message = begun.elapsed();
    ensure!(recovery.messages == messages as u64 && claimed > 0, "{recovery:?}, {claimed} claimed");
    let memory = resident()?;
    drop(queue);

    let database = directory.join("queue.db");
    let octets = fs::metadata(&database)?.len();
    let read = read_whole(&database)?;
    let rate = messages as f64 / filled.as_secs_f64();
    println!("messages of {MESSAGE} octets        {messages:>10}");
    println!("committed a second            {rate:>10.0}");
    println!("octets of the database        {octets:>10}");
    println!("open again after              {:>10.3} s", opened.as_secs_f64());
    println!("the first are claimed after   {:>10.3} s", first_claim.as_secs_f64());
    println!("a new one is committed after  {:>10.3} s", first_message.as_secs_f64());
    println!("reading the file once takes   {:>10.3} s", read.as_secs_f64());
    println!("ratio to that                 {:>10.2}", first_message.div_duration_f64(read));
    println!("memory of this process        {:>10} KiB", memory);
    Ok(())
}

fn open(directory: &Path) -> Result<(Queue, Recovery)> {
    let hostname = Domain::parse("edge1.contoso.example").context("the host's name")?;
    let settings = QueueSettings { hostname, schedule: Schedule::default() };
    Ok(Queue::open(&StoreSettings::new(directory), settings)?)
}

async fn fill(queue: &Queue, messages: usize) -> Result<()> {
    let message = message();
    let mut commits = JoinSet::new();
    for _ in 0..messages {
        if commits.len() == AT_ONCE
            && let Some(commit) = commits.join_next().await
        {
            commit??;
        }
        commits.spawn(commit(queue.clone(), message.clone()));
    }
    while let Some(commit) = commits.join_next().await {
        commit??;
    }
    Ok(())
}

async fn commit(queue: Queue, message: Bytes) -> Result<()> {
    let incoming = queue.begin(Envelope {
        sender: ReversePath::parse("<sender@contoso.example>")?,
        recipients: vec![ForwardPath::parse("<recipient@fabrikam.example>")?.into()],
        body: BodyType::SevenBit,
        smtputf8: false,
        dsn: MailDsn::default(),
    });
    let mut incoming = incoming.await?;
    incoming.write(message).await?;
    Ok(incoming.commit().await?)
}

fn message() -> Bytes {
    let line = format!("{}\r\n", "x".repeat(62));
    Bytes::from(line.repeat(MESSAGE / line.len()))
}

/// Much of it is in the page cache, as after a restart of a daemon.
fn read_whole(path: &Path) -> Result<Duration> {
    let begun = Instant::now();
    let mut file = File::open(path)?;
    let mut piece = vec![0; 1 << 20];
    while file.read(&mut piece)? > 0 {}
    Ok(begun.elapsed())
}

/// Kibibytes.
fn resident() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
    Ok(number.parse()?)
}
