//! The engine under ordinary use and under damage. Crashes and full disks: [`super::super::tests`].

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use tempfile::TempDir;

use super::segment::Medium;
use super::*;
use crate::queue::tests::{bytes_of, commit, envelope, queue_on};
use crate::queue::{Outcome, Queue};
use crate::smtp::reply::{self, Enhanced};

/// Small segments, so that a few messages fill several.
fn settings(directory: &TempDir) -> LogSettings {
    LogSettings {
        segment_octets: 64 * 1024,
        min_free_octets: 0,
        ..LogSettings::new(directory.path())
    }
}

fn open(directory: &TempDir) -> (Queue, Recovery) {
    let (log, recovery) = Log::open(&settings(directory)).unwrap();
    (queue_on(Arc::new(log)), recovery)
}

fn files(directory: &TempDir, part: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(directory.path().join(part))
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort();
    files
}

/// Where `needle` is in the log.
fn find(directory: &TempDir, needle: &[u8]) -> (PathBuf, usize) {
    let hit = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        memchr::memmem::find(&bytes, needle).map(|offset| (path, offset))
    };
    files(directory, "log").into_iter().find_map(hit).expect("the text is in the log")
}

#[tokio::test]
async fn what_was_committed_is_there_after_a_restart() {
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
    // Milliseconds are what the record keeps.
    let again = queue.store().find(small).await.unwrap();
    assert!(entry.arrived.duration_since(again.arrived).unwrap() < Duration::from_millis(1));
    assert_eq!(Entry { arrived: entry.arrived, due: entry.due, ..again }, entry);
    assert!(commit(&queue, b"later").await > in_file);
}

#[tokio::test]
async fn an_abandoned_message_leaves_no_trace() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let mut small = queue.begin(envelope()).unwrap();
    small.write(Bytes::from_static(b"small")).await.unwrap();
    drop(small);
    let mut large = queue.begin(envelope()).unwrap();
    for _ in 0..10 {
        large.write(Bytes::from(vec![b'x'; 100_000])).await.unwrap();
    }
    assert_eq!(files(&directory, "messages").len(), 1);
    drop(large);
    assert_eq!(files(&directory, "messages").len(), 0);
    assert_eq!(queue.store().lengths(), Lengths::default());
}

#[tokio::test]
async fn a_second_daemon_is_refused() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let error = Log::open(&settings(&directory)).unwrap_err().to_string();
    assert!(error.contains(&format!("in use by process {}", std::process::id())), "{error}");
    drop(queue);
    open(&directory);
}

#[tokio::test]
async fn a_flipped_byte_costs_one_message() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let mut ids = Vec::new();
    for number in 0..20 {
        ids.push(commit(&queue, format!("message {number:02}\r\n").as_bytes()).await);
    }
    drop(queue);
    let (path, offset) = find(&directory, b"message 07");
    File::options().write(true).open(path).unwrap().write_all_at(b"M", offset as u64).unwrap();

    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages.len()), (19, 1));
    let damage = &recovery.damages[0];
    assert_eq!(damage.id, Some(ids[7]));
    assert!(damage.place.contains("00000001.segment at "), "{}", damage.place);
    let kept = fs::read(damage.set_aside.as_ref().unwrap()).unwrap();
    assert!(memchr::memmem::find(&kept, b"Message 07").is_some());
    assert!(matches!(bytes_of(&queue, ids[7]).await, Err(StoreError::NotFound(_))));
    assert_eq!(bytes_of(&queue, ids[8]).await.unwrap(), b"message 08\r\n");
}

#[tokio::test]
async fn damage_that_comes_later_is_never_delivered() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let small = commit(&queue, b"a small message\r\n").await;
    let large = commit(&queue, &vec![b'x'; 400_000]).await;
    let (path, offset) = find(&directory, b"a small message");
    File::options().write(true).open(path).unwrap().write_all_at(b"?", offset as u64).unwrap();
    let path = files(&directory, "messages").remove(0);
    File::options().write(true).open(path).unwrap().write_all_at(b"?", 399_999).unwrap();

    assert!(matches!(bytes_of(&queue, small).await, Err(StoreError::Damaged { .. })));
    assert!(matches!(bytes_of(&queue, large).await, Err(StoreError::Damaged { .. })));
    // Its entry is in the same record, so it is not claimed again and again either.
    assert_eq!(queue.store().claim_due(SystemTime::now(), 10).await.unwrap().len(), 1);
    assert_eq!(queue.store().lengths().held, 1);
}

#[tokio::test]
async fn a_torn_tail_costs_what_was_not_confirmed() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let first = commit(&queue, b"the first message\r\n").await;
    let last = commit(&queue, b"the last message\r\n").await;
    drop(queue);
    let (path, offset) = find(&directory, b"the last message");
    File::options().write(true).open(&path).unwrap().set_len(offset as u64 + 5).unwrap();

    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (1, Vec::new()));
    assert_eq!(bytes_of(&queue, first).await.unwrap(), b"the first message\r\n");
    assert!(commit(&queue, b"after the crash\r\n").await > last);
}

#[tokio::test]
async fn a_damaged_header_costs_nothing_and_a_foreign_file_is_set_aside() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let id = commit(&queue, b"message\r\n").await;
    drop(queue);
    let log = directory.path().join("log");
    File::options()
        .write(true)
        .open(log.join("00000001.segment"))
        .unwrap()
        .write_all_at(&[0; 40], 0)
        .unwrap();
    fs::write(log.join("00000000.segment"), b"not a segment at all, but long enough to be one")
        .unwrap();

    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages.len()), (1, 1));
    assert!(recovery.damages[0].place.ends_with("00000000.segment"));
    assert_eq!(bytes_of(&queue, id).await.unwrap(), b"message\r\n");
}

#[tokio::test]
async fn message_files_without_a_record_and_records_without_a_file() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let lost = commit(&queue, &vec![b'x'; 300_000]).await;
    let short = commit(&queue, &vec![b'y'; 300_000]).await;
    let whole = commit(&queue, &vec![b'z'; 300_000]).await;
    drop(queue);
    let messages = directory.path().join("messages");
    fs::remove_file(messages.join(lost.to_string())).unwrap();
    fs::write(messages.join(short.to_string()), b"y").unwrap();
    fs::write(messages.join("0000000000001"), b"orphan").unwrap();

    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.orphans), (1, 1));
    let ids: Vec<_> = recovery.damages.iter().map(|damage| damage.id).collect();
    assert_eq!(ids, [Some(lost), Some(short)]);
    assert_eq!(bytes_of(&queue, whole).await.unwrap().len(), 300_000);
    assert_eq!(files(&directory, "messages").len(), 1);
}

static SYNC_FAILS: AtomicBool = AtomicBool::new(false);

struct FailingMedium(File);

impl Medium for FailingMedium {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        if SYNC_FAILS.load(SeqCst) { Err(io::Error::other("injected")) } else { self.0.sync_data() }
    }
}

#[tokio::test]
async fn a_failed_sync_is_never_believed() {
    let directory = TempDir::new().unwrap();
    let (log, _) =
        Log::open_on(&settings(&directory), |file| Box::new(FailingMedium(file))).unwrap();
    let queue = queue_on(Arc::new(log));
    let before = commit(&queue, b"before\r\n").await;
    SYNC_FAILS.store(true, SeqCst);
    let mut refused = queue.begin(envelope()).unwrap();
    refused.write(Bytes::from_static(b"refused\r\n")).await.unwrap();
    let refused_id = refused.id();
    assert!(matches!(refused.commit().await, Err(StoreError::Io { doing: "sync", .. })));
    assert!(matches!(queue.begin(envelope()), Err(crate::queue::BeginError::Store(_))));
    SYNC_FAILS.store(false, SeqCst);
    // By itself, within the time between two tries.
    while queue.begin(envelope()).is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let after = commit(&queue, b"after\r\n").await;
    assert_eq!(files(&directory, "log").len(), 2, "the failed segment is not used again");
    drop(queue);

    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (2, Vec::new()));
    assert!(matches!(bytes_of(&queue, refused_id).await, Err(StoreError::NotFound(_))));
    assert_eq!(bytes_of(&queue, before).await.unwrap(), b"before\r\n");
    assert_eq!(bytes_of(&queue, after).await.unwrap(), b"after\r\n");
}

static SYNCS: AtomicUsize = AtomicUsize::new(0);

struct SlowMedium(File);

impl Medium for SlowMedium {
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync(&mut self) -> io::Result<()> {
        SYNCS.fetch_add(1, SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        Ok(())
    }
}

#[tokio::test]
async fn one_sync_serves_all_that_wait() {
    let directory = TempDir::new().unwrap();
    let (log, _) = Log::open_on(&settings(&directory), |file| Box::new(SlowMedium(file))).unwrap();
    let queue = queue_on(Arc::new(log));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let queue = queue.clone();
        tasks.spawn(async move { commit(&queue, b"message\r\n").await });
    }
    tasks.join_all().await;
    assert_eq!(queue.store().lengths().queued, 100);
    let syncs = SYNCS.load(SeqCst);
    assert!(syncs <= 10, "100 commits took {syncs} syncs");
}

#[tokio::test]
async fn segments_go_when_nothing_needs_them_and_old_mail_moves() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let stuck = commit(&queue, b"stuck\r\n").await;
    queue.store().change(stuck, Change::Hold).await.unwrap();
    let stuck_large = commit(&queue, &vec![b'x'; 300_000]).await;
    queue.store().change(stuck_large, Change::Hold).await.unwrap();
    for _ in 0..150 {
        let id = commit(&queue, &[b'm'; 8000]).await;
        queue.store().remove(id).await.unwrap();
    }
    // Over a million octets went through segments of 64 KiB.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let segments = files(&directory, "log").len() as u64;
    assert!(segments <= limits::LOG_SLACK_SEGMENTS + 2, "{segments} segments are left");
    assert!(!directory.path().join("log/00000001.segment").exists());
    assert_eq!(bytes_of(&queue, stuck).await.unwrap(), b"stuck\r\n");
    drop(queue);

    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (2, Vec::new()));
    assert!(queue.store().find(stuck).await.unwrap().held);
    assert_eq!(bytes_of(&queue, stuck).await.unwrap(), b"stuck\r\n");
    assert_eq!(bytes_of(&queue, stuck_large).await.unwrap().len(), 300_000);
}

#[tokio::test]
async fn claims_holds_and_outcomes() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let id = commit(&queue, b"message\r\n").await;
    let store = queue.store();
    store.change(id, Change::Hold).await.unwrap();
    assert!(store.claim_due(SystemTime::now(), 10).await.unwrap().is_empty());
    store.change(id, Change::Release).await.unwrap();
    let mut claimed = store.claim_due(SystemTime::now(), 10).await.unwrap();
    assert!(store.claim_due(SystemTime::now(), 10).await.unwrap().is_empty());
    assert!(matches!(store.remove(id).await, Err(StoreError::Claimed(_))));

    let answer = crate::queue::Answer::reply("hop", reply::SENDER_OK.with_text("later"));
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
    queue.store().change(id, Change::Retry).await.unwrap();
    let claimed = queue.store().claim_due(SystemTime::now(), 10).await.unwrap().remove(0);
    let answer = crate::queue::Answer::local(None, Enhanced(2, 0, 0), "taken");
    queue.record(claimed, vec![(0, Outcome::Delivered(answer))], SystemTime::now()).await.unwrap();
    assert!(matches!(queue.store().find(id).await, Err(StoreError::NotFound(_))));
    drop(queue);
    assert_eq!(open(&directory).1.messages, 0);
}
