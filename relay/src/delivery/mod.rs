//! Takes due messages from the queue to their next hops.
//!
//! This module decides which message is worked on next and how many at a time. [`route`] says
//! where one goes, [`hop`] keeps connections and knows which next hop is alive,
//! [`connection`] drives [`crate::smtp::client`], and what an attempt means for a message is for
//! [`crate::queue`] to say.

mod connection;
mod hop;
mod job;
pub mod route;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::error;

pub(crate) use self::connection::Connection;
pub use self::route::{InvalidSmartHost, SmartHost};

use self::hop::Hop;
use self::job::Job;
use self::route::route;
use crate::limits;
use crate::queue::Queue;
use crate::smtp::client::Timeouts;

/// How mail is delivered.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything goes.
    pub smart_host: SmartHost,
    /// What we call ourselves in EHLO: our host name, or an address literal.
    pub hello_name: String,
    /// Connections to one next hop at a time.
    pub concurrency: usize,
    /// Speak LMTP (RFC 2033) instead of SMTP.
    pub lmtp: bool,
    /// How long each step of a session may take.
    pub timeouts: Timeouts,
    /// How long a connection to one address may take.
    pub connect_timeout: Duration,
    /// How long a connection is kept when no mail waits for it.
    pub idle: Duration,
    /// How long a next hop is left alone after the first failure to reach it.
    pub pause_first: Duration,
    /// How long a next hop is left alone at most.
    pub pause_longest: Duration,
    /// Do fields of the organization and of its forest go out with a message?
    pub send_organization_headers: bool,
    /// How long attempts under way may go on once delivery is to end.
    pub drain: Duration,
}

impl Settings {
    /// The defaults of [`limits`] for a smart host.
    pub fn new(smart_host: SmartHost, hello_name: impl Into<String>) -> Self {
        Self {
            smart_host,
            hello_name: hello_name.into(),
            lmtp: false,
            concurrency: limits::DELIVERY_CONCURRENCY,
            timeouts: Timeouts::default(),
            connect_timeout: limits::CONNECT_TIMEOUT,
            idle: limits::CONNECTION_IDLE,
            pause_first: limits::HOP_PAUSE_FIRST,
            pause_longest: limits::HOP_PAUSE_LONGEST,
            send_organization_headers: false,
            drain: limits::DELIVERY_DRAIN,
        }
    }
}

/// Delivers until `shutdown` becomes true or its sender is gone; then puts back what waits and lets
/// attempts under way end. After [`Settings::drain`] it cuts off those that have not sent their
/// end of data; the others may take as long as the next hop may for its reply, and a disk that
/// refuses what they came to as long as it likes. Whoever cannot wait drops this future.
pub async fn run(queue: Queue, settings: Settings, mut shutdown: watch::Receiver<bool>) {
    let most = settings.concurrency.max(1) * limits::CLAIMS_PER_CONNECTION;
    let mut dispatcher = Dispatcher {
        became_due: queue.store().became_due(),
        permits: Arc::new(Semaphore::new(most)),
        hops: HashMap::new(),
        most,
        queue,
        settings,
    };
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|&stop| stop) => break,
            () = dispatcher.wait() => {}
        }
        // Not within the select: a claim that is dropped half-way would stay claimed.
        dispatcher.dispatch().await;
    }
    let mut closing = JoinSet::new();
    for hop in dispatcher.hops.into_values() {
        closing.spawn(async move { hop.close().await });
    }
    closing.join_all().await;
}

struct Dispatcher {
    queue: Queue,
    settings: Settings,
    became_due: Arc<tokio::sync::Notify>,
    /// One for each message that is claimed.
    permits: Arc<Semaphore>,
    most: usize,
    hops: HashMap<SmartHost, Arc<Hop>>,
}

impl Dispatcher {
    /// Waits until there is a message to claim and a permit to claim it with.
    async fn wait(&self) {
        // Never closed, so this cannot be an error.
        drop(self.permits.acquire().await);
        loop {
            let Some(due) = self.queue.store().next_due() else {
                self.became_due.notified().await;
                continue;
            };
            let Ok(wait) = due.duration_since(SystemTime::now()) else { return };
            if wait.is_zero() {
                return;
            }
            tokio::select! {
                () = sleep(wait) => {}
                () = self.became_due.notified() => {}
            }
        }
    }

    /// Claims what is due and hands it to the next hops.
    async fn dispatch(&mut self) {
        let limit = self.permits.available_permits().min(self.most);
        let permits = u32::try_from(limit).unwrap_or(u32::MAX);
        // Only this task takes permits, so those that are there stay there.
        let Ok(mut permits) = Arc::clone(&self.permits).try_acquire_many_owned(permits) else {
            return;
        };
        let entries = match self.queue.store().claim_due(SystemTime::now(), limit).await {
            Ok(entries) => entries,
            Err(error) => {
                error!(%error, "cannot claim messages");
                return sleep(limits::STORE_RETRY).await;
            }
        };
        let job = |entry| Job::new(self.queue.clone(), entry, permits.split(1));
        let jobs: Vec<_> = entries.into_iter().map(job).collect();
        for job in jobs {
            let host = route(&job.entry, &self.settings.smart_host);
            let hop = self.hops.entry(host.clone()).or_insert_with(|| {
                Hop::new(host.clone(), self.queue.clone(), self.settings.clone())
            });
            hop.push(job);
        }
    }
}
