//! Messages that were committed a moment ago, so that their first attempt reads nothing from the
//! disk. Most messages need only one attempt.
//!
//! Only messages in the database are kept here, as they were written, up to
//! [`limits::RECENT_COMMITS_OCTETS`] octets; other messages are read. A message is dropped from here with
//! its first attempt, with any change of its entry, and when its attempt is postponed.

use std::collections::HashMap;

use bytes::Bytes;
use parking_lot::Mutex;
use relay_mail::queue_id::QueueId;

use crate::limits;

/// The recently committed messages.
#[derive(Debug, Default)]
pub(super) struct RecentCommits(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    messages: HashMap<QueueId, (Vec<u8>, Bytes)>,
    octets: usize,
}

impl RecentCommits {
    /// Keeps the record and the octets of a message, if there is room.
    pub(super) fn put(&self, id: QueueId, record: Vec<u8>, message: Bytes) {
        self.take(id);
        let mut kept = self.0.lock();
        let octets = kept.octets + record.len() + message.len();
        if octets <= limits::RECENT_COMMITS_OCTETS {
            kept.octets = octets;
            kept.messages.insert(id, (record, message));
        }
    }

    /// The record of a message, seen by `read`.
    pub(super) fn record<T>(&self, id: QueueId, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        self.0.lock().messages.get(&id).map(|(record, _)| read(record))
    }

    /// The octets of a message, which are then forgotten with it.
    pub(super) fn take(&self, id: QueueId) -> Option<Bytes> {
        let mut kept = self.0.lock();
        let (record, message) = kept.messages.remove(&id)?;
        kept.octets -= record.len() + message.len();
        Some(message)
    }

    /// Forgets all of them.
    pub(super) fn clear(&self) {
        *self.0.lock() = Kept::default();
    }
}

#[cfg(test)]
mod tests {
    use crate::sqlite::recent_commits::*;

    #[test]
    fn no_more_than_there_is_room_for() {
        let recent_commits = RecentCommits::default();
        let half = Bytes::from(vec![0; limits::RECENT_COMMITS_OCTETS / 2]);
        let id = QueueId::from_u64;
        recent_commits.put(id(1), vec![1], half.clone());
        recent_commits.put(id(2), vec![2], half.clone());
        recent_commits.put(id(1), vec![2], half.clone());
        assert_eq!(recent_commits.record(id(1), <[u8]>::to_vec), Some(vec![2]));
        assert_eq!(recent_commits.record(id(2), <[u8]>::to_vec), None);
        assert_eq!(recent_commits.take(id(1)).as_ref(), Some(&half));
        assert_eq!(recent_commits.take(id(1)), None);
        recent_commits.put(id(2), Vec::new(), half.clone());
        recent_commits.put(id(3), Vec::new(), half.clone());
        assert_eq!(
            (recent_commits.take(id(2)), recent_commits.take(id(3))),
            (Some(half.clone()), Some(half))
        );
        assert_eq!(recent_commits.0.lock().octets, 0);
    }
}
