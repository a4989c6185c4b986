//! The queue, as the control socket asks for it.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::{info, warn};

use super::{StartError, as_value};
use crate::config::Config;
use crate::control::Request;
use crate::limits::QUEUE_LIST_ENTRIES;
use crate::queue::schedule::Schedule;
use crate::queue::store::Change;
use crate::queue::{Entry, LogSettings, Queue, RecipientState, Settings, StoreError};

/// One message of the queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// The sender; empty for a report.
    pub sender: String,
    /// When it arrived, RFC 3339.
    pub arrived: String,
    /// When it is tried next, RFC 3339.
    pub due: String,
    /// Attempts so far.
    pub attempts: u32,
    /// Does an administrator hold it?
    pub held: bool,
    /// Its recipients.
    pub recipients: Vec<RecipientRow>,
}

/// One recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecipientRow {
    /// The address.
    pub address: String,
    /// `pending`, `delivered` or `failed`.
    pub state: String,
    /// The last answer about it.
    pub answer: Option<String>,
}

/// Opens the queue of this configuration, and says in the log what was found.
pub(super) fn open(config: &Config) -> Result<Queue, StartError> {
    let delivery = &config.delivery;
    let settings = Settings {
        hostname: config.hostname.clone(),
        schedule: Schedule {
            first: delivery.initial_retry_interval,
            longest: delivery.maximum_retry_interval,
            lifetime: delivery.message_expiration_timeout,
        },
    };
    let (queue, recovery) = Queue::open(&LogSettings::new(&config.queue.directory), settings)?;
    for damage in &recovery.damages {
        warn!(
            place = damage.place,
            id = damage.id.map(tracing::field::display),
            set_aside =
                damage.set_aside.as_deref().map(|path| tracing::field::display(path.display())),
            "damage in the queue: {}",
            damage.what
        );
    }
    info!(messages = recovery.messages, took = ?recovery.took, "the queue is open");
    Ok(queue)
}

/// Carries out a request that is about the queue.
pub(super) async fn answer(queue: &Queue, request: Request) -> Result<Value, StoreError> {
    let store = queue.store();
    match request {
        Request::QueueList => {
            let entries = store.list(None, QUEUE_LIST_ENTRIES).await?;
            Ok(as_value(entries.iter().map(row).collect::<Vec<_>>()))
        }
        Request::QueueShow { id } => Ok(as_value(row(&store.find(id.0).await?))),
        Request::QueueRetry { id } => {
            store.change(id.0, Change::Retry).await?;
            Ok(as_value(row(&store.find(id.0).await?)))
        }
        Request::QueueRemove { id } => {
            let removed = row(&store.find(id.0).await?);
            store.remove(id.0).await?;
            info!(id = %id.0, "an administrator removed a message");
            Ok(as_value(removed))
        }
        Request::Reload | Request::Status => Ok(Value::Null),
    }
}

fn row(entry: &Entry) -> Row {
    Row {
        id: entry.id.to_string(),
        sender: entry.sender.to_string(),
        arrived: moment(entry.arrived),
        due: moment(entry.due),
        attempts: entry.attempts,
        held: entry.held,
        recipients: entry
            .recipients
            .iter()
            .map(|recipient| {
                let (state, answer) = match &recipient.state {
                    RecipientState::Pending(answer) => ("pending", answer.as_ref()),
                    RecipientState::Delivered(answer) => ("delivered", Some(answer)),
                    RecipientState::Failed(answer) => ("failed", Some(answer)),
                };
                RecipientRow {
                    address: recipient.path.to_string(),
                    state: state.to_owned(),
                    answer: answer.map(ToString::to_string),
                }
            })
            .collect(),
    }
}

/// A time that has no RFC 3339 form lies beyond the year 9999.
fn moment(time: std::time::SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc3339).unwrap_or_default()
}
