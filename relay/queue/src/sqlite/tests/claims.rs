//! Callers drop the futures that change a message, at each point at which a future may wait.

use std::task::{Context, Waker};

use crate::store::EntryChange;
use crate::store::Pending;
use crate::store::Store;

use super::*;

/// Polls once, and drops the future in the midst of its work.
pub(super) fn abandon<T>(mut future: Pending<'_, T>) {
    let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

pub(super) async fn until_none_is_claimed(store: &dyn Store) {
    let begin = Instant::now();
    while store.lengths().claimed > 0 {
        assert!(begin.elapsed() < Duration::from_secs(20), "a claim stays");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn open_shared(directory: &TempDir) -> (Arc<SqliteStore>, Queue) {
    let (store, _) = SqliteStore::open(&settings(directory)).unwrap();
    let store = Arc::new(store);
    (Arc::clone(&store), queue_on(store))
}

#[tokio::test]
async fn a_change_that_waits_for_its_turn_gives_up_its_claim_when_it_is_dropped() {
    let directory = TempDir::new().unwrap();
    let (store, queue) = open_shared(&directory);
    let id = commit(&queue, b"message\r\n").await;
    let all = u32::try_from(limits::COMMITS_WAITING).unwrap();
    let turns = store.waiting.acquire_many(all).await.unwrap();
    let due = store.next_due();
    abandon(store.remove(id));
    assert_eq!((store.lengths().claimed, store.next_due()), (0, due));
    abandon(store.change(id, EntryChange::Hold));
    assert_eq!((store.lengths().claimed, store.next_due()), (0, due));
    drop(turns);
    store.change(id, EntryChange::Retry).await.unwrap();
    store.remove(id).await.unwrap();
}

#[tokio::test]
async fn a_change_that_the_committer_has_is_made_although_its_caller_is_gone() {
    let directory = TempDir::new().unwrap();
    let (store, queue) = open_shared(&directory);
    let id = commit(&queue, b"message\r\n").await;
    abandon(store.remove(id));
    until_none_is_claimed(&*store).await;
    assert!(matches!(store.find(id).await, Err(StoreError::NotFound(_))));
}

#[tokio::test]
async fn messages_whose_entries_are_read_for_a_caller_that_is_gone_are_due_again() {
    let directory = TempDir::new().unwrap();
    let (store, queue) = open_shared(&directory);
    let id = commit(&queue, b"message\r\n").await;
    // Otherwise the entry is in memory and nothing waits.
    store.shared.recent_commits.clear();
    for claim_one in [false, true] {
        let reading = store.shared.readers.pause();
        if claim_one {
            abandon(store.claim(id));
        } else {
            abandon(store.claim_due(SystemTime::now(), 10));
        }
        assert!(store.is_claimed(id), "no other caller may claim it while it is read");
        drop(reading);
        until_none_is_claimed(&*store).await;
    }
    let claimed = store.claim_due(SystemTime::now(), 10).await.unwrap();
    assert_eq!((claimed.len(), claimed[0].id, store.is_claimed(id)), (1, id, true));
}
