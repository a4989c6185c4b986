//! The state of the running daemon, for `relay status`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use relay_config::digest_text;
use relay_connector::ConnectorId;
use relay_delivery::HopStatus;
use relay_kernel::{GuardedInterface, KernelError};
use relay_policy::pressure::PressureLevel;
use relay_server::back_pressure::ResourceStatus;
use relay_server::counts::ConnectorCounts;
use relay_server::tls::CertificateStatus;
use serde::{Deserialize, Serialize};

use super::enforcement;
use super::kernel_half::InUse;
use super::running::Daemon;
pub use super::running::RefusedReload;
use crate::logging;

/// The answer to `relay status`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DaemonStatus {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Seconds since the daemon was ready.
    pub uptime_seconds: u64,
    /// Capabilities that the daemon kept.
    pub capabilities: Vec<String>,
    /// The configuration in force.
    pub configuration: ConfigurationStatus,
    /// The classifier.
    pub classifier: ClassifierStatus,
    /// The number of sessions.
    pub sessions: u64,
    /// The level of back pressure and its resources.
    pub back_pressure: BackPressureStatus,
    /// Every connector.
    pub connectors: Vec<ConnectorStatus>,
    /// Connections without a connector.
    pub no_connector: ConnectorCounts,
    /// The queue and its deliveries.
    pub queue: relay_queue::Counters,
    /// The disk of the queue; `None` if it cannot be read.
    pub disk: Option<DiskStatus>,
    /// The next hops with waiting or recent mail.
    pub next_hops: Vec<HopStatus>,
    /// The message tracking log; `None` if it could not be started.
    pub message_tracking_log: Option<relay_tracking::TrackingStatus>,
    /// The daemon's own log.
    #[serde(default)]
    pub log: logging::LogStatus,
    /// The certificates that connectors show.
    pub certificates: Vec<CertificateStatus>,
}

/// The configuration in force.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// The file.
    pub file: PathBuf,
    /// Its generation.
    pub generation: u32,
    /// SHA-256 of the file.
    pub digest: String,
    /// The bindings.
    pub bindings: Vec<String>,
    /// Addresses of bindings that the host does not have now.
    #[serde(default)]
    pub absent_addresses: Vec<String>,
    /// The last reload, if it was refused: then the file on disk differs.
    #[serde(default)]
    pub refused: Option<RefusedReload>,
}

/// The measured resources.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BackPressureStatus {
    /// The highest level of all.
    pub level: PressureLevel,
    /// Each resource with its level.
    pub resources: Vec<ResourceStatus>,
}

/// The disk of the queue.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DiskStatus {
    /// Free octets.
    pub free_octets: u64,
    /// `min_free_space`: with less, no mail is accepted.
    pub min_free_space: u64,
    /// Files in the queue's directory `damaged`: damaged messages that were found at a start and
    /// are kept for an administrator.
    #[serde(default)]
    pub damaged_files: u64,
    /// Why the queue accepts no mail now, if it accepts none.
    pub refusing: Option<String>,
}

impl DiskStatus {
    /// Asks the file system, which may be slow.
    pub(super) async fn of(queue: &relay_queue::Queue) -> Option<Self> {
        let usage = queue.store().usage().await.ok()?;
        Some(Self {
            free_octets: usage.free_octets,
            min_free_space: usage.min_free_octets,
            damaged_files: queue.store().damaged_files().await.unwrap_or_default(),
            refusing: queue.store().accepts().await.err().map(|error| error.to_string()),
        })
    }
}

/// The classifier, and the state of the kernel half.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ClassifierStatus {
    /// `kernel` or `daemon`.
    pub decided_by: String,
    /// Why the kernel is not in use.
    pub why: Option<String>,
    /// The control group that the tagger is attached to.
    pub cgroup: Option<PathBuf>,
    /// Where programs and maps are pinned.
    pub pins: Option<PathBuf>,
    /// Why programs and maps are not pinned.
    pub not_pinned: Option<String>,
    /// The result of the self-test at the start.
    pub self_test: Option<String>,
    /// The configured interfaces, each with the guard's mode (`native`, `generic`) or the reason
    /// why the guard is not attached.
    pub interfaces: BTreeMap<String, String>,
    /// Settings that are not enforced now, because only the guard enforces them.
    #[serde(default)]
    pub not_enforced: Vec<String>,
    /// Counters of the programs that belong to no connector.
    pub reasons: BTreeMap<String, u64>,
}

/// One connector.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnectorStatus {
    /// Its name.
    pub name: String,
    /// Its id in the kernel's maps.
    pub id: u32,
    /// The counters of the programs; empty without the kernel half.
    pub kernel: BTreeMap<String, u64>,
    /// The counters of the daemon.
    pub daemon: ConnectorCounts,
}

impl Daemon {
    /// The state of the daemon.
    ///
    /// # Errors
    ///
    /// The kernel's counters cannot be read.
    pub async fn status(&self) -> Result<DaemonStatus, KernelError> {
        let rules = self.classifier.rules();
        let mut connectors = Vec::new();
        for (id, connector) in rules.connectors() {
            connectors.push(ConnectorStatus {
                name: connector.name.clone(),
                id: id.0,
                kernel: match &self.kernel {
                    InUse::Kernel(kernel) => owned(kernel.counters.connector(id)?.named()),
                    InUse::Userspace(_) => BTreeMap::new(),
                },
                daemon: self.counts.read(id),
            });
        }
        Ok(DaemonStatus {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            capabilities: self.capabilities.clone(),
            configuration: ConfigurationStatus {
                file: self.file.clone(),
                generation: rules.generation,
                digest: digest_text(&rules.digest),
                bindings: rules.table.bindings().iter().map(ToString::to_string).collect(),
                absent_addresses: self
                    .server
                    .absent_addresses()
                    .iter()
                    .map(ToString::to_string)
                    .collect(),
                refused: self.refused.load().as_deref().cloned(),
            },
            classifier: self.classifier_status().await?,
            sessions: self.server.sessions(),
            back_pressure: BackPressureStatus {
                level: self.server.back_pressure().pressure().level,
                resources: self.server.back_pressure().status(),
            },
            connectors,
            no_connector: self.counts.read(ConnectorId::NONE),
            queue: self.queue.counters(),
            disk: DiskStatus::of(&self.queue).await,
            next_hops: self.outlook.load().hops.status(),
            message_tracking_log: self.server.tracker().status(),
            log: logging::status(),
            certificates: self.server.certificates(),
        })
    }

    async fn classifier_status(&self) -> Result<ClassifierStatus, KernelError> {
        let guarded = self.guarded_interfaces().await;
        let rules = self.classifier.rules();
        let connectors = rules.connectors().map(|(_, connector)| &**connector);
        let base = ClassifierStatus {
            decided_by: self.kernel.name().to_owned(),
            why: None,
            cgroup: None,
            pins: None,
            not_pinned: None,
            self_test: None,
            interfaces: guarded
                .iter()
                .map(|interface| (interface.name.clone(), interface.state.to_string()))
                .collect(),
            not_enforced: enforcement::not_enforced(&guarded, connectors),
            reasons: BTreeMap::new(),
        };
        Ok(match &self.kernel {
            InUse::Kernel(kernel) => ClassifierStatus {
                cgroup: Some(kernel.cgroup.clone()),
                pins: kernel.pins.as_ref().ok().cloned(),
                not_pinned: kernel.pins.as_ref().err().map(ToString::to_string),
                self_test: Some(kernel.self_test.clone()),
                reasons: owned(kernel.counters.reasons()?.named()),
                ..base
            },
            InUse::Userspace(why) => ClassifierStatus { why: Some(why.clone()), ..base },
        })
    }

    /// The current state of the configured interfaces. May wait for a check of the interfaces that
    /// is under way, which lasts as long as a driver needs.
    pub(super) async fn guarded_interfaces(&self) -> Vec<GuardedInterface> {
        let kernel = match &self.kernel {
            InUse::Userspace(why) => return enforcement::unguarded(&self.interfaces, why),
            InUse::Kernel(kernel) => kernel.programs.clone(),
        };
        tokio::task::spawn_blocking(move || kernel.interfaces()).await.unwrap_or_default()
    }
}

fn owned(counters: impl Iterator<Item = (&'static str, u64)>) -> BTreeMap<String, u64> {
    counters.map(|(name, value)| (name.to_owned(), value)).collect()
}
