//! The power is cut at every sync: unsynced changes are lost, and acknowledged messages must
//! survive.
//!
//! A separate process works with the queue ([`workload`]) under strace, which records every call
//! that changes a file ([`trace`]). From the record the disk of each moment is built again
//! ([`disk`]), and the queue is opened on it.
//!
//! The model's guarantees to a program are as small as those of POSIX:
//! - `fsync` and `fdatasync` of a file write to the disk the content of the file at the time of the
//!   call, and its length; not the name of the file.
//! - `fsync` of a directory writes its names to the disk, and those of no other directory. A
//!   directory is itself only a name in its parent directory.
//! - Any other change may be on the disk or not: each write separately, in any order, and a write
//!   of more than a sector of 512 octets sector by sector; a smaller one is complete or absent. The
//!   names of one directory reach the disk in the order in which they changed, as in a journal. A
//!   rename is one change.
//! - Memory mappings are not on the disk. Only SQLite's index of its log (`-shm`) is mapped
//!   writable, and the queue rebuilds it; any other writable mapping fails the test.
//!
//! A sync does not cover writes of other threads during the sync.
//!
//! The model assumes that a write of less than a sector is complete or absent even if it crosses a
//! sector boundary. File systems do not guarantee this. The queue depends on it for the headers of
//! its log's frames, of which one in 64 crosses a boundary.

mod disk;
mod trace;
mod workload;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use relay_tests::requirements::{Requirement, met};
use tempfile::TempDir;

use self::disk::{Cut, Disk};
use self::trace::{Call, Moment};
use self::workload::Ledger;

/// Names the queue's directory to the process that works with it.
const CHILD: &str = "RELAY_TEST_POWER_CUT";
const TEST: &str = "power_cut::a_power_cut_at_any_sync_loses_nothing_acknowledged";
/// The state of the disk at each sync: only synced changes; names but no contents; all changes, as
/// after a kill; and some of them, twice.
const CUTS: [Cut; 5] = [Cut::Synced, Cut::Names, Cut::Everything, Cut::Some, Cut::Some];

/// Syncs that the model ignores, to show that the rig detects the loss.
type Fault = fn(&str) -> bool;

#[derive(Debug, Default)]
struct Checked {
    boundaries: usize,
    states: usize,
    /// States in which the queue reported damage: a last transaction without its middle.
    reported: usize,
    messages: usize,
}

#[test]
fn a_power_cut_at_any_sync_loses_nothing_acknowledged() {
    if let Some(directory) = env::var_os(CHILD) {
        return workload::run(Path::new(&directory));
    }
    // Only root can trace a daemon that is not dumpable.
    if !met(TEST, &[Requirement::Root, Requirement::Program("strace")]) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let calls = record(folder.path());
    let seed = fastrand::u64(..1 << 32);
    let checked = cut_everywhere(&calls, folder.path(), seed, |_| false);
    let checked = checked.unwrap_or_else(|loss| panic!("seed {seed}: {loss}"));
    println!("{checked:?}, seed {seed}");
    // On a busy machine more messages share a sync: 110 boundaries alone, 93 beside a compiler.
    assert!(checked.boundaries > 60 && checked.messages > 50, "{checked:?}");

    let faults: [(&str, Fault); 4] = [
        ("the log's", |path| path.ends_with("queue.db-wal")),
        ("the message files'", |path| path.contains("/messages/")),
        ("the directory's of message files", |path| path.ends_with("/messages")),
        ("the directory's above the queue", |path| !path.contains("/queue")),
    ];
    for (syncs, fault) in faults {
        let loss = cut_everywhere(&calls, folder.path(), seed, fault);
        let loss = loss.expect_err(&format!("without {syncs} syncs nothing was lost"));
        println!("without {syncs} syncs: {loss}");
    }
}

/// The workload's changes to files below `folder`, in order.
fn record(folder: &Path) -> Vec<Call> {
    let trace = folder.join("trace");
    let status = Command::new("strace")
        .args(["-f", "-qq", "-xx", "-s", "2000000", "-e", "signal=none", "-e"])
        .arg(format!("trace={}", trace::CALLS.join(",")))
        .arg("-o")
        .arg(&trace)
        .arg(env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(CHILD, folder.join("spool/queue"))
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "the workload failed: {status}");
    trace::read(&fs::read_to_string(&trace).unwrap())
}

/// Cuts the power at each sync and opens the queue on the result.
fn cut_everywhere(
    calls: &[Call],
    folder: &Path,
    seed: u64,
    fault: Fault,
) -> Result<Checked, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut disk, mut ledger) = (Disk::new(folder), Ledger::default());
    let mut checked = Checked::default();
    for call in calls {
        let boundary = call.moment == Moment::Entry && call.is_sync();
        if boundary && disk.is_below(call) {
            checked.boundaries += 1;
            for cut in CUTS {
                let left = memory_folder();
                disk.write(cut, &mut random, left.path());
                let reported = runtime.block_on(ledger.check(&left.path().join("spool/queue")));
                let place = || format!("at sync {}, {cut:?}", checked.boundaries);
                checked.reported += usize::from(reported.map_err(|e| format!("{}: {e}", place()))?);
                checked.states += 1;
            }
        }
        ledger.hear(call);
        disk.apply(call, fault);
    }
    checked.messages = ledger.messages();
    Ok(checked)
}

/// A directory where syncs cost nothing, if there is one.
fn memory_folder() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}
