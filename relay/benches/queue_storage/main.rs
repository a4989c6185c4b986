//! Which engine should store the queue? `cargo bench -p relay --bench queue_storage [DIRECTORY]`
//!
//! Measures the rate of durable messages of 4 KiB, each with a small envelope record, committed in
//! groups, and its ratio to a bare append and fdatasync in the same round. The last column shows
//! how many of 1,000 messages remain after one byte of the largest file was inverted, at several
//! offsets. docs/queue-storage.md has the results of a run.

mod engines;

use std::env;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use engines::{Engine, Fjall, RawLog, Redb, Sqlite, TheQueue};

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
