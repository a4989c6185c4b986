//! Many messages at once, page by page: `relay queue` lists and changes those that match a
//! [`Filter`].
//!
//! The messages, the recipients and the examined messages of a page are bounded, so that neither a
//! long queue nor a filter with few matches costs the daemon much time or memory. The caller
//! continues after [`PageCursor::last`].

use crate::admin::{self, Row};
use crate::filter::Filter;
use crate::limits::QUEUE_PAGE_CHANGES;
use crate::{Entry, Queue};
use futures_util::StreamExt;
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::limits;

/// A part of the queue, in order of arrival.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Only messages that arrived after this one.
    pub after: Option<QueueId>,
    /// Only messages that arrived up to this one.
    pub until: Option<QueueId>,
}

/// The end of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageCursor {
    /// The last message that was examined; none if there was none.
    pub last: Option<String>,
    /// There may be more after it.
    pub more: bool,
}

/// A page of the list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// The messages that the filter means, oldest first.
    pub rows: Vec<Row>,
    /// All messages in the queue.
    #[serde(default)]
    pub total: u64,
    /// Where to go on.
    #[serde(flatten)]
    pub place: PageCursor,
}

/// How many messages a filter means.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Of those that were looked at.
    pub messages: u64,
    /// Where to go on.
    #[serde(flatten)]
    pub place: PageCursor,
}

/// A change of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// [`admin::hold`].
    Hold,
    /// [`admin::release`].
    Release,
    /// [`admin::retry`].
    Retry,
    /// [`admin::remove`].
    Remove,
    /// [`admin::remove_with_report`].
    RemoveWithReport,
    /// [`admin::retry`], after delivery was told to end the back-off of their next hops.
    Flush,
}

/// The result of a change of one page of messages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// How many were changed.
    pub changed: u64,
    /// How many needed no change: on hold already, not on hold, or not retried because of a hold.
    #[serde(default)]
    pub unchanged: u64,
    /// How many of the changed messages are due now and wait only because their next hops are in
    /// back-off.
    #[serde(default)]
    pub left_alone: u64,
    /// Those that could not be changed.
    pub failed: Vec<ChangeFailure>,
    /// Where to go on.
    #[serde(flatten)]
    pub place: PageCursor,
}

/// A message that could not be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeFailure {
    /// Its queue id.
    pub id: String,
    /// Why not.
    pub because: String,
}

/// Messages that match a filter and are to be changed.
#[derive(Debug)]
pub struct Selected {
    /// They, as they are now.
    pub entries: Vec<Entry>,
    /// Where to go on.
    pub place: PageCursor,
}

impl PageCursor {
    /// More messages follow.
    fn more_after(last: Option<QueueId>) -> Self {
        Self { last: last.map(|id| id.to_string()), more: true }
    }

    /// No more messages follow.
    fn end_at(last: Option<QueueId>) -> Self {
        Self { last: last.map(|id| id.to_string()), more: false }
    }
}

/// A page of the list, with at most `limit` messages. `reason` returns why a message waits.
///
/// # Errors
/// [`StoreError::Closed`].
pub async fn list(
    queue: &Queue,
    span: Span,
    filter: &Filter,
    limit: usize,
    reason: impl Fn(&Entry) -> String,
) -> Result<Page, StoreError> {
    let mut rows = Vec::new();
    let most = limit.min(limits::QUEUE_PAGE_MESSAGES);
    let place = look(queue, span, filter, most, |entry| {
        rows.push(Row { reason: Some(reason(&entry)), ..Row::from(&entry) });
    })
    .await?;
    Ok(Page { rows, total: queue.counters().lengths.queued, place })
}

/// How many messages match, among the messages that one page examines.
///
/// # Errors
/// [`StoreError::Closed`].
pub async fn count(queue: &Queue, span: Span, filter: &Filter) -> Result<Count, StoreError> {
    let mut messages = 0;
    let place = look(queue, span, filter, usize::MAX, |_| messages += 1).await?;
    Ok(Count { messages, place })
}

/// The matching messages of one page.
///
/// # Errors
/// [`StoreError::Closed`].
pub async fn select(queue: &Queue, span: Span, filter: &Filter) -> Result<Selected, StoreError> {
    let mut entries = Vec::new();
    let most = QUEUE_PAGE_CHANGES;
    let place = look(queue, span, filter, most, |entry| entries.push(entry)).await?;
    Ok(Selected { entries, place })
}

/// Applies an action to each of these messages. If one cannot be changed, for example because it is
/// being delivered, the others are changed nevertheless.
pub async fn change(queue: &Queue, verb: BulkAction, selected: Selected) -> Changed {
    let ids = selected.entries.iter().map(|entry| entry.id).collect::<Vec<_>>();
    // Together, so that they share syncs.
    let changes = futures_util::stream::iter(ids)
        .map(|id| async move { (id, change_one(queue, verb, id).await) })
        .buffered(limits::QUEUE_CHANGES_AT_ONCE);
    let mut changed = Changed {
        changed: 0,
        unchanged: 0,
        left_alone: 0,
        failed: Vec::new(),
        place: selected.place,
    };
    let mut changes = std::pin::pin!(changes);
    while let Some((id, result)) = changes.next().await {
        match result {
            Ok(true) => changed.changed += 1,
            Ok(false) => changed.unchanged += 1,
            Err(error) => {
                changed
                    .failed
                    .push(ChangeFailure { id: id.to_string(), because: error.to_string() });
            }
        }
    }
    changed
}

/// False where there was nothing to do.
async fn change_one(queue: &Queue, verb: BulkAction, id: QueueId) -> Result<bool, StoreError> {
    match verb {
        BulkAction::Hold => admin::hold(queue, id).await,
        BulkAction::Release => admin::release(queue, id).await,
        BulkAction::Retry | BulkAction::Flush => admin::retry(queue, id).await,
        BulkAction::Remove => {
            admin::remove(queue, id).await?;
            info!(%id, "an administrator removed a message");
            Ok(true)
        }
        BulkAction::RemoveWithReport => {
            admin::remove_with_report(queue, id).await?;
            info!(%id, "an administrator removed a message; its sender gets a report");
            Ok(true)
        }
    }
}

/// Passes at most `most` matching messages to `take`; fewer if the page ends earlier.
async fn look(
    queue: &Queue,
    span: Span,
    filter: &Filter,
    most: usize,
    mut take: impl FnMut(Entry),
) -> Result<PageCursor, StoreError> {
    let mut last = span.after;
    let (mut looked_at, mut taken, mut recipients) = (0, 0, 0);
    loop {
        if taken >= most
            || looked_at >= limits::QUEUE_PAGE_LOOKED_AT
            || recipients >= limits::QUEUE_PAGE_RECIPIENTS
        {
            return Ok(PageCursor::more_after(last));
        }
        let wanted = limits::QUEUE_LOOKED_AT_ONCE.min(most - taken);
        let entries = queue.store().list(last, wanted).await?;
        if entries.is_empty() {
            return Ok(PageCursor::end_at(last));
        }
        for entry in entries {
            if span.until.is_some_and(|until| entry.id > until) {
                return Ok(PageCursor::end_at(last));
            }
            last = Some(entry.id);
            looked_at += 1;
            if filter.matches(&entry) {
                taken += 1;
                recipients += entry.recipients.len();
                take(entry);
            }
        }
    }
}
