//! The daemon's counters since its start, for each connector and by reason.
//!
//! The kernel half has its own counters; `status` shows both.

use std::sync::atomic::{AtomicU64, Ordering};

use relay_connector::ConnectorId;
use relay_connector::limits::CONNECTOR_IDS;
use relay_kernel::classifier::{Classification, DecidedBy, Why};
use serde::{Deserialize, Serialize};

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $field:ident,)*) => {
        #[derive(Default)]
        struct Counters { $($field: AtomicU64,)* }

        /// The counters of one connector, or of connections without a connector.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct ConnectorCounts { $($(#[doc = $doc])+ pub $field: u64,)* }

        impl Counters {
            fn read(&self) -> ConnectorCounts {
                ConnectorCounts { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

counts! {
    /// Connections that the kernel's tag classified.
    by_kernel,
    /// Connections that the daemon's table classified, for any reason.
    by_daemon,
    /// Of these: the socket had no tag, or the kernel did not return it.
    tags_missing,
    /// Of these: the tag was unknown to the daemon, or disagreed with its table.
    tags_disagreeing,
    /// Connections that were refused with 421.
    connections_refused,
    /// Health checks of proxies: connections of a proxy itself that ended before the first octet.
    probes,
    /// Messages that got the reply 250.
    messages_accepted,
    /// MAIL, RCPT and end-of-data commands that were refused.
    commands_refused,
    /// Messages that were refused at the end of their data.
    messages_refused,
    /// Failures to authenticate.
    logon_failures,
    /// Logons that were deferred because of too many failures from their source.
    logons_refused,
}

/// All counters of the daemon.
pub struct Counts {
    /// By connector id; the first counts connections without a connector.
    connectors: Box<[Counters]>,
}

impl Default for Counts {
    fn default() -> Self {
        Self { connectors: (0..=CONNECTOR_IDS).map(|_| Counters::default()).collect() }
    }
}

impl Counts {
    /// A connection was classified.
    pub fn classified(&self, classification: &Classification) {
        let id = classification.connector.as_ref().map_or(ConnectorId::NONE, |chosen| chosen.id);
        let counters = self.of(id);
        match classification.decided_by {
            DecidedBy::Kernel => add(&counters.by_kernel),
            DecidedBy::Daemon(why) => {
                add(&counters.by_daemon);
                match why {
                    Why::TagMissing | Why::TagUnreadable => add(&counters.tags_missing),
                    Why::TagDisagrees | Why::TagUnknown => add(&counters.tags_disagreeing),
                    Why::Proxied | Why::StartedAgain | Why::Userspace => {}
                }
            }
        }
    }

    /// A connection was refused before its first command.
    pub fn connection_refused(&self, id: ConnectorId) {
        add(&self.of(id).connections_refused);
    }

    /// A proxy has checked whether the port answers.
    pub fn probe(&self, id: ConnectorId) {
        add(&self.of(id).probes);
    }

    /// A message got the reply 250.
    pub fn message_accepted(&self, id: ConnectorId) {
        add(&self.of(id).messages_accepted);
    }

    /// A message was refused at the end of its data.
    pub fn message_refused(&self, id: ConnectorId) {
        add(&self.of(id).messages_refused);
    }

    /// A command of a mail transaction was refused.
    pub fn command_refused(&self, id: ConnectorId) {
        add(&self.of(id).commands_refused);
    }

    /// A client failed to authenticate.
    pub fn logon_failed(&self, id: ConnectorId) {
        add(&self.of(id).logon_failures);
    }

    /// A logon was deferred because of too many failures from its source.
    pub fn logon_refused(&self, id: ConnectorId) {
        add(&self.of(id).logons_refused);
    }

    /// The counters of this connector; with [`ConnectorId::NONE`], of connections without a
    /// connector.
    pub fn read(&self, id: ConnectorId) -> ConnectorCounts {
        self.of(id).read()
    }

    /// An id beyond the limit does not exist; it would count as no connector.
    fn of(&self, id: ConnectorId) -> &Counters {
        let none = &self.connectors[0];
        usize::try_from(id.0).ok().and_then(|index| self.connectors.get(index)).unwrap_or(none)
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
