//! The delivery tasks: one with the current configuration, and tasks with replaced configurations
//! that still end their attempts.

use std::mem;
use std::pin::pin;
use std::time::Duration;

use relay_config::Config;
use relay_delivery::credentials::CredentialsError;
use relay_delivery::{
    ClientHandshakes, DeliverySettings, Destination, ExchangerRules, Hops, NextHop,
    NextHopAuthoritiesError, Resumed, credentials, run,
};
use relay_dns::{Dns, ResolverError};
use relay_queue::Queue;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tracing::{error, warn};

use crate::limits::CUT_RECORD;

/// Why mail cannot be delivered as configured.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Certificate authorities.
    #[error(transparent)]
    Authorities(#[from] NextHopAuthoritiesError),
    /// Credentials.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Name servers.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
}

/// The settings of delivery. Reads the files that the configuration names, so that an error shows
/// now and not with the first message.
pub(super) fn settings(config: &Config) -> Result<DeliverySettings, DeliveryError> {
    let secured = || config.routes.next_hops().filter_map(NextHop::security);
    let handshakes = ClientHandshakes::load(secured())?;
    for auth in secured().filter_map(|security| security.auth.as_ref()) {
        credentials::read(&auth.credentials)?;
    }
    let asks_dns = config.routes.next_hops().any(|hop| matches!(hop, NextHop::Exchangers { .. }));
    let dns_for_smart_hosts = !config.dns.servers.is_empty();
    let dns = if asks_dns || dns_for_smart_hosts { Some(Dns::new(&config.dns)?) } else { None };
    let mut settings =
        DeliverySettings::new(config.routes.clone(), handshakes, config.hostname.ascii());
    let longest = config.delivery.connection_inactivity_timeout;
    settings.timeouts = settings.timeouts.at_most(longest);
    settings.connect_timeout = settings.connect_timeout.min(longest);
    Ok(DeliverySettings { dns, dns_for_smart_hosts, exchangers: exchangers(config), ..settings })
}

/// Does the configuration of delivery differ?
pub(super) fn differs(before: &Config, after: &Config) -> bool {
    (&before.delivery, &before.hostname, &before.routes, &before.dns, exchangers(before))
        != (&after.delivery, &after.hostname, &after.routes, &after.dns, exchangers(after))
}

fn exchangers(config: &Config) -> ExchangerRules {
    let enabled = || config.connectors().iter().filter(|connector| connector.enabled);
    let fqdns = enabled().map(|connector| connector.fqdn.clone());
    ExchangerRules {
        port: config.mx.port,
        allow_private_addresses: config.mx.allow_private_addresses,
        our_names: fqdns.chain([config.hostname.ascii().to_owned()]).collect(),
        our_bindings: enabled().flat_map(|c| &c.bindings).map(|b| b.address()).collect(),
    }
}

/// Delivery, across all reloads.
pub(super) struct RunningDelivery {
    queue: Queue,
    current: Task,
    handshakes: ClientHandshakes,
    /// Tasks that were told to stop and may still run.
    retiring: Vec<Task>,
}

struct Task {
    resumed: Resumed,
    daemon_ends: watch::Sender<bool>,
    cut_all: watch::Sender<bool>,
    hops: Hops,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl RunningDelivery {
    pub(super) fn start(queue: Queue, settings: DeliverySettings) -> Self {
        let handshakes = settings.handshakes.clone();
        let current = Task::start(queue.clone(), settings);
        Self { queue, current, handshakes, retiring: Vec::new() }
    }

    /// Do these settings trust the same certificates as the current settings? A `ca_file` may have
    /// new content under the same name.
    pub(super) fn trusts_alike(&self, settings: &DeliverySettings) -> bool {
        self.handshakes.has_same_authorities(&settings.handshakes)
    }

    /// Delivers with other settings from now on, including waiting mail. Attempts under way end in
    /// the background, which lasts long if a next hop replies slowly.
    pub(super) fn replace(&mut self, settings: DeliverySettings) {
        self.retiring.retain(|task| !task.task.is_finished());
        // Withdraw first, so that messages that are put back wake only the new task.
        self.current.stop.send_replace(true);
        self.handshakes = settings.handshakes.clone();
        let next = Task::start(self.queue.clone(), settings);
        self.retiring.push(mem::replace(&mut self.current, next));
    }

    /// The next hops of the current configuration, for status and explain.
    pub(super) fn hops(&self) -> Hops {
        self.current.hops.clone()
    }

    /// Ends the back-off of these next hops: later attempts try them.
    pub(super) fn resume(&self, hops: impl Iterator<Item = Destination>) {
        self.current.resumed.add(hops);
    }

    /// Ends delivery at the end of the daemon: waits at most `limit` for attempts under way, then
    /// cuts them off.
    pub(super) async fn stop(&mut self, limit: Duration) {
        for task in self.retiring.iter().chain([&self.current]) {
            task.daemon_ends.send_replace(true);
            task.stop.send_replace(true);
        }
        let tasks = self.retiring.iter().chain([&self.current]);
        let tasks: Vec<_> =
            tasks.map(|task| (task.cut_all.clone(), task.task.abort_handle())).collect();
        let mut all_end = pin!(async {
            for Task { task, .. } in self.retiring.iter_mut().chain([&mut self.current]) {
                if let Err(error) = task.await {
                    error!(%error, "the delivery task failed at its stop");
                }
            }
        });
        if timeout(limit, &mut all_end).await.is_ok() {
            return;
        }
        warn!("cutting off attempts; their messages may be delivered twice");
        for (cut_all, _) in &tasks {
            cut_all.send_replace(true);
        }
        // Cut attempts are recorded as deferred, so that the log explains a duplicate.
        if timeout(CUT_RECORD, all_end).await.is_err() {
            warn!("the results of cut attempts are not recorded: the disk does not answer");
            tasks.iter().for_each(|(_, task)| task.abort());
        }
    }
}

impl Task {
    fn start(queue: Queue, settings: DeliverySettings) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (resumed, daemon_ends) = (settings.resumed.clone(), settings.daemon_ends.clone());
        let (hops, cut_all) = (settings.hops.clone(), settings.cut_all.clone());
        let task = tokio::spawn(run(queue, settings, stopped));
        Self { resumed, daemon_ends, cut_all, hops, stop, task }
    }
}

#[cfg(test)]
mod tests;
