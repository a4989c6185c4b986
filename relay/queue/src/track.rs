//! Events that only the queue knows: they follow from the recorded outcome of an attempt.

use crate::event::QueueEvent;
use crate::{Entry, Queue, RecipientState};
use relay_mail::queue_id::QueueId;

/// An attempt at this entry was recorded. Some recipients may have been given up because the
/// lifetime has passed, and the sender may get a report about some.
pub(super) fn emit_events(
    queue: &Queue,
    entry: &Entry,
    expired: &[usize],
    report: Option<(QueueId, &[usize])>,
) {
    let recipients = |places: &[usize]| -> Vec<_> {
        places.iter().filter_map(|&place| entry.recipients.get(place)).cloned().collect()
    };
    if !expired.is_empty() {
        queue.tell(entry.id, || {
            let failed = recipients(expired).into_iter().filter_map(|it| match it.state {
                RecipientState::Failed(answer) => Some((it.path, answer)),
                RecipientState::Delivered(_) | RecipientState::Pending(_) => None,
            });
            QueueEvent::Expired(failed.collect())
        });
    }
    if let Some((report, told)) = report {
        queue.tell(entry.id, || QueueEvent::Reported {
            report,
            sender: entry.sender.clone(),
            recipients: recipients(told).into_iter().map(|recipient| recipient.path).collect(),
        });
    }
    if entry.pending().next().is_none() {
        queue.tell(entry.id, || QueueEvent::Ended);
    }
}
