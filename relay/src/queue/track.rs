//! What message tracking is told when the outcome of an attempt has been recorded: what nobody but
//! the queue knows.

use relay_mail::queue_id::QueueId;

use super::{Entry, RecipientState};
use crate::tracking::{Happening, Tracker};

/// An attempt at this entry has been recorded. Some recipients were given up for want of time, and
/// the sender may be sent a report about some.
pub(super) fn settled(
    tracker: &Tracker,
    entry: &Entry,
    expired: &[usize],
    report: Option<(QueueId, &[usize])>,
) {
    let recipients = |places: &[usize]| -> Vec<_> {
        places.iter().filter_map(|&place| entry.recipients.get(place)).cloned().collect()
    };
    if !expired.is_empty() {
        tracker.tell(entry.id, || {
            let failed = recipients(expired).into_iter().filter_map(|it| match it.state {
                RecipientState::Failed(answer) => Some((it.path, answer)),
                RecipientState::Delivered(_) | RecipientState::Pending(_) => None,
            });
            Happening::Expired(failed.collect())
        });
    }
    if let Some((report, told)) = report {
        tracker.tell(entry.id, || Happening::Reported {
            report,
            sender: entry.sender.clone(),
            recipients: recipients(told).into_iter().map(|recipient| recipient.path).collect(),
        });
    }
    if entry.pending().next().is_none() {
        tracker.tell(entry.id, || Happening::Ended);
    }
}
