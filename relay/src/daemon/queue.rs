//! The queue, as the control socket asks for it.

use serde_json::Value;
use tracing::{info, warn};

use super::{StartError, as_value};
use crate::config::Config;
use crate::control::Request;
use crate::limits::QUEUE_LIST_ENTRIES;
use crate::queue::schedule::Schedule;
use crate::queue::{Queue, Settings, StoreError, StoreSettings, admin};

/// What a queue needs to know of this configuration.
pub(super) fn settings(config: &Config) -> Settings {
    let delivery = &config.delivery;
    Settings {
        hostname: config.hostname.clone(),
        schedule: Schedule {
            first: delivery.initial_retry_interval,
            longest: delivery.maximum_retry_interval,
            lifetime: delivery.message_expiration_timeout,
            warning: delivery.delay_notification_timeout,
        },
    }
}

/// Opens the queue of this configuration, and says in the log what was found.
pub(super) fn open(config: &Config) -> Result<Queue, StartError> {
    let settings = settings(config);
    let longest_wait = settings.schedule.longest_wait();
    let store = StoreSettings { longest_wait, ..StoreSettings::new(&config.queue.directory) };
    let (queue, recovery) = Queue::open(&store, settings)?;
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
    Ok(queue)
}

/// Carries out a request that is about the queue.
pub(super) async fn answer(queue: &Queue, request: Request) -> Result<Value, StoreError> {
    match request {
        Request::QueueList { after } => {
            let after = after.map(|id| id.0);
            Ok(as_value(admin::list(queue, after, QUEUE_LIST_ENTRIES).await?))
        }
        Request::QueueShow { id } => Ok(as_value(admin::show(queue, id.0).await?)),
        Request::QueueHold { id } => {
            admin::hold(queue, id.0).await?;
            Ok(as_value(admin::show(queue, id.0).await?))
        }
        Request::QueueRelease { id } => {
            admin::release(queue, id.0).await?;
            Ok(as_value(admin::show(queue, id.0).await?))
        }
        Request::QueueRetry { id } => {
            admin::retry(queue, id.0).await?;
            Ok(as_value(admin::show(queue, id.0).await?))
        }
        Request::QueueRemove { id } => {
            let removed = admin::show(queue, id.0).await?;
            admin::remove(queue, id.0).await?;
            info!(id = %id.0, "an administrator removed a message");
            Ok(as_value(removed))
        }
        Request::Explain(_) | Request::Reload | Request::Status => Ok(Value::Null),
    }
}
