//! Delivers due messages from the queue to their next hops.
//!
//! This crate decides which message is delivered next; [`budget`] limits the messages in hand,
//! [`remotes`] the connections to an address, [`patience`] the time of an attempt. [`route`]
//! selects the next hop of a message and [`reach`] its servers; [`hop`] knows which next hop is
//! alive and how much it accepts. Its [`worker`]s deliver over a [`connection`], which drives
//! [`relay_smtp::client`], or into a [`maildir`]. [`relay_queue`] decides the consequences of an
//! attempt for a message.

mod adapting;
mod budget;
mod concurrency;
mod connection;
pub mod credentials;
mod hop;
mod job;
pub mod limits;
mod maildir;
mod ourselves;
mod patience;
mod reach;
mod remotes;
pub mod route;
pub mod security;
mod servers;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod transport;
mod verifier;
mod wait_for_hop;
mod waiting_list;
mod worker;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::budget::DeliveryBudget;
use crate::hop::Hop;
use crate::job::{MessageClaim, Round};
use crate::remotes::Remotes;
use parking_lot::Mutex;
use relay_dns::Dns;
use relay_host::back_off::BackOff;
use relay_host::vital;
use relay_queue::limits::CLAIMED_AT_ONCE;
use relay_queue::limits::STORE_RETRY;
use relay_queue::{Entry, Queue};
use relay_smtp::client::Timeouts;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::error;

pub use crate::connection::HopConnection;
pub use crate::ourselves::ExchangerRules;
pub use crate::ourselves::own_binding;
pub use crate::route::{Destination, NextHop, Route, Routes, SmartHosts};
pub use crate::security::{
    ClientHandshakes, NextHopAuth, NextHopAuthoritiesError, Security, TlsMode,
};

pub use crate::hop::{HopState, HopStatus, Hops};

/// How mail is delivered.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// The routes of messages.
    pub routes: Routes,
    /// The settings of TLS handshakes.
    pub handshakes: ClientHandshakes,
    /// The resolver; none if no route needs it.
    pub dns: Option<Dns>,
    /// The names of smart hosts are looked up by [`DeliverySettings::dns`] too, not by the system.
    pub dns_for_smart_hosts: bool,
    /// The rules for delivery by DNS.
    pub exchangers: ExchangerRules,
    /// Our name in EHLO: our host name, or an address literal.
    pub hello_name: String,
    /// Connections to one next hop at a time.
    pub concurrency: usize,
    /// The time limits of the steps of a session.
    pub timeouts: Timeouts,
    /// The time limit of a connection attempt to one address.
    pub connect_timeout: Duration,
    /// How long an idle connection is kept.
    pub idle: Duration,
    /// How long a next hop is in back-off after a failure to reach it.
    pub back_off: BackOff,
    /// How long attempts under way may go on once delivery is to end.
    pub drain: Duration,
    /// Next hops whose back-off must end.
    pub resumed: Resumed,
    /// Becomes true when the daemon ends: [`limits::DELIVERY_CUT`] then replaces
    /// [`DeliverySettings::drain`]. All clones share the value.
    pub daemon_ends: watch::Sender<bool>,
    /// Becomes true when delivery must not wait any longer, not even for the reply to an end of
    /// data. Then these attempts are deferred as well, and their messages may be delivered twice.
    /// All clones share the value.
    pub cut_all: watch::Sender<bool>,
    /// Where the next hops can be looked at.
    pub hops: Hops,
    /// How far delivery has ended. One value for all next hops: there may be thousands.
    pub end: End,
}

/// How far delivery has ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Becomes true when no attempt may begin any more.
    pub closing: watch::Sender<bool>,
    /// Which attempts under way are to end. It never falls.
    pub cut: watch::Sender<Cut>,
}

/// Which attempts under way are to end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// None of them.
    Nothing,
    /// Those that have not sent their end of data.
    Unsent,
    /// All, including those whose next hop may already have the message.
    All,
}

/// Next hops that an administrator wants to be tried now, even in back-off. All clones share the
/// set.
#[derive(Clone, Debug, Default)]
pub struct Resumed(Arc<Mutex<HashSet<Destination>>>);

impl Resumed {
    /// Adds next hops, for messages that are claimed afterwards.
    pub fn add(&self, hops: impl Iterator<Item = Destination>) {
        self.0.lock().extend(hops);
    }

    fn take(&self) -> HashSet<Destination> {
        std::mem::take(&mut self.0.lock())
    }
}

impl DeliverySettings {
    /// The defaults of [`limits`], without DNS.
    pub fn new(
        routes: Routes,
        handshakes: ClientHandshakes,
        hello_name: impl Into<String>,
    ) -> Self {
        let exchangers = ExchangerRules {
            port: limits::SMTP_PORT,
            allow_private_addresses: false,
            our_names: Vec::new(),
            our_bindings: Vec::new(),
        };
        Self {
            routes,
            handshakes,
            dns: None,
            dns_for_smart_hosts: false,
            exchangers,
            hello_name: hello_name.into(),
            concurrency: limits::DELIVERY_CONCURRENCY,
            timeouts: Timeouts::default(),
            connect_timeout: limits::CONNECT_TIMEOUT,
            idle: limits::CONNECTION_IDLE,
            back_off: BackOff {
                first: limits::HOP_PAUSE_FIRST,
                longest: limits::HOP_PAUSE_LONGEST,
            },
            drain: limits::DELIVERY_DRAIN,
            resumed: Resumed::default(),
            daemon_ends: watch::Sender::new(false),
            cut_all: watch::Sender::new(false),
            hops: Hops::default(),
            end: End { closing: watch::Sender::new(false), cut: watch::Sender::new(Cut::Nothing) },
        }
    }
}

impl End {
    /// These attempts under way are to end.
    fn cut(&self, which: Cut) {
        self.cut.send_if_modified(|cut| {
            let is_more = which > *cut;
            *cut = which.max(*cut);
            is_more
        });
    }
}

/// Delivers until `shutdown` becomes true or its sender is dropped; then puts back waiting messages
/// and lets running attempts end. After [`DeliverySettings::drain`] it cuts off attempts that have
/// not sent their end of data. The others may wait for the next hop's reply, or until
/// [`DeliverySettings::cut_all`], and for a disk that refuses their outcomes without limit. A
/// caller that cannot wait drops this future.
pub async fn run(queue: Queue, settings: DeliverySettings, shutdown: watch::Receiver<bool>) {
    vital::task("delivery", dispatch(queue, settings, shutdown)).await;
}

async fn dispatch(queue: Queue, settings: DeliverySettings, mut shutdown: watch::Receiver<bool>) {
    let (onward, mut gone_on) = mpsc::unbounded_channel();
    let mut dispatcher = Dispatcher {
        became_due: queue.store().became_due(),
        budget: DeliveryBudget::new(queue.clone()),
        remotes: Remotes::new(queue.clone(), settings.concurrency),
        onward,
        hops: HashMap::new(),
        queue,
        settings: Arc::new(settings),
    };
    loop {
        tokio::select! {
            biased;
            _ = shutdown.wait_for(|&stop| stop) => break,
            Some(claim) = gone_on.recv() => {
                dispatcher.go_on(&claim);
                continue;
            }
            () = dispatcher.wait() => {}
        }
        // Not within the select: a claim that is dropped half-way would stay claimed.
        dispatcher.dispatch().await;
    }
    gone_on.close();
    while let Ok(claim) = gone_on.try_recv() {
        claim.put_back_rest();
    }
    let remotes = Arc::clone(&dispatcher.remotes);
    let mut closing = JoinSet::new();
    for hop in dispatcher.hops.into_values() {
        closing.spawn(async move { hop.close().await });
    }
    closing.join_all().await;
    remotes.close();
}

struct Dispatcher {
    queue: Queue,
    settings: Arc<DeliverySettings>,
    became_due: Arc<tokio::sync::Notify>,
    budget: Arc<DeliveryBudget>,
    remotes: Arc<Remotes>,
    /// Given to each claim.
    onward: mpsc::UnboundedSender<Arc<MessageClaim>>,
    hops: HashMap<Destination, Arc<Hop>>,
}

impl Dispatcher {
    /// Waits until there is a message to claim.
    async fn wait(&self) {
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

    /// Claims due messages and passes them to the next hops.
    async fn dispatch(&mut self) {
        let claimed = self.queue.store().claim_due(SystemTime::now(), CLAIMED_AT_ONCE);
        let entries = match claimed.await {
            Ok(entries) => entries,
            Err(error) => {
                error!(%error, "cannot claim messages");
                return sleep(STORE_RETRY).await;
            }
        };
        // After the claim, so that messages which were made due after the request see it.
        for hop in self.settings.resumed.take().iter().filter_map(|it| self.hops.get(it)) {
            hop.resume();
        }
        for entry in entries {
            let groups = self.groups(&entry);
            let claim = MessageClaim::new(self.queue.clone(), entry, groups, self.onward.clone());
            self.go_on(&claim);
        }
        if self.hops.len() > limits::NEXT_HOPS_REMEMBERED {
            self.hops.retain(|_, hop| !hop.is_idle());
        }
    }

    /// Hands the next groups of a message to their next hops.
    fn go_on(&mut self, claim: &Arc<MessageClaim>) {
        let Round { mut jobs, must_end } = claim.begin_round();
        let mut short_of = None;
        while jobs > 0
            && let Some((destination, job)) = claim.next()
        {
            jobs -= 1;
            short_of = self.hop(destination).push(job).or(short_of);
        }
        if must_end
            && claim.end_round()
            && let Some(class) = short_of
        {
            self.budget.park(claim.id(), class);
        }
    }

    /// The waiting recipients, grouped by their current next hop: a changed route also applies to
    /// older mail.
    fn groups(&self, entry: &Entry) -> HashMap<Destination, Vec<usize>> {
        let mut groups: HashMap<_, Vec<_>> = HashMap::new();
        for (place, recipient) in entry.pending() {
            let destination = self.settings.routes.destination(&entry.sender, recipient);
            groups.entry(destination).or_default().push(place);
        }
        groups
    }

    fn hop(&mut self, destination: Destination) -> &Arc<Hop> {
        let Self { queue, settings, budget, remotes, hops, .. } = self;
        let new = |destination: &Destination| {
            let shared = (Arc::clone(settings), Arc::clone(budget), Arc::clone(remotes));
            let hop = Hop::new(destination.clone(), queue.clone(), shared);
            settings.hops.add(&hop);
            hop
        };
        hops.entry(destination).or_insert_with_key(new)
    }
}
