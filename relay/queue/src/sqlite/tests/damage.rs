//! The cost of a damaged file: never more than the damaged page, and never silently.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::sqlite::tests::*;

/// Octets of a frame of the log.
const FRAME: usize = limits::DATABASE_PAGE_OCTETS + 24;

fn database(directory: &Path) -> PathBuf {
    directory.join("queue.db")
}

/// Copies a queue as a crash would leave it: the daemon still has it open.
fn copy(from: &Path) -> TempDir {
    // Hundreds of copies are opened and synced; their directory does not matter for the test.
    let memory = Path::new("/dev/shm");
    let to = if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }.unwrap();
    fs::create_dir(to.path().join("messages")).unwrap();
    for name in ["queue.db", "queue.db-wal"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.path().join(name)).unwrap();
        }
    }
    for file in fs::read_dir(from.join("messages")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.path().join("messages").join(file.file_name())).unwrap();
    }
    to
}

/// Inverts the bits of one octet.
fn flip(path: &Path, offset: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut octet = [0];
    file.read_exact_at(&mut octet, offset).unwrap();
    file.write_all_at(&[!octet[0]], offset).unwrap();
}

fn find(path: &Path, needle: &[u8]) -> u64 {
    let bytes = fs::read(path).unwrap();
    memchr::memmem::find(&bytes, needle).expect("the text is in the file") as u64
}

/// Octets of the log's frames, without the preallocated room and the frames of earlier rounds.
fn octets_in_use(log: &Path) -> u64 {
    let bytes = fs::read(log).unwrap();
    let frames = bytes[32..].chunks_exact(FRAME).take_while(|f| f[8..16] == bytes[16..24]);
    32 + (frames.count() * FRAME) as u64
}

fn message(number: usize) -> Vec<u8> {
    format!("message {number:03}\r\n").into_bytes().repeat(1 + number * 7 % 500)
}

/// A queue that was filled, thinned out and filled again, so that it has free pages.
async fn fill(queue: &Queue) -> BTreeMap<QueueId, Vec<u8>> {
    let mut kept = BTreeMap::new();
    for number in 0..80 {
        let id = commit(queue, &message(number)).await;
        if number % 5 == 0 {
            queue.store().remove(id).await.unwrap();
        } else {
            kept.insert(id, message(number));
        }
    }
    kept
}

/// Opens a damaged queue and compares. Returns the messages that it does not serve; the recovery
/// must have named each of them.
async fn missing(directory: &TempDir, kept: &BTreeMap<QueueId, Vec<u8>>) -> Vec<QueueId> {
    let (queue, recovery) = open(directory);
    let mut served = queue.store().list(None, 10_000).await.unwrap();
    served.retain(|entry| !entry.held);
    for entry in &served {
        assert!(kept.contains_key(&entry.id), "{} was removed before the damage", entry.id);
        assert_eq!(entry.recipients.len(), 1);
    }
    let mut missing = Vec::new();
    for (id, bytes) in kept {
        match bytes_of(&queue, *id).await {
            Ok(read) => assert!(read == *bytes, "{id} has other bytes"),
            Err(StoreError::Damaged { id: named, .. }) => {
                assert_eq!(named, *id);
                missing.push(*id);
            }
            Err(error) => {
                assert!(matches!(error, StoreError::NotFound(_)), "{error}");
                let is_named = recovery.damages.iter().any(|damage| damage.id == Some(*id));
                // A lost last transaction and a lost page are named as such.
                let is_part = recovery.damages.iter().any(|damage| damage.id.is_none());
                assert!(is_named || is_part, "{id} is lost and not reported");
                missing.push(*id);
            }
        }
    }
    // The queue works after any damage.
    let later = commit(&queue, b"later").await;
    assert_eq!(bytes_of(&queue, later).await.unwrap(), b"later");
    missing
}

#[tokio::test]
async fn a_flipped_byte_anywhere_costs_what_is_on_its_page() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let mut kept = fill(&queue).await;
    drop(queue);
    // Half of the messages are in the database, half in the log.
    let (queue, _) = open(&directory);
    kept.append(&mut fill(&queue).await);
    let (in_database, in_log) = (database(directory.path()), directory.path().join("queue.db-wal"));
    let lengths = [fs::metadata(&in_database).unwrap().len(), octets_in_use(&in_log)];
    assert!(lengths.iter().all(|&length| length > 100_000), "{lengths:?}");
    let mut random = 0x2545_F491_4F6C_DD1D_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut lost = 0;
    for round in 0..200 {
        let name = ["queue.db", "queue.db-wal"][round % 2];
        let offset = next(lengths[round % 2]);
        let damaged = copy(directory.path());
        flip(&damaged.path().join(name), offset);
        let missing = missing(&damaged, &kept).await;
        // A leaf of 4 KiB holds about a dozen entries.
        assert!(missing.len() <= 20, "{name} at {offset}: {} messages lost", missing.len());
        lost += missing.len();
    }
    println!("200 flipped bytes cost {lost} of {} messages", 200 * kept.len());
    assert!(lost > 0, "no flipped byte has hit a message");
}

#[tokio::test]
async fn a_destroyed_page_costs_what_was_on_it() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let kept = fill(&queue).await;
    drop(queue);
    let page = limits::DATABASE_PAGE_OCTETS as u64;
    let pages = fs::metadata(database(directory.path())).unwrap().len() / page;
    // The header and the roots of all tables, then every seventh page.
    for number in (0..4).chain((4..pages).step_by(7)) {
        let damaged = copy(directory.path());
        let file = fs::File::options().write(true).open(database(damaged.path())).unwrap();
        file.write_all_at(&[0xa5; limits::DATABASE_PAGE_OCTETS], number * page).unwrap();
        let missing = missing(&damaged, &kept).await;
        assert!(missing.len() <= 20, "page {}: {} messages lost", number + 1, missing.len());
        if number < 3 {
            assert!(missing.is_empty(), "page {} holds no message", number + 1);
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_database_is_moved_to_damaged() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let large = commit(&queue, &vec![b'x'; 300_000]).await;
    drop(queue);
    fs::write(database(directory.path()), b"not a database at all\n".repeat(1000)).unwrap();
    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.orphans), (0, 0));
    let set_aside: Vec<_> =
        recovery.damages.iter().filter_map(|damage| damage.set_aside.clone()).collect();
    assert!(set_aside.contains(&directory.path().join("damaged/database-1")));
    // Its entry is lost, so its file is the only part that remains.
    assert!(set_aside.contains(&directory.path().join("damaged").join(large.to_string())));
    assert_eq!(fs::read(&set_aside[0]).unwrap().len(), 22_000);
    commit(&queue, b"after").await;
    drop(queue);
    assert_eq!(open(&directory).1.damages, Vec::new(), "damage is reported once");
}

#[tokio::test]
async fn damage_that_comes_later_is_never_delivered() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    commit(&queue, b"a small message\r\n").await;
    commit(&queue, &vec![b'x'; 400_000]).await;
    let whole = commit(&queue, b"whole\r\n").await;
    drop(queue);
    let path = database(directory.path());
    flip(&path, find(&path, b"a small message"));
    flip(&files(&directory, "messages")[0], 399_999);
    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (3, Vec::new()));
    for entry in queue.store().list(None, 10).await.unwrap() {
        match bytes_of(&queue, entry.id).await {
            Ok(bytes) => assert_eq!((entry.id, &bytes[..]), (whole, &b"whole\r\n"[..])),
            Err(error) => {
                assert!(matches!(error, StoreError::Damaged { id, .. } if id == entry.id))
            }
        }
    }
}

#[tokio::test]
async fn a_damaged_entry_is_set_aside_with_its_message() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let first = commit(&queue, b"the first\r\n").await;
    let second = commit(&queue, b"the second\r\n").await;
    drop(queue);
    let path = database(directory.path());
    flip(&path, find(&path, b"fabrikam"));
    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages.len()), (1, 1));
    let lost = recovery.damages[0].id.unwrap();
    let (kept, text) =
        if lost == first { (second, "the first\r\n") } else { (first, "the second\r\n") };
    assert!(recovery.damages[0].set_aside.as_ref().unwrap().exists());
    let message = directory.path().join(format!("damaged/{lost}.eml"));
    assert_eq!(fs::read(message).unwrap(), text.as_bytes());
    assert!(bytes_of(&queue, kept).await.is_ok());
    assert!(matches!(bytes_of(&queue, lost).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn a_torn_log_costs_what_was_not_confirmed() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let log = directory.path().join("queue.db-wal");
    let mut lengths = Vec::new();
    let mut kept = Vec::new();
    for number in 0..20 {
        kept.push((commit(&queue, &message(number)).await, message(number)));
        lengths.push(octets_in_use(&log));
    }
    // At once, before the committer moves the log into the database.
    let crashed = copy(directory.path());
    let whole = fs::metadata(crashed.path().join("queue.db-wal")).unwrap().len();
    assert!(whole > lengths[19], "there is no room behind the last frame");
    for (cut, room) in (0..lengths[19]).step_by(1013).flat_map(|cut| [(cut, false), (cut, true)]) {
        let torn = copy(crashed.path());
        let path = torn.path().join("queue.db-wal");
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(cut).unwrap();
        if room {
            // Zeros instead of the octets that were not written.
            file.set_len(whole).unwrap();
        }
        let confirmed = lengths.iter().filter(|&&length| length <= cut).count();
        let (again, recovery) = open(&torn);
        assert_eq!(recovery.messages, confirmed as u64);
        // Only if the end of a transaction is written in part can it look like damage.
        assert!(recovery.damages.len() <= usize::from(room), "{:?}", recovery.damages);
        for (id, bytes) in &kept[..confirmed] {
            assert!(bytes_of(&again, *id).await.unwrap() == *bytes);
        }
    }
}

/// The power fails during the second round of the log, and one frame of its last transaction is
/// still a frame of the first round.
#[tokio::test]
async fn a_frame_that_was_never_written_costs_what_was_not_confirmed() {
    let directory = TempDir::new().unwrap();
    let (queue, _) = open(&directory);
    let log = directory.path().join("queue.db-wal");
    let mut kept = Vec::new();
    for number in 0..20 {
        kept.push((commit(&queue, &message(number)).await, message(number)));
    }
    let first_round = fs::read(&log).unwrap();
    tokio::time::sleep(limits::CHECKPOINT_IDLE + Duration::from_millis(500)).await;
    // The last transaction lies where the first round had several, with their ends.
    for message in [message(20), message(21), vec![b'm'; 60_000]] {
        kept.push((commit(&queue, &message).await, message));
    }
    let second_round = fs::read(&log).unwrap();
    let salts = &second_round[16..24];
    let frames: Vec<_> = second_round[32..]
        .chunks_exact(FRAME)
        .take_while(|frame| frame[8..16] == *salts)
        .map(|frame| frame[4..8] != [0; 4])
        .collect();
    let last = 1 + frames[..frames.len() - 1].iter().rposition(|is_end| *is_end).unwrap();
    assert!(last + 2 < frames.len() && second_round.len() == first_round.len());
    for frame in last..frames.len() {
        let torn = copy(directory.path());
        let mut bytes = second_round.clone();
        let place = 32 + frame * FRAME..32 + (frame + 1) * FRAME;
        bytes[place.clone()].copy_from_slice(&first_round[place]);
        fs::write(torn.path().join("queue.db-wal"), bytes).unwrap();
        let (again, recovery) = open(&torn);
        assert_eq!(recovery.messages, 22, "frame {frame}: {:?}", recovery.damages);
        for (id, bytes) in &kept[..22] {
            assert!(bytes_of(&again, *id).await.unwrap() == *bytes, "frame {frame}");
        }
    }
}

#[tokio::test]
async fn message_files_without_an_entry_and_entries_without_a_file() {
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
