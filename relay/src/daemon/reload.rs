//! Loads a new configuration: completely, or not at all.
//!
//! All steps that can fail run before the first change: the file is read and checked, certificates
//! are loaded, new addresses are bound. Then the generation is put in force. Sessions keep the
//! rules with which they began.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use relay_config::{Config, ConfigProblem, LoadError, digest_text};
use relay_host::error_chain::error_chain;
use relay_host::privileges::with_user;
use relay_kernel::KernelError;
use relay_server::ListenError;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};

use super::delivery::differs as delivery_differs;
use super::prepare::{PrepareError, PreparedConfiguration, prepare};
use super::running::{Configured, Daemon, Outlook, RefusedReload};
use super::{enforcement, put_in_force, queue};

/// The result of a reload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The generation in force.
    pub generation: u32,
    /// SHA-256 of the configuration.
    pub digest: String,
    /// Connectors, enabled or not.
    pub connectors: usize,
    /// Ranges of all of them.
    pub ranges: usize,
    /// The time for reading and checking, in milliseconds.
    pub checked_ms: f64,
    /// The time for putting the generation in force, in milliseconds.
    pub published_ms: f64,
    /// The configuration.
    pub file: PathBuf,
    /// The warnings.
    pub warnings: Vec<ConfigProblem>,
}

/// Why nothing changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The kernel's maps refused the generation.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// A new binding.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A file that the configuration names.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// A key that is read only at the start.
    #[error("{}: {key} cannot change while the daemon runs; restart the daemon, or restore the old value", file.display())]
    NeedsRestart {
        /// The configuration.
        file: PathBuf,
        /// The key.
        key: &'static str,
    },
    /// The administrator named another file than the daemon's.
    #[error(
        "the daemon reads {}, not {}; name the daemon's file, or restart the daemon with the \
         other file", ours.display(), named.display()
    )]
    OtherFile {
        /// The daemon's.
        ours: PathBuf,
        /// The named file.
        named: PathBuf,
    },
    /// An internal task failed.
    #[error("the reload was interrupted: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Daemon {
    /// Loads the current content of the file, and logs the result. `named` is the file that the
    /// administrator named, if any.
    ///
    /// # Errors
    ///
    /// As [`ReloadError`] lists them; nothing has changed.
    pub async fn reload(self: Arc<Self>, named: Option<PathBuf>) -> Result<Reloaded, ReloadError> {
        let file = self.file.clone();
        // A separate task, so that a client that disconnects does not stop the reload half-way.
        let daemon = Arc::clone(&self);
        let result = match tokio::spawn(async move { daemon.load_and_publish(named).await }).await {
            Ok(result) => result,
            Err(error) => Err(error.into()),
        };
        // A reload of another file says nothing about the daemon's file.
        if !matches!(result, Err(ReloadError::OtherFile { .. })) {
            let refused = |error: &ReloadError| Arc::new(RefusedReload::now(error_chain(error)));
            self.refused.store(result.as_ref().err().map(refused));
        }
        match &result {
            Ok(reloaded) => {
                for warning in &reloaded.warnings {
                    warn!(file = %file.display(), line = warning.line, "{warning:#}");
                }
                info!(
                    generation = reloaded.generation,
                    connectors = reloaded.connectors,
                    ranges = reloaded.ranges,
                    checked_ms = reloaded.checked_ms,
                    published_ms = reloaded.published_ms,
                    "reloaded"
                );
            }
            Err(error) => {
                let why = with_user(error_chain(error)).replace("\n    ", "; ").replace('\n', "; ");
                error!(file = %file.display(), "reload refused; the old configuration stays in force: {why}");
            }
        }
        result
    }

    async fn load_and_publish(&self, named: Option<PathBuf>) -> Result<Reloaded, ReloadError> {
        self.is_meant(named)?;
        let mut configured = self.configured.lock().await;
        let started = Instant::now();
        let config = load(&self.file).await?;
        if let Some(key) = fixed_key(&configured.config, &config) {
            return Err(ReloadError::NeedsRestart { file: self.file.clone(), key });
        }
        let generation = configured.generation + 1;
        let mut ids = configured.ids.clone();
        let PreparedConfiguration {
            rules,
            credentials,
            checks,
            delivery: delivery_settings,
            warnings,
        } = prepare(&config, &mut ids, generation)?;
        let checked_ms = milliseconds(started);
        let prepared = self.server.prepare(&rules)?;
        let started = Instant::now();
        let classifier = Arc::clone(&self.classifier);
        tokio::task::spawn_blocking(move || classifier.publish(rules)).await??;
        let published_ms = milliseconds(started);
        put_in_force(&self.server, &self.queue, &config, credentials, checks);
        self.server.listen_to(prepared);
        let reloaded = Reloaded {
            generation,
            digest: digest_text(&config.digest),
            connectors: config.connectors().len(),
            ranges: config.connectors().iter().map(|c| c.remote_ip_ranges.len()).sum(),
            checked_ms,
            published_ms,
            file: self.file.clone(),
            warnings,
        };
        let Configured { config: before, delivery, .. } = &mut *configured;
        let trusts_alike = delivery.trusts_alike(&delivery_settings);
        if delivery_differs(before, &config) || !trusts_alike {
            // Changed routes and schedules apply to queued mail too.
            self.queue.set_settings(queue::settings(&config));
            delivery.replace(delivery_settings);
        }
        enforcement::warn(&self.kernel, &config);
        let (routes, hops) = (config.routes.clone(), configured.delivery.hops());
        self.outlook.store(Arc::new(Outlook { routes, hops }));
        configured.config = config;
        configured.ids = ids;
        configured.generation = generation;
        Ok(reloaded)
    }

    fn is_meant(&self, named: Option<PathBuf>) -> Result<(), ReloadError> {
        match named {
            Some(named) if !is_same(&self.file, &named) => {
                Err(ReloadError::OtherFile { ours: self.file.clone(), named })
            }
            _ => Ok(()),
        }
    }
}

/// Do both paths lead to the same file?
fn is_same(one: &Path, other: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    resolved(one) == resolved(other)
}

async fn load(file: &Path) -> Result<Config, ReloadError> {
    let file = file.to_owned();
    // Checking a hundred thousand ranges lasts a while.
    Ok(tokio::task::spawn_blocking(move || Config::load(&file)).await??)
}

/// The first changed key that is read only at the start.
fn fixed_key(before: &Config, after: &Config) -> Option<&'static str> {
    [
        ("[daemon]", before.daemon != after.daemon),
        ("[classifier]", before.classifier != after.classifier),
        ("[queue]: directory", before.queue.directory != after.queue.directory),
        ("[queue]: min_free_space", before.queue != after.queue),
        ("[control]: socket", before.control != after.control),
        ("[log]", before.log != after.log),
    ]
    .into_iter()
    .find_map(|(key, differs)| differs.then_some(key))
}

fn milliseconds(since: Instant) -> f64 {
    (since.elapsed().as_secs_f64() * 1e6).round() / 1e3
}
