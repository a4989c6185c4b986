//! Errors of the disk, injected by a layer between SQLite and its files that fails or waits on
//! demand.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Once, OnceLock};

use crate::sqlite::tests::claims::abandon;
use crate::sqlite::tests::claims::until_none_is_claimed;
use crate::sqlite::tests::*;
use bytes::Bytes;
use rusqlite::ffi::{
    SQLITE_FULL, SQLITE_IOERR_FSYNC, SQLITE_OK, SQLITE_OPEN_MAIN_DB, sqlite3_file, sqlite3_int64,
    sqlite3_io_methods, sqlite3_vfs, sqlite3_vfs_find, sqlite3_vfs_register,
};

type OpenFile = unsafe extern "C" fn(
    *mut sqlite3_vfs,
    *const c_char,
    *mut sqlite3_file,
    c_int,
    *mut c_int,
) -> c_int;

type WriteFile =
    unsafe extern "C" fn(*mut sqlite3_file, *const c_void, c_int, sqlite3_int64) -> c_int;
type SyncFile = unsafe extern "C" fn(*mut sqlite3_file, c_int) -> c_int;

/// SQLite's own layer with another sync.
const VFS: &CStr = c"relay-test";

static FAILS: AtomicBool = AtomicBool::new(false);
static WAITS: AtomicBool = AtomicBool::new(false);
static SYNCS: AtomicUsize = AtomicUsize::new(0);
static OWN_OPEN: OnceLock<OpenFile> = OnceLock::new();
static FULL: AtomicBool = AtomicBool::new(false);
static OWN_WRITE: OnceLock<WriteFile> = OnceLock::new();
static OWN_SYNC: OnceLock<SyncFile> = OnceLock::new();
/// The layer has other methods for files that it never locks.
static METHODS: [OnceLock<sqlite3_io_methods>; 2] = [OnceLock::new(), OnceLock::new()];
/// The switches above serve one test at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

unsafe extern "C" fn open_file(
    vfs: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    let own = OWN_OPEN.get().expect("the layer is registered");
    // SAFETY: the arguments are SQLite's own, for the function that this one wraps.
    let result = unsafe { own(vfs, name, file, flags, out) };
    // SAFETY: SQLite gives a file for the layer to fill; its methods are set or null.
    unsafe {
        if result == SQLITE_OK && !(*file).pMethods.is_null() {
            let own = *(*file).pMethods;
            OWN_SYNC.get_or_init(|| own.xSync.expect("the layer syncs"));
            OWN_WRITE.get_or_init(|| own.xWrite.expect("the layer writes"));
            let methods = &METHODS[usize::from(flags & SQLITE_OPEN_MAIN_DB != 0)];
            (*file).pMethods = methods.get_or_init(|| sqlite3_io_methods {
                xWrite: Some(write_file),
                xSync: Some(sync_file),
                ..own
            });
        }
    }
    result
}

/// A full disk accepts one more write, so that a transaction ends in the middle.
unsafe extern "C" fn write_file(
    file: *mut sqlite3_file,
    bytes: *const c_void,
    length: c_int,
    offset: sqlite3_int64,
) -> c_int {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if FULL.load(SeqCst) && TAKEN.fetch_not(SeqCst) {
        return SQLITE_FULL;
    }
    let own = OWN_WRITE.get().expect("a file was opened");
    // SAFETY: the arguments are SQLite's own, for the method that this one replaces.
    unsafe { own(file, bytes, length, offset) }
}

unsafe extern "C" fn sync_file(file: *mut sqlite3_file, flags: c_int) -> c_int {
    SYNCS.fetch_add(1, SeqCst);
    if FAILS.load(SeqCst) {
        return SQLITE_IOERR_FSYNC;
    }
    if WAITS.load(SeqCst) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let own = OWN_SYNC.get().expect("a file was opened");
    // SAFETY: the arguments are SQLite's own, for the method that this one replaces.
    unsafe { own(file, flags) }
}

fn open_on_layer(directory: &TempDir) -> (Queue, Recovery) {
    static REGISTER: Once = Once::new();
    REGISTER.call_once(|| {
        // SAFETY: the default layer lives as long as the process and may be copied; the copy is
        // leaked, so it lives as long.
        unsafe {
            let own = *sqlite3_vfs_find(std::ptr::null());
            OWN_OPEN.get_or_init(|| own.xOpen.expect("the default layer opens files"));
            let layer = Box::new(sqlite3_vfs {
                zName: VFS.as_ptr(),
                pNext: std::ptr::null_mut(),
                xOpen: Some(open_file),
                ..own
            });
            assert_eq!(sqlite3_vfs_register(Box::into_raw(layer), 0), SQLITE_OK);
        }
    });
    let vfs = VFS.to_str().unwrap();
    let (store, recovery) = SqliteStore::open_on(&settings(directory), Some(vfs)).unwrap();
    (queue_on(Arc::new(store)), recovery)
}

/// Tries to store a message and returns its id, stored or not.
async fn try_commit(queue: &Queue, message: &[u8]) -> (QueueId, Result<(), StoreError>) {
    let mut incoming = queue.begin(envelope()).await.unwrap();
    incoming.write(Bytes::copy_from_slice(message)).await.unwrap();
    (incoming.id(), incoming.commit().await)
}

async fn until_it_accepts(queue: &Queue) {
    let begin = Instant::now();
    while queue.begin(envelope()).await.is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20), "service did not resume");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_failed_sync_is_never_believed() {
    let _turn = TURN.lock().await;
    let directory = TempDir::new().unwrap();
    let (queue, _) = open_on_layer(&directory);
    let before = commit(&queue, b"before\r\n").await;
    let large = commit(&queue, &vec![b'x'; 300_000]).await;
    let claimed = queue.store().claim_due(SystemTime::now(), 1).await.unwrap();
    let log = wal::path(&directory.path().join("queue.db"));
    let mut synced = fs::read(&log).unwrap();
    // Without the preallocated room after its last frame.
    synced.truncate(synced.iter().rposition(|&octet| octet != 0).unwrap() + 1);
    FAILS.store(true, SeqCst);
    let (refused, result) = try_commit(&queue, b"refused\r\n").await;
    assert!(matches!(result, Err(StoreError::Io { doing: "commit to", .. })), "{result:?}");
    // The whole transaction is in the file; only its sync has failed.
    assert!(memchr::memmem::find(&fs::read(&log).unwrap(), b"refused").is_some());
    let begun = queue.begin(envelope()).await;
    assert!(matches!(begun, Err(relay_mail::store_error::BeginError::Store(_))));
    FAILS.store(false, SeqCst);
    until_it_accepts(&queue).await;
    let renewed = fs::read(&log).unwrap();
    assert!(memchr::memmem::find(&renewed, b"refused").is_none());
    assert!(renewed.starts_with(&synced), "what had been synced is where it was");
    // A message in delivery stays in delivery.
    assert_eq!(queue.store().lengths().claimed, 1);
    assert!(matches!(queue.store().remove(claimed[0].id).await, Err(StoreError::Claimed(_))));
    let after = commit(&queue, b"after\r\n").await;
    drop(queue);

    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (3, Vec::new()));
    assert!(matches!(bytes_of(&queue, refused).await, Err(StoreError::NotFound(_))));
    assert_eq!(bytes_of(&queue, before).await.unwrap(), b"before\r\n");
    assert_eq!(bytes_of(&queue, after).await.unwrap(), b"after\r\n");
    assert_eq!(bytes_of(&queue, large).await.unwrap().len(), 300_000);
}

#[tokio::test]
async fn a_change_that_fails_after_its_caller_is_gone_gives_up_its_claim() {
    let _turn = TURN.lock().await;
    let directory = TempDir::new().unwrap();
    let (queue, _) = open_on_layer(&directory);
    let id = commit(&queue, b"message\r\n").await;
    FAILS.store(true, SeqCst);
    abandon(queue.store().remove(id));
    until_none_is_claimed(queue.store()).await;
    FAILS.store(false, SeqCst);
    until_it_accepts(&queue).await;
    assert_eq!(bytes_of(&queue, id).await.unwrap(), b"message\r\n");
    queue.store().remove(id).await.unwrap();
}

#[tokio::test]
async fn a_failed_sync_right_after_a_checkpoint_is_never_believed() {
    let _turn = TURN.lock().await;
    let directory = TempDir::new().unwrap();
    let (queue, _) = open_on_layer(&directory);
    let before = commit(&queue, b"before\r\n").await;
    // The idle checkpoint: the next commit restarts the log, over the old frames.
    tokio::time::sleep(limits::CHECKPOINT_IDLE + Duration::from_millis(500)).await;
    FAILS.store(true, SeqCst);
    let (refused, result) = try_commit(&queue, b"refused\r\n").await;
    assert!(result.is_err());
    // While the disk fails the database stays closed, however often it is tried.
    tokio::time::sleep(limits::STORE_RETRY * 2).await;
    assert!(queue.begin(envelope()).await.is_err());
    FAILS.store(false, SeqCst);
    until_it_accepts(&queue).await;
    let after = commit(&queue, b"after\r\n").await;
    assert!(matches!(bytes_of(&queue, refused).await, Err(StoreError::NotFound(_))));
    assert_eq!(bytes_of(&queue, before).await.unwrap(), b"before\r\n");
    drop(queue);
    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (2, Vec::new()));
    assert_eq!(bytes_of(&queue, after).await.unwrap(), b"after\r\n");
}

#[tokio::test]
async fn a_disk_that_fills_up_in_the_midst_of_a_transaction() {
    let _turn = TURN.lock().await;
    let directory = TempDir::new().unwrap();
    let (queue, _) = open_on_layer(&directory);
    let before = commit(&queue, b"before\r\n").await;
    FULL.store(true, SeqCst);
    let (refused, result) = try_commit(&queue, &[b'r'; 128 * 1024]).await;
    assert!(matches!(result, Err(StoreError::Full(_))), "{result:?}");
    FULL.store(false, SeqCst);
    until_it_accepts(&queue).await;
    let after = commit(&queue, b"after\r\n").await;
    drop(queue);
    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (2, Vec::new()));
    assert!(matches!(bytes_of(&queue, refused).await, Err(StoreError::NotFound(_))));
    assert_eq!(bytes_of(&queue, before).await.unwrap(), b"before\r\n");
    assert_eq!(bytes_of(&queue, after).await.unwrap(), b"after\r\n");
}

#[tokio::test]
async fn a_failed_checkpoint_loses_nothing() {
    let _turn = TURN.lock().await;
    let directory = TempDir::new().unwrap();
    let (queue, _) = open_on_layer(&directory);
    let mut kept = Vec::new();
    for _ in 0..10 {
        kept.push(commit(&queue, b"kept\r\n").await);
    }
    FAILS.store(true, SeqCst);
    tokio::time::sleep(limits::CHECKPOINT_IDLE + Duration::from_millis(500)).await;
    assert!(queue.begin(envelope()).await.is_err(), "the idle checkpoint has not failed");
    FAILS.store(false, SeqCst);
    until_it_accepts(&queue).await;
    kept.push(commit(&queue, b"kept\r\n").await);
    drop(queue);
    let (queue, _) = open(&directory);
    for id in kept {
        assert_eq!(bytes_of(&queue, id).await.unwrap(), b"kept\r\n");
    }
}

#[tokio::test]
async fn one_sync_serves_all_that_wait() {
    let _turn = TURN.lock().await;
    let directory = TempDir::new().unwrap();
    let (queue, _) = open_on_layer(&directory);
    WAITS.store(true, SeqCst);
    let before = SYNCS.load(SeqCst);
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let queue = queue.clone();
        tasks.spawn(async move { commit(&queue, b"message\r\n").await });
    }
    tasks.join_all().await;
    let syncs = SYNCS.load(SeqCst) - before;
    WAITS.store(false, SeqCst);
    assert_eq!(queue.store().lengths().queued, 100);
    assert!(syncs <= 10, "100 commits took {syncs} syncs");
}
