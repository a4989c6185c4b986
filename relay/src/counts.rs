//! What the daemon counts, for each connector and by reason, since it started.
//!
//! The kernel half counts for itself; `status` shows both side by side.

use std::sync::atomic::{AtomicU64, Ordering};

use relay_connector::ConnectorId;
use relay_connector::limits::CONNECTOR_IDS;
use serde::{Deserialize, Serialize};

use crate::classifier::{Classification, DecidedBy, Why};

macro_rules! counts {
    ($($(#[doc = $doc:literal])+ $field:ident,)*) => {
        #[derive(Default)]
        struct Counters { $($field: AtomicU64,)* }

        /// What was counted for one connector, or where no connector was.
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
    /// Connections that the daemon's table classified, for whatever reason.
    by_daemon,
    /// Of these: the socket had no tag, or the kernel did not give it.
    tags_missing,
    /// Of these: the tag named what the daemon does not know, or disagreed with its table.
    tags_disagreeing,
    /// Connections that were turned away with 421.
    connections_refused,
    /// Connections of a proxy's own that ended before anything was said: its health checks.
    probes,
    /// Messages that got their 250.
    messages_accepted,
    /// MAIL, RCPT and end-of-data commands that got a refusal.
    commands_refused,
    /// Messages that were refused at the end of their data.
    messages_refused,
    /// Failures to authenticate.
    logon_failures,
    /// Logons that were put off since their source had too many failures.
    logons_refused,
}

/// All counters of the daemon.
pub struct Counts {
    /// By connector id; the first, of no connector, counts connections that no connector took.
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
                    Why::Proxied | Why::Userspace => {}
                }
            }
        }
    }

    /// A connection was turned away before its first command.
    pub fn connection_refused(&self, id: ConnectorId) {
        add(&self.of(id).connections_refused);
    }

    /// A proxy has looked whether the port answers.
    pub fn probe(&self, id: ConnectorId) {
        add(&self.of(id).probes);
    }

    /// A message got its 250.
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

    /// A logon was put off since its source had too many failures.
    pub fn logon_refused(&self, id: ConnectorId) {
        add(&self.of(id).logons_refused);
    }

    /// What was counted for this connector; [`ConnectorId::NONE`] for connections that no
    /// connector took.
    pub fn read(&self, id: ConnectorId) -> ConnectorCounts {
        self.of(id).read()
    }

    /// An id beyond the limit does not exist; it would count as none.
    fn of(&self, id: ConnectorId) -> &Counters {
        let none = &self.connectors[0];
        usize::try_from(id.0).ok().and_then(|index| self.connectors.get(index)).unwrap_or(none)
    }
}

fn add(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
