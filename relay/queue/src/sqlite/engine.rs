//! The calls of [`Store`], each on the index, the readers or the committer.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::Entry;
use crate::message_file::{MessageFile, MessageReader};
use crate::record::{self, StoredBody};
use crate::store::{ClaimAfter, EntryChange, Lengths, Message, Pending, Settlement, Store, Usage};
use bytes::Bytes;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use tokio::sync::Notify;

use super::claim::ClaimGuard;
use super::commit_request::{CommitPurpose, CommitStep, NewBody};
use super::database::{BodyRow, EntryRow};
use super::{Shared, SqliteStore};
use crate::limits;

impl SqliteStore {
    /// The entries of messages that were just claimed. The caller owns the claims from then on.
    async fn read_claimed(&self, claims: Vec<ClaimGuard>) -> Result<Vec<Entry>, StoreError> {
        let ids: Vec<_> = claims.iter().map(ClaimGuard::id).collect();
        let recent_commits: Option<Vec<_>> =
            ids.iter().map(|&id| self.shared.recent_commit(id)).collect();
        let (entries, claims) = match recent_commits {
            Some(entries) => (entries, claims),
            None => self.blocking(move |shared| (shared.read_claimed(&ids), claims)).await?,
        };
        claims.into_iter().for_each(ClaimGuard::release);
        Ok(entries)
    }

    fn update(&self, entry: &Entry, claim: ClaimAfter) -> Result<CommitStep, StoreError> {
        let body = self.shared.index.lock().find(entry.id)?.body;
        Ok(CommitStep::Update { entry: row(entry, body), due: entry.due, claim })
    }

    fn put(&self, entry: &Entry, body: NewBody) -> CommitStep {
        self.shared.highest_id.fetch_max(entry.id.to_u64(), Ordering::AcqRel);
        CommitStep::Put { entry: row(entry, body.stored()), due: entry.due, body }
    }
}

/// The entry as a row.
fn row(entry: &Entry, body: StoredBody) -> EntryRow {
    let due = entry.due.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    EntryRow {
        id: entry.id,
        due: i64::try_from(due).unwrap_or(i64::MAX),
        held: entry.held,
        record: record::encode(entry, body),
    }
}

impl Store for SqliteStore {
    fn highest_id(&self) -> u64 {
        self.shared.highest_id.load(Ordering::Acquire)
    }

    fn create_file(&self, id: QueueId) -> Pending<'_, MessageFile> {
        Box::pin(async move {
            self.blocking(move |shared| MessageFile::create(shared.directory.message(id))).await?
        })
    }

    fn accepts(&self) -> Pending<'_, ()> {
        Box::pin(async move {
            if let Some(refusal) = self.shared.refusal() {
                return Err(refusal);
            }
            let queued = self.shared.index.lock().lengths().queued;
            if queued >= limits::QUEUED_MESSAGES {
                return Err(StoreError::Full(format!("it holds {queued} messages")));
            }
            let free = match self.shared.space.seen() {
                Some(free) => free,
                None => self.blocking(|shared| shared.space.free_octets()).await??,
            };
            if free < self.shared.min_free_octets {
                let directory = self.shared.directory.path().display();
                let least = self.shared.min_free_octets;
                return Err(StoreError::Full(format!(
                    "{directory} has {free} octets free, min_free_space is {least}"
                )));
            }
            Ok(())
        })
    }

    fn damaged_files(&self) -> Pending<'_, u64> {
        let count = |shared: &Shared| {
            let files = std::fs::read_dir(shared.directory.damaged(""));
            files.map_or(0, |files| files.flatten().count() as u64)
        };
        Box::pin(self.blocking(count))
    }

    fn usage(&self) -> Pending<'_, Usage> {
        Box::pin(async move { self.blocking(Shared::usage).await? })
    }

    fn enqueue(&self, entry: Entry, message: Message) -> Pending<'_, ()> {
        Box::pin(async move {
            let body = match message {
                Message::Memory(pieces) => {
                    NewBody::Row(BodyRow { id: entry.id, message: joined(pieces) })
                }
                Message::File(file) => {
                    file.sync().await?;
                    NewBody::File(file)
                }
            };
            let step = self.put(&entry, body);
            if let CommitStep::Put { entry: row, .. } = &step {
                // An entry that cannot be parsed again could never be delivered.
                let read = record::decode(entry.id, &row.record);
                read.map_err(|error| StoreError::Unfit { what: error.to_string() })?;
            }
            self.commit(vec![step], CommitPurpose::NewMail).await
        })
    }

    fn claim_due(&self, now: SystemTime, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            let now = self.shared.clock.monotonic(now);
            let claimed = ClaimGuard::take_due(&self.shared, now, limit);
            if claimed.is_empty() { Ok(Vec::new()) } else { self.read_claimed(claimed).await }
        })
    }

    fn claim(&self, id: QueueId) -> Pending<'_, Entry> {
        Box::pin(async move {
            let claim = ClaimGuard::take(&self.shared, id)?;
            self.shared.recent_commits.take(id);
            let read = move |shared: &Shared| shared.read_entry(id).map(|entry| (entry, claim));
            let (entry, claim) = self.blocking(read).await??;
            claim.release();
            Ok(entry)
        })
    }

    fn is_claimed(&self, id: QueueId) -> bool {
        self.shared.index.lock().find(id).is_ok_and(|item| item.claimed)
    }

    fn record(&self, settlement: Settlement) -> Pending<'_, ()> {
        Box::pin(async move {
            let Settlement { entry, report, claim } = settlement;
            let mut steps = Vec::with_capacity(2);
            steps.push(if entry.pending().next().is_some() {
                self.update(&entry, claim)?
            } else {
                CommitStep::Remove { id: entry.id }
            });
            if let Some((entry, message)) = report {
                let body = NewBody::Row(BodyRow { id: entry.id, message });
                steps.push(self.put(&entry, body));
            }
            self.commit(steps, CommitPurpose::Change).await
        })
    }

    fn put_back(&self, id: QueueId, due: SystemTime) {
        self.shared.recent_commits.take(id);
        self.shared.put_back(id, self.shared.clock.monotonic(due));
    }

    fn bring_forward(&self, ids: &[QueueId], due: SystemTime) {
        if ids.is_empty() {
            return;
        }
        let due = self.shared.clock.monotonic(due);
        let mut index = self.shared.index.lock();
        ids.iter().for_each(|&id| index.make_due(id, due));
        drop(index);
        self.shared.became_due.notify_one();
    }

    fn read(&self, id: QueueId) -> Pending<'_, MessageReader> {
        Box::pin(async move {
            if let Some(message) = self.shared.recent_commits.take(id) {
                return Ok(MessageReader::memory(id, message));
            }
            self.blocking(move |shared| shared.read_message(id)).await?
        })
    }

    fn find(&self, id: QueueId) -> Pending<'_, Entry> {
        Box::pin(async move { self.blocking(move |shared| shared.read_entry(id)).await? })
    }

    fn list(&self, after: Option<QueueId>, limit: usize) -> Pending<'_, Vec<Entry>> {
        Box::pin(async move {
            let mut after = after;
            loop {
                let ids = self.shared.index.lock().list(after, limit);
                let Some(&last) = ids.last() else { return Ok(Vec::new()) };
                let entries = self.blocking(move |shared| shared.read_listed(&ids)).await?;
                if !entries.is_empty() {
                    return Ok(entries);
                }
                // None of these entries can be read, but the queue may have more.
                after = Some(last);
            }
        })
    }

    fn change(&self, id: QueueId, change: EntryChange) -> Pending<'_, ()> {
        Box::pin(async move {
            let claim = ClaimGuard::take(&self.shared, id)?;
            let mut entry = self.find(id).await?;
            // The wall clock may have been set since this was written.
            entry.due = self.shared.clock.wall(claim.due());
            match change {
                EntryChange::Hold => entry.held = true,
                EntryChange::Release => entry.held = false,
                EntryChange::Retry => entry.due = SystemTime::now(),
            }
            let step = self.update(&entry, ClaimAfter::Released)?;
            self.commit_claimed(Some(claim), vec![step], CommitPurpose::Change).await
        })
    }

    fn remove(&self, id: QueueId) -> Pending<'_, ()> {
        Box::pin(async move {
            let claim = ClaimGuard::take(&self.shared, id)?;
            let steps = vec![CommitStep::Remove { id }];
            self.commit_claimed(Some(claim), steps, CommitPurpose::Change).await
        })
    }

    fn next_due(&self) -> Option<SystemTime> {
        let due = self.shared.index.lock().next_due()?;
        Some(self.shared.clock.wall(due))
    }

    fn became_due(&self) -> Arc<Notify> {
        Arc::clone(&self.shared.became_due)
    }

    fn lengths(&self) -> Lengths {
        self.shared.index.lock().lengths()
    }
}

impl Shared {
    /// The usage of the store. Asks the file system.
    fn usage(&self) -> Result<Usage, StoreError> {
        let system = self.space.file_system()?;
        let block = system.f_frsize;
        let used_octets = system.f_blocks.saturating_sub(system.f_bfree).saturating_mul(block);
        // As df counts: space reserved for root is not available to this process.
        let free_octets = system.f_bavail.saturating_mul(block);
        let octets = used_octets.saturating_add(free_octets);
        let backlog = self.index.lock().backlog(self.clock.monotonic(SystemTime::now()));
        let min_free_octets = self.min_free_octets;
        Ok(Usage { backlog, used_octets, octets, free_octets, min_free_octets })
    }
}

fn joined(mut pieces: Vec<Bytes>) -> Bytes {
    match pieces.len() {
        1 => pieces.swap_remove(0),
        _ => pieces.concat().into(),
    }
}
