//! The engine under ordinary use. [`damage`] tests damage, [`errors`] errors of the disk, and
//! [`crate::tests`] crashes and a full disk.

mod claims;
mod damage;
mod errors;
mod offline;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::Entry;
use crate::Queue;
use crate::sqlite::*;
use crate::store::EntryChange;
use crate::store::Lengths;
use crate::tests::{bytes_of, commit, envelope, queue_on};
use bytes::Bytes;
use relay_mail::outcome::AnsweredCommand;
use relay_mail::outcome::{Outcome, OutcomeReason};
use relay_mail::reply::{self, Enhanced};
use tempfile::TempDir;

fn settings(directory: &TempDir) -> StoreSettings {
    StoreSettings { min_free_octets: 0, ..StoreSettings::new(directory.path()) }
}

fn open(directory: &TempDir) -> (Queue, Recovery) {
    let (store, recovery) = SqliteStore::open(&settings(directory)).unwrap();
    (queue_on(Arc::new(store)), recovery)
}

fn files(directory: &TempDir, part: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(directory.path().join(part)).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn sqlite_was_built_with_the_flags_of_this_repository() {
    assert!(
        database::is_built_with_our_flags(),
        "call cargo in this repository, or set LIBSQLITE3_FLAGS as .cargo/config.toml does"
    );
}

#[tokio::test]
async fn committed_messages_survive_a_restart() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let large = b"0123456789abcde\n".repeat(50_000);
    let small = commit(&queue, b"Subject: small\r\n\r\n.\r\n").await;
    let empty = commit(&queue, b"").await;
    let in_file = commit(&queue, &large).await;
    assert_eq!(files(&directory, "messages").len(), 1);
    let entry = queue.store().find(small).await.unwrap();
    drop(queue);

    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (3, Vec::new()));
    assert_eq!(bytes_of(&queue, small).await.unwrap(), b"Subject: small\r\n\r\n.\r\n");
    assert_eq!(bytes_of(&queue, empty).await.unwrap(), b"");
    assert_eq!(bytes_of(&queue, in_file).await.unwrap(), large);
    // The record stores milliseconds.
    let again = queue.store().find(small).await.unwrap();
    assert!(entry.arrived.duration_since(again.arrived).unwrap() < Duration::from_millis(1));
    assert_eq!(Entry { arrived: entry.arrived, due: entry.due, ..again }, entry);
    assert!(commit(&queue, b"later").await > in_file);
}

/// In memory, in a file, and in a file with the last pieces still in memory.
#[tokio::test]
async fn fields_put_in_front_are_there_after_a_restart_and_no_part_of_what_is_read_before() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let fields = "X-Found: out\r\n\tlater\r\n";
    let mut kept = Vec::new();
    for (pieces, in_files) in [(0, 0), (1, 0), (20, 1), (23, 2)] {
        let mut incoming = queue.begin(envelope()).await.unwrap();
        let mut written = Vec::new();
        for piece in 0..pieces {
            let piece = vec![b'a' + piece; 20_000];
            incoming.write(Bytes::from(piece.clone())).await.unwrap();
            written.extend(piece);
        }
        incoming.put_in_front(Bytes::from_static(fields.as_bytes()));
        let mut reader = incoming.reader();
        let mut read = Vec::new();
        while let Some(piece) = reader.next().await.unwrap() {
            assert!(piece.len() <= limits::MESSAGE_READ);
            read.extend(piece);
        }
        assert!(read == written, "{pieces} pieces");
        let id = incoming.id();
        incoming.commit().await.unwrap();
        assert_eq!(files(&directory, "messages").len(), in_files);
        kept.push((id, [fields.as_bytes(), &written].concat()));
    }
    drop(queue);

    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (4, Vec::new()));
    for (id, whole) in kept {
        assert!(bytes_of(&queue, id).await.unwrap() == whole);
        assert_eq!(queue.store().find(id).await.unwrap().size, whole.len() as u64);
    }
}

#[tokio::test]
async fn ids_of_removed_messages_are_not_given_again() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let id = commit(&queue, b"gone").await;
    queue.store().remove(id).await.unwrap();
    drop(queue);
    let (queue, recovery) = open(&directory);
    assert_eq!(recovery.messages, 0);
    assert!(queue.store().highest_id() > id.to_u64());
}

#[tokio::test]
async fn an_abandoned_message_leaves_no_trace() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let mut small = queue.begin(envelope()).await.unwrap();
    small.write(Bytes::from_static(b"small")).await.unwrap();
    drop(small);
    let mut large = queue.begin(envelope()).await.unwrap();
    for _ in 0..10 {
        large.write(Bytes::from(vec![b'x'; 100_000])).await.unwrap();
    }
    assert_eq!(files(&directory, "messages").len(), 1);
    drop(large);
    // A thread that may block removes the file.
    let begin = Instant::now();
    while !files(&directory, "messages").is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(20), "the file stays");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(queue.store().lengths(), Lengths::default());
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let error = SqliteStore::open(&settings(&directory)).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    drop(queue);
    open(&directory);
}

#[tokio::test]
async fn claims_holds_and_outcomes() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let id = commit(&queue, b"message\r\n").await;
    let store = queue.store();
    store.change(id, EntryChange::Hold).await.unwrap();
    assert!(store.claim_due(SystemTime::now(), 10).await.unwrap().is_empty());
    store.change(id, EntryChange::Release).await.unwrap();
    let mut claimed = store.claim_due(SystemTime::now(), 10).await.unwrap();
    assert!(store.claim_due(SystemTime::now(), 10).await.unwrap().is_empty());
    assert!(matches!(store.remove(id).await, Err(StoreError::Claimed(_))));

    let answer =
        OutcomeReason::reply("hop", reply::SENDER_OK.with_text("later"), AnsweredCommand::Rcpt);
    let entry = claimed.remove(0);
    let entry = queue.record(entry, vec![(0, Outcome::Deferred(answer))], SystemTime::now()).await;
    let entry = entry.unwrap();
    assert!(entry.due > SystemTime::now() + Duration::from_secs(10));
    assert!(store.claim_due(SystemTime::now(), 10).await.unwrap().is_empty());
    drop(queue);

    let (queue, _) = open(&directory);
    let again = queue.store().find(id).await.unwrap();
    assert_eq!((again.attempts, &again.recipients), (1, &entry.recipients));
    assert!(queue.store().claim_due(SystemTime::now(), 10).await.unwrap().is_empty());
    queue.store().change(id, EntryChange::Retry).await.unwrap();
    let claimed = queue.store().claim_due(SystemTime::now(), 10).await.unwrap().remove(0);
    let answer = OutcomeReason::local(None, Enhanced(2, 0, 0), "taken");
    queue.record(claimed, vec![(0, Outcome::Delivered(answer))], SystemTime::now()).await.unwrap();
    assert!(matches!(queue.store().find(id).await, Err(StoreError::NotFound(_))));
    drop(queue);
    assert_eq!(open(&directory).1.messages, 0);
}

#[tokio::test]
async fn held_mail_stays_held_and_the_log_stays_bounded() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let stuck = commit(&queue, b"stuck\r\n").await;
    queue.store().change(stuck, EntryChange::Hold).await.unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let queue = queue.clone();
        tasks.spawn(async move {
            for _ in 0..30 {
                let id = commit(&queue, &[b'm'; 200_000]).await;
                queue.store().remove(id).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    // Nearly a hundred million octets were written through a log of a third of that size.
    let log = fs::metadata(wal::path(&directory.path().join("queue.db"))).unwrap().len();
    assert!(log < 3 * limits::DATABASE_LOG_OCTETS, "the log has {log} octets");
    drop(queue);
    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (1, Vec::new()));
    assert!(queue.store().find(stuck).await.unwrap().held);
    assert_eq!(bytes_of(&queue, stuck).await.unwrap(), b"stuck\r\n");
}

#[tokio::test]
async fn a_long_queue_opens_quickly() {
    const MESSAGES: usize = 100_000;
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let queue = queue.clone();
        tasks.spawn(async move {
            for _ in 0..MESSAGES / 1000 {
                commit(&queue, b"Subject: short\r\n\r\n").await;
            }
        });
    }
    tasks.join_all().await;
    drop(queue);
    let begin = Instant::now();
    let (queue, recovery) = open(&directory);
    println!("{MESSAGES} messages were open after {:?}", begin.elapsed());
    assert_eq!(recovery.messages, MESSAGES as u64);
    assert_eq!(queue.store().claim_due(SystemTime::now(), 100).await.unwrap().len(), 100);
}
