//! The parts of the running daemon that requests, signals and background tasks share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use relay_config::Config;
use relay_connector::ConnectorIds;
use relay_delivery::{Hops, Routes};
use relay_kernel::classifier::Classifier;
use relay_queue::Queue;
use relay_server::Server;
use relay_server::counts::Counts;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::delivery::RunningDelivery;
use super::kernel_half::InUse;

/// The running daemon, for requests and signals.
pub struct Daemon {
    pub(super) file: PathBuf,
    pub(super) started: Instant,
    pub(super) classifier: Arc<Classifier>,
    pub(super) counts: Arc<Counts>,
    pub(super) kernel: InUse,
    /// `classifier.interfaces`, which does not change while the daemon runs.
    pub(super) interfaces: Vec<String>,
    pub(super) capabilities: Vec<String>,
    pub(super) queue: Queue,
    pub(super) server: Server,
    /// Routes and next hops for status and explain, which must not wait for a reload.
    pub(super) outlook: ArcSwap<Outlook>,
    /// Locked by one reload at a time.
    pub(super) configured: Mutex<Configured>,
    /// The last reload, if it was refused.
    pub(super) refused: ArcSwapOption<RefusedReload>,
}

/// The routes, and the state of the next hops.
#[derive(Clone, Debug)]
pub(super) struct Outlook {
    pub(super) routes: Routes,
    pub(super) hops: Hops,
}

/// The parts that a reload replaces.
pub(super) struct Configured {
    pub(super) config: Config,
    pub(super) ids: ConnectorIds,
    pub(super) generation: u32,
    pub(super) delivery: RunningDelivery,
}

/// A refused reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedReload {
    /// The time, in seconds since 1970.
    pub at: u64,
    /// The reason.
    pub because: String,
}

impl RefusedReload {
    /// A refusal at this moment.
    pub(super) fn now(because: String) -> Self {
        Self { at: relay_queue::admin::seconds(SystemTime::now()), because }
    }
}
