//! The commands of an administrator for one message: `relay queue show ID | hold ID | release ID |
//! retry ID | remove ID`, as functions on the running daemon's [`Queue`]. [`super::bulk`] has the
//! commands for many messages.
//!
//! The rows are sent over the control socket and printed by `--json`.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::event::{AdminAction, QueueEvent};
use crate::store::EntryChange;
use crate::{Entry, Queue, RecipientState};
use relay_mail::envelope::BodyType;
use relay_mail::outcome::{Cause, Outcome, OutcomeReason};
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Enhanced;
use relay_mail::store_error::StoreError;
use serde::{Deserialize, Serialize};

/// One line of `relay queue list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// The queue id.
    pub id: String,
    /// The sender; empty for the null sender.
    pub sender: String,
    /// The recipients that still wait.
    pub pending: Vec<String>,
    /// Octets of the message.
    pub size: u64,
    /// When it was accepted, in seconds since 1970.
    pub arrived: u64,
    /// When it is tried next, in seconds since 1970.
    pub due: u64,
    /// Attempts so far.
    pub attempts: u32,
    /// Is the message on hold?
    pub held: bool,
    /// The reason of the last deferral.
    pub because: Option<String>,
    /// Why the message waits now; none if the daemon was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The output of `relay queue show ID`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detail {
    /// The same as in the list.
    #[serde(flatten)]
    pub row: Row,
    /// BODY=8BITMIME was given.
    pub eight_bit_mime: bool,
    /// SMTPUTF8 was given.
    pub smtputf8: bool,
    /// Every recipient, those that are settled too.
    pub recipients: Vec<RecipientRow>,
}

/// One recipient of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRow {
    /// The address.
    pub address: String,
    /// The state of its delivery.
    pub state: RecipientStatus,
    /// The next hop that answered last.
    pub hop: Option<String>,
    /// The code of its reply; none if the next hop did not reply.
    pub code: Option<u16>,
    /// The text of its reply, or the local cause if there was no reply.
    pub because: Option<String>,
    /// Why the recipient waits now; none if it does not wait, or if the daemon was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The state of the delivery to one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecipientStatus {
    /// Still to be delivered.
    Pending,
    /// A next hop accepted it.
    Delivered,
    /// Given up and reported.
    Failed,
}

/// Everything about one message.
///
/// # Errors
/// [`StoreError::NotFound`], [`StoreError::Damaged`].
pub async fn show(queue: &Queue, id: QueueId) -> Result<Detail, StoreError> {
    queue.store().find(id).await.map(|entry| Detail::from(&entry))
}

/// Puts a message on hold. False if it was on hold before.
///
/// # Errors
/// [`StoreError::NotFound`]; [`StoreError::Claimed`] while an attempt is running.
pub async fn hold(queue: &Queue, id: QueueId) -> Result<bool, StoreError> {
    if queue.store().find(id).await?.held {
        return Ok(false);
    }
    queue.store().change(id, EntryChange::Hold).await?;
    queue.tell(id, || QueueEvent::Administered(AdminAction::Hold));
    Ok(true)
}

/// Releases a message. False if it was not on hold.
///
/// # Errors
/// As for [`hold`].
pub async fn release(queue: &Queue, id: QueueId) -> Result<bool, StoreError> {
    if !queue.store().find(id).await?.held {
        return Ok(false);
    }
    queue.store().change(id, EntryChange::Release).await?;
    queue.tell(id, || QueueEvent::Administered(AdminAction::Release));
    Ok(true)
}

/// Makes a message due now. False if it is on hold: it is tried after its release.
///
/// # Errors
/// As for [`hold`].
pub async fn retry(queue: &Queue, id: QueueId) -> Result<bool, StoreError> {
    let held = queue.store().find(id).await?.held;
    queue.store().change(id, EntryChange::Retry).await?;
    queue.tell(id, || QueueEvent::Administered(AdminAction::Retry));
    Ok(!held)
}

/// Removes a message without a report.
///
/// # Errors
/// As for [`hold`].
pub async fn remove(queue: &Queue, id: QueueId) -> Result<(), StoreError> {
    queue.store().remove(id).await?;
    queue.tell(id, || QueueEvent::Administered(AdminAction::Remove));
    queue.tell(id, || QueueEvent::Ended);
    Ok(())
}

/// Gives a message up, and sends its sender the same report as after a refusal by a next hop.
///
/// # Errors
/// As for [`hold`].
pub async fn remove_with_report(queue: &Queue, id: QueueId) -> Result<(), StoreError> {
    let entry = queue.store().claim(id).await?;
    // As Exchange's Remove-Message -WithNDR: the message was accepted, and this host gives it up.
    let answer =
        OutcomeReason::local(None, Enhanced(5, 3, 2), "an administrator removed the message");
    let pending: Vec<_> = entry.pending().map(|(place, path)| (place, path.clone())).collect();
    let failed = pending.iter().map(|(_, path)| (path.clone(), answer.clone())).collect();
    queue.tell(id, || QueueEvent::Administered(AdminAction::Remove));
    queue.tell(id, || QueueEvent::Expired(failed));
    let outcomes = pending.iter().map(|(place, _)| (*place, Outcome::Failed(answer.clone())));
    queue.record(entry, outcomes.collect(), SystemTime::now()).await.map(drop)
}

impl From<&Entry> for Row {
    fn from(entry: &Entry) -> Self {
        let last = entry.recipients.iter().rev().find_map(|recipient| match &recipient.state {
            RecipientState::Pending(answer) => answer.as_ref(),
            RecipientState::Delivered(_) | RecipientState::Failed(_) => None,
        });
        Self {
            id: entry.id.to_string(),
            sender: entry.sender.to_string(),
            pending: entry.pending().map(|(_, path)| path.to_string()).collect(),
            size: entry.size,
            arrived: seconds(entry.arrived),
            due: seconds(entry.due),
            attempts: entry.attempts,
            held: entry.held,
            because: last.map(OutcomeReason::to_string),
            reason: None,
        }
    }
}

impl From<&Entry> for Detail {
    fn from(entry: &Entry) -> Self {
        let recipients = entry.recipients.iter().map(|recipient| {
            let (state, answer) = match &recipient.state {
                RecipientState::Pending(answer) => (RecipientStatus::Pending, answer.as_ref()),
                RecipientState::Delivered(answer) => (RecipientStatus::Delivered, Some(answer)),
                RecipientState::Failed(answer) => (RecipientStatus::Failed, Some(answer)),
            };
            RecipientRow {
                address: recipient.path.to_string(),
                state,
                hop: answer.and_then(|answer| answer.hop.clone()),
                code: answer.and_then(|answer| match &answer.cause {
                    Cause::Reply { reply, .. } => Some(reply.code),
                    Cause::Local { .. } => None,
                }),
                because: answer.map(OutcomeReason::to_string),
                reason: None,
            }
        });
        Self {
            row: Row::from(entry),
            eight_bit_mime: entry.body == BodyType::EightBitMime,
            smtputf8: entry.smtputf8,
            recipients: recipients.collect(),
        }
    }
}

/// Seconds since 1970.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
