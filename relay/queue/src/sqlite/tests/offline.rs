//! The queue without a running daemon, read by another process.

use crate::sqlite::tests::*;

fn ids(queue: &Offline) -> Vec<QueueId> {
    let mut ids = Vec::new();
    queue.each(|entry| ids.push(entry.unwrap().id)).unwrap();
    ids
}

fn names(directory: &Path) -> Vec<(String, u64)> {
    let entries = fs::read_dir(directory).unwrap().map(Result::unwrap);
    let mut names: Vec<_> = entries
        .map(|it| (it.file_name().into_string().unwrap(), it.metadata().unwrap().len()))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn waiting_messages_are_read_and_nothing_is_changed() {
    let directory = TempDir::new().unwrap();
    assert!(Offline::open(directory.path()).unwrap().is_none(), "there is no queue yet");
    let (queue, _) = open(&directory);
    let first = commit(&queue, b"Subject: x\r\n\r\n").await;
    let second = commit(&queue, &b"0123456789abcde\n".repeat(50_000)).await;
    let error = Offline::open(directory.path()).unwrap_err();
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");

    // As a killed daemon leaves it: the committed data is in the log.
    let killed = TempDir::new().unwrap();
    for name in ["queue.db", "queue.db-wal"] {
        fs::copy(directory.path().join(name), killed.path().join(name)).unwrap();
    }
    let large = |of: &TempDir| of.path().join("messages").join(second.to_string());
    fs::create_dir(killed.path().join("messages")).unwrap();
    fs::copy(large(&directory), large(&killed)).unwrap();
    let before = names(killed.path());
    assert!(before.iter().any(|(name, size)| name == "queue.db-wal" && *size > 0), "{before:?}");
    let offline = Offline::open(killed.path()).unwrap().unwrap();
    assert_eq!(ids(&offline), [first, second]);
    assert_eq!(offline.find(first).unwrap().id, first);
    assert!(matches!(offline.find(QueueId::from_u64(7)), Err(StoreError::NotFound(_))));
    drop(offline);
    assert_eq!(names(killed.path()), before);
    // A message without its file does not count as waiting.
    fs::remove_file(large(&killed)).unwrap();
    let offline = Offline::open(killed.path()).unwrap().unwrap();
    let mut found = Vec::new();
    offline.each(|entry| found.push(entry.map(|entry| entry.id))).unwrap();
    assert_eq!(found, [Ok(first), Err(Unserved::SetAside(second))]);
    assert!(matches!(offline.find(second), Err(StoreError::Damaged { .. })));
    drop(offline);

    // As a stopped daemon leaves it.
    drop(queue);
    let before = names(directory.path());
    let offline = Offline::open(directory.path()).unwrap().unwrap();
    assert_eq!(ids(&offline), [first, second]);
    assert!(!offline.is_in_use());
    assert_eq!(names(directory.path()), before);
    // It keeps no daemon from starting.
    let (queue, recovery) = open(&directory);
    assert_eq!((recovery.messages, recovery.damages), (2, Vec::new()));
    assert!(offline.is_in_use());
    drop(queue);
}
