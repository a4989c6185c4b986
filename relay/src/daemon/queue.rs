//! The requests of the control socket that are about the queue.

use std::collections::HashSet;

use relay_config::Config;
use relay_delivery::{Destination, HopState, Routes};
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;
use relay_mail::store_error::StoreError;
use relay_message::outbound::Audience;
use relay_queue::bulk::{self, BulkAction, Changed, Span};
use relay_queue::event::QueueEvent;
use relay_queue::export::{self, Export};
use relay_queue::filter::Filter;
use relay_queue::schedule::Schedule;
use relay_queue::{
    Damage, Entry, Queue, QueueSettings, RecipientState, Recovery, StoreSettings, admin,
};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::info;

use super::running::Daemon;
use super::start_error::StartError;
use crate::control::{ControlRequest, as_value};

/// The queue's settings in this configuration.
pub(super) fn settings(config: &Config) -> QueueSettings {
    let delivery = &config.delivery;
    QueueSettings {
        hostname: config.hostname.clone(),
        schedule: Schedule {
            first: delivery.initial_retry_interval,
            longest: delivery.maximum_retry_interval,
            lifetime: delivery.message_expiration_timeout,
            warning: delivery.delay_notification_timeout,
        },
    }
}

/// Opens the queue of this configuration. Damaged messages are logged when it is opened.
pub(super) fn open(config: &Config) -> Result<(Queue, Recovery), StartError> {
    let settings = settings(config);
    let longest_wait = settings.schedule.longest_wait();
    let store = StoreSettings {
        longest_wait,
        min_free_octets: config.queue.min_free_space,
        ..StoreSettings::new(&config.queue.directory)
    };
    let (queue, recovery) = Queue::open(&store, settings)?;
    Ok((queue, recovery))
}

/// Records damaged messages: they were accepted, so `relay trace` must know them.
pub(super) async fn record_damage(queue: &Queue, recovery: Recovery) {
    for Damage { id, what, set_aside, .. } in recovery.damages {
        let Some(id) = id else { continue };
        // Otherwise the message was saved.
        if matches!(queue.store().find(id).await, Err(StoreError::NotFound(_))) {
            queue.tell(id, || QueueEvent::Damaged { what, set_aside });
            queue.tell(id, || QueueEvent::Ended);
        }
    }
}

/// Carries out a request that is about the queue.
pub(super) async fn answer(daemon: &Daemon, request: ControlRequest) -> Result<Value, StoreError> {
    let queue = &daemon.queue;
    let show = async |id: QueueId| {
        let entry = queue.store().find(id).await?;
        let mut detail = admin::Detail::from(&entry);
        detail.row.reason = Some(daemon.reason(&entry));
        for (place, _) in entry.pending() {
            if let Some(recipient) = detail.recipients.get_mut(place) {
                // Usually it equals the reason of the message.
                let reason = daemon.reason_of(&entry, &[place]);
                recipient.reason =
                    Some(reason).filter(|reason| Some(reason) != detail.row.reason.as_ref());
            }
        }
        Ok::<_, StoreError>(as_value(detail))
    };
    match request {
        ControlRequest::QueueList { after, filter, limit } => {
            let reason = |entry: &Entry| daemon.reason(entry);
            let page = bulk::list(queue, span(after, None), &filter, limit, reason).await?;
            Ok(as_value(page))
        }
        ControlRequest::QueueCount { after, filter } => {
            Ok(as_value(bulk::count(queue, span(after, None), &filter).await?))
        }
        ControlRequest::QueueShow { id } => show(id).await,
        ControlRequest::QueueHold { id } => {
            daemon.withdraw([id]);
            admin::hold(queue, id).await?;
            show(id).await
        }
        ControlRequest::QueueRelease { id } => {
            admin::release(queue, id).await?;
            show(id).await
        }
        ControlRequest::QueueRetry { id } => {
            admin::retry(queue, id).await?;
            show(id).await
        }
        ControlRequest::QueueRemove { id, report } => {
            let removed = admin::show(queue, id).await?;
            daemon.withdraw([id]);
            match report {
                true => admin::remove_with_report(queue, id).await?,
                false => admin::remove(queue, id).await?,
            }
            info!(id = %id, report, "an administrator removed a message");
            Ok(as_value(removed))
        }
        // Other modules answer these requests.
        ControlRequest::Explain(_)
        | ControlRequest::QueueChange { .. }
        | ControlRequest::QueueExport { .. }
        | ControlRequest::Reload { .. }
        | ControlRequest::Status
        | ControlRequest::TrackingLogWritten => Ok(Value::Null),
    }
}

impl Daemon {
    /// Withdraws messages from their next hops if they only wait for a connection.
    fn withdraw(&self, ids: impl IntoIterator<Item = QueueId>) {
        let claimed = ids.into_iter().filter(|id| self.queue.store().is_claimed(*id));
        let claimed: HashSet<_> = claimed.collect();
        if !claimed.is_empty() {
            self.outlook.load().hops.withdraw(&claimed);
        }
    }

    /// Why a message waits, in one sentence.
    fn reason(&self, entry: &Entry) -> String {
        let pending: Vec<_> = entry.pending().map(|(place, _)| place).collect();
        self.reason_of(entry, &pending)
    }

    /// Why some recipients of a message wait.
    fn reason_of(&self, entry: &Entry, places: &[usize]) -> String {
        if entry.held {
            return "held by an administrator".to_owned();
        }
        if self.queue.store().is_claimed(entry.id) {
            return "in hand: being delivered, or next in line for its next hop".to_owned();
        }
        let recipients = || places.iter().filter_map(|&place| entry.recipients.get(place));
        let outlook = self.outlook.load();
        let hops = hops_of(&outlook.routes, entry, places);
        let reasons = hops.iter().filter_map(|hop| outlook.hops.status_of(hop)?.reason(moment));
        let mut reasons: Vec<_> = reasons.take(REASONS).collect();
        reasons.dedup();
        if !reasons.is_empty() {
            return reasons.join("; ");
        }
        let last = recipients().rev().find_map(|recipient| match &recipient.state {
            RecipientState::Pending(answer) => answer.as_ref(),
            RecipientState::Delivered(_) | RecipientState::Failed(_) => None,
        });
        let due = moment(admin::seconds(entry.due));
        match last {
            Some(answer) => format!("deferred, next attempt {due}, because {answer}"),
            None if entry.attempts == 0 => format!("not tried yet, due {due}"),
            None => format!("next attempt {due}"),
        }
    }

    /// Are all next hops of a message in back-off? Then the message waits for them when it is due.
    fn is_left_alone(&self, entry: &Entry) -> bool {
        let pending: Vec<_> = entry.pending().map(|(place, _)| place).collect();
        let outlook = self.outlook.load();
        let is_left_alone = |hop: &Destination| {
            outlook.hops.status_of(hop).is_some_and(|hop| hop.state == HopState::BackOff)
        };
        !entry.held && hops_of(&outlook.routes, entry, &pending).iter().all(is_left_alone)
    }
}

/// The next hops of some recipients, without adjacent duplicates.
fn hops_of(routes: &Routes, entry: &Entry, places: &[usize]) -> Vec<Destination> {
    let recipients = places.iter().filter_map(|&place| entry.recipients.get(place));
    let mut hops: Vec<_> =
        recipients.map(|recipient| routes.destination(&entry.sender, &recipient.path)).collect();
    hops.dedup();
    hops
}

/// Most next hops that the reason of one message names.
const REASONS: usize = 3;

/// Formats a time by RFC 3339; after the year 9999, as a number of seconds.
pub(super) fn moment(seconds: u64) -> String {
    let time =
        i64::try_from(seconds).ok().and_then(|it| OffsetDateTime::from_unix_timestamp(it).ok());
    time.and_then(|time| time.format(&Rfc3339).ok()).unwrap_or_else(|| seconds.to_string())
}

/// Changes a page of messages. A flush also ends the back-off of their next hops.
pub(super) async fn change(
    daemon: &Daemon,
    verb: BulkAction,
    span: Span,
    filter: &Filter,
) -> Result<Changed, StoreError> {
    let selected = bulk::select(&daemon.queue, span, filter).await?;
    let is_left_alone = |entry: &&Entry| verb == BulkAction::Retry && daemon.is_left_alone(entry);
    let left_alone = selected.entries.iter().filter(is_left_alone).count() as u64;
    if matches!(verb, BulkAction::Hold | BulkAction::Remove | BulkAction::RemoveWithReport) {
        daemon.withdraw(selected.entries.iter().map(|entry| entry.id));
    }
    if verb == BulkAction::Flush {
        let configured = daemon.configured.lock().await;
        let routes = &configured.config.routes;
        for entry in &selected.entries {
            let meant = entry.recipients.iter().filter(|recipient| filter.selects(recipient));
            let hops = meant.map(|it| routes.destination(&entry.sender, &it.path));
            configured.delivery.resume(hops);
        }
    }
    let changed = bulk::change(&daemon.queue, verb, selected).await;
    Ok(Changed { left_alone: left_alone.min(changed.changed), ..changed })
}

/// Opens a message as it would be sent by the routes in force.
pub(super) async fn export(daemon: &Daemon, id: QueueId) -> Result<Export, StoreError> {
    let routes = daemon.configured.lock().await.config.routes.clone();
    let audience = |sender: &ReversePath, recipient: &ForwardPath| {
        match routes.destination(sender, recipient) {
            // A Maildir is part of this host.
            Destination::Maildir(_) => Audience::Organization,
            destination => destination.security().audience(),
        }
    };
    export::open(&daemon.queue, id, audience).await
}

pub(super) fn span(after: Option<QueueId>, until: Option<QueueId>) -> Span {
    Span { after, until }
}
