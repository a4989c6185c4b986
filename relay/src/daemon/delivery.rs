//! The tasks that deliver: the one by the configuration in force, and those that a reload has
//! replaced and that are bringing their attempts to an end.

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

/// Why mail cannot be delivered as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum DeliveryError {
    /// Who is trusted.
    #[error(transparent)]
    Authorities(#[from] NextHopAuthoritiesError),
    /// Who we are.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
    /// Who is asked for mail exchangers.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
}

/// How mail is delivered by this configuration. The files that it takes are read, so that a
/// mistake shows now and not with the first message.
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

/// Delivery, over all reloads.
pub(super) struct RunningDelivery {
    queue: Queue,
    current: Task,
    handshakes: ClientHandshakes,
    /// Told to stop, and not known to have ended.
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

    /// Do these settings trust the same certificates as those in use? A `ca_file` may have other
    /// content under the same name.
    pub(super) fn trusts_alike(&self, settings: &DeliverySettings) -> bool {
        self.handshakes.has_same_authorities(&settings.handshakes)
    }

    /// Delivers by other settings from now on. What waits goes by them; attempts under way end
    /// in the background, which takes a while where a next hop is slow to reply.
    pub(super) fn replace(&mut self, settings: DeliverySettings) {
        self.retiring.retain(|task| !task.task.is_finished());
        // Before the new task starts, so that only that one is woken by what is put back.
        self.current.stop.send_replace(true);
        self.handshakes = settings.handshakes.clone();
        let next = Task::start(self.queue.clone(), settings);
        self.retiring.push(mem::replace(&mut self.current, next));
    }

    /// The next hops by the configuration in force, for those who only look.
    pub(super) fn hops(&self) -> Hops {
        self.current.hops.clone()
    }

    /// Leaves these next hops alone no longer: what becomes due from now on is tried there.
    pub(super) fn resume(&self, hops: impl Iterator<Item = Destination>) {
        self.current.resumed.add(hops);
    }

    /// Lets attempts that are under way end, within `limit`. For the end of the daemon: nothing
    /// is delivered any more.
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
                    error!(%error, "delivery did not stop as it should");
                }
            }
        });
        if timeout(limit, &mut all_end).await.is_ok() {
            return;
        }
        warn!("attempts are cut off that may be delivered already, and will be again");
        for (cut_all, _) in &tasks {
            cut_all.send_replace(true);
        }
        // They are recorded as deferred, so that it can be seen later why a message came twice.
        if timeout(CUT_RECORD, all_end).await.is_err() {
            warn!("what the attempts came to is not recorded: the disk does not answer");
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
