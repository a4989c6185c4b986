//! The running daemon: starts the parts in order, answers requests and signals, and stops.
//!
//! What happens before the runtime is here in one function: the kernel half is loaded, the
//! privileges that this took are given up, the queue opened, the message tracking log begun, the
//! control socket bound. How a new
//! configuration is taken is in [`reload`], what is told about the instance in [`status`],
//! and the tasks that deliver in [`delivery`].

mod delivery;
pub mod enforcement;
pub mod explain;
mod kernel_half;
mod log;
pub mod prepare;
mod queue;
pub mod reload;
pub mod status;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, timeout};
use tracing::{error, info, warn};

use crate::antispam::Checks;
use crate::back_pressure::meter::{self, Meter};
use crate::causes::in_full;
use crate::classifier::Classifier;
use crate::config::{Config, LoadError};
use crate::connector::ConnectorIds;
use crate::control::{Answer, Control, ControlSocket, Request};
use crate::counts::Counts;
use crate::kernel::{KernelError, KernelLog};
use crate::limits::{
    BLOCKED_STOP, CERTIFICATE_LOOK, DELIVERY_STOP, DRAIN, HOST_LOOK, KERNEL_LOG_INTERVAL, SESSIONS,
    STOP, SWEEP_INTERVAL,
};
use crate::privileges::{self, PrivilegeError};
use crate::queue::export::Export;
use crate::queue::{OpenError, Queue, QueueId};
use crate::server::tls::Credentials;
use crate::server::{ListenError, Server};
use crate::tracking::Tracker;

use delivery::Delivery;
use kernel_half::{Chosen, InUse};
use prepare::{PrepareError, Prepared, prepare};

/// Why the daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The control socket.
    #[error("cannot listen on the control socket {path}: {source}")]
    Control {
        /// `control.socket`.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// `classifier.mode` is `kernel` and the kernel half is not to be had, or another instance has
    /// its place.
    #[error("the kernel half cannot be used: {0}")]
    Kernel(#[from] KernelError),
    /// A binding.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// What the configuration names.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The capabilities.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// The runtime or its signals.
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
}

/// The running instance, as requests and signals see it.
pub struct Daemon {
    file: PathBuf,
    started: Instant,
    classifier: Arc<Classifier>,
    counts: Arc<Counts>,
    kernel: InUse,
    /// `classifier.interfaces`, which does not change while the daemon runs.
    interfaces: Vec<String>,
    capabilities: Vec<String>,
    queue: Queue,
    server: Server,
    /// Held by one reload at a time.
    configured: Mutex<Configured>,
}

/// What a reload changes.
struct Configured {
    config: Config,
    ids: ConnectorIds,
    generation: u32,
    delivery: Delivery,
}

/// Runs the daemon with the configuration in this file until a signal ends it.
///
/// # Errors
///
/// What keeps it from starting, as [`StartError`] lists it.
pub fn run(file: &Path) -> Result<(), StartError> {
    let config = Config::load(file)?;
    log::start(config.log);
    ignore_hang_up();
    raise_descriptor_limit();
    let mut ids = ConnectorIds::default();
    let (self_test, generation) = (1, 2);
    let Prepared { rules, credentials, checks, delivery: delivery_settings, warnings } =
        prepare(&config, &mut ids, generation)?;
    for warning in &warnings {
        warn!(file = %file.display(), "{warning}");
    }
    let counts = Arc::new(Counts::default());
    let Chosen { classifier, in_use, attached } =
        kernel_half::choose(&config.classifier, self_test, Arc::clone(&rules), &counts)?;
    enforcement::warn(&in_use, &config);
    let capabilities: Vec<String> =
        privileges::give_up()?.into_iter().map(|capability| capability.to_string()).collect();
    info!(kept = ?capabilities, "gave up the capabilities that are not needed any more");
    // Not before: the queue has a thread of its own, which would keep them all. What cannot be
    // opened without them could not be written to later either.
    let queue = queue::open(&config)?;
    let tracker = Tracker::start(config.message_tracking_log.clone(), queue.highest_id());
    queue.track(tracker.clone());
    let path = &config.control.socket;
    let control = ControlSocket::bind(path)
        .map_err(|source| StartError::Control { path: path.clone(), source })?;

    let runtime = Runtime::new().map_err(StartError::Runtime)?;
    let result = runtime.block_on(async {
        let classifier = Arc::new(classifier);
        let server = Server::new(Arc::clone(&classifier), queue.clone(), Arc::clone(&counts));
        put_in_force(&server, &queue, &config, credentials, checks);
        server.listen(&rules)?;
        let delivery = Delivery::start(queue.clone(), delivery_settings);
        let daemon = Arc::new(Daemon {
            file: file.to_owned(),
            started: Instant::now(),
            classifier,
            counts,
            kernel: in_use,
            interfaces: config.classifier.interfaces.clone(),
            capabilities,
            queue,
            server,
            configured: Mutex::new(Configured { config, ids, generation, delivery }),
        });
        serve(daemon, control, attached.log).await
    });
    runtime.shutdown_timeout(BLOCKED_STOP);
    tracker.stop();
    // The programs stay attached until the last session has ended.
    attached.programs.detach();
    result
}

/// What holds for sessions from now on, besides the rules.
fn put_in_force(
    server: &Server,
    queue: &Queue,
    config: &Config,
    credentials: Credentials,
    checks: Checks,
) {
    server.set_credentials(credentials);
    server.set_checks(checks);
    server.recipients().set_hello_name(config.hostname.ascii());
    server.back_pressure().set(&config.back_pressure);
    queue.message_memory().set_budget(config.back_pressure.message_memory);
    queue.tracker().set(config.message_tracking_log.clone());
}

/// A hang-up that comes before we are ready asks for what is being done anyway, and must not end
/// the process. [`serve`] puts its own handler in this one's place.
fn ignore_hang_up() {
    // SAFETY: no other thread runs yet, and ignoring runs no code of ours.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
}

/// A session takes a descriptor, and the soft limit of many systems is 1024 for the sake of old
/// programs. The administrator's limit is the hard one.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "cannot raise the limit of open descriptors");
    }
    let sessions = SESSIONS as u64;
    if let Some(maximum) = limit.maximum.filter(|&maximum| maximum < sessions) {
        warn!(maximum, sessions, "fewer descriptors than sessions; raise LimitNOFILE");
    }
}

/// Answers until a signal says to stop, then drains.
async fn serve(
    daemon: Arc<Daemon>,
    control: ControlSocket,
    kernel_log: Option<KernelLog>,
) -> Result<(), StartError> {
    let on = |kind| signal(kind).map_err(StartError::Runtime);
    let mut hang_up = on(SignalKind::hangup())?;
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let control = tokio::spawn(control.serve(Arc::clone(&daemon)));
    let sweeper = tokio::spawn(sweep(Arc::clone(&daemon.classifier)));
    let renewer = tokio::spawn(renew(Arc::clone(&daemon)));
    let host = tokio::spawn(watch_host(Arc::clone(&daemon)));
    let pressure = Arc::clone(daemon.server.back_pressure());
    let metering = tokio::spawn(meter::run(pressure, Meter::new(daemon.queue.clone())));
    let forwarder = kernel_log.map(|log| tokio::spawn(forward(log)));
    info!(version = env!("CARGO_PKG_VERSION"), decided_by = daemon.kernel.name(), "ready");
    let signal = loop {
        tokio::select! {
            _ = hang_up.recv() => {
                // Its outcome is logged, and a signal to stop must not wait for it.
                tokio::spawn(Arc::clone(&daemon).reload());
            }
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
        }
    };
    info!(signal, sessions = daemon.server.sessions(), "stopping");
    let tasks = [
        control.abort_handle(),
        sweeper.abort_handle(),
        renewer.abort_handle(),
        host.abort_handle(),
        metering.abort_handle(),
    ];
    tasks.iter().for_each(AbortHandle::abort);
    if let Some(forwarder) = forwarder {
        forwarder.abort();
    }
    let drained = timeout(STOP, async {
        daemon.server.drain(DRAIN).await;
        // A reload may hold it for a while.
        daemon.configured.lock().await.delivery.stop(DELIVERY_STOP).await;
    });
    match drained.await {
        Ok(()) => info!("stopped"),
        Err(_) => warn!(seconds = STOP.as_secs(), "stopped without waiting any longer"),
    }
    Ok(())
}

/// Removes what replaced generations left in the kernel.
async fn sweep(classifier: Arc<Classifier>) -> io::Result<()> {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        if !classifier.needs_sweep() {
            continue;
        }
        let classifier = Arc::clone(&classifier);
        // Removing a hundred thousand entries takes a while.
        if let Err(error) = tokio::task::spawn_blocking(move || classifier.sweep()).await {
            error!(%error, "the sweep of old generations failed");
        }
    }
}

/// Looks whether certificates on disk have changed.
async fn renew(daemon: Arc<Daemon>) {
    let mut ticks = tokio::time::interval(CERTIFICATE_LOOK);
    loop {
        ticks.tick().await;
        let daemon = Arc::clone(&daemon);
        // A disk may take its time.
        if let Err(error) =
            tokio::task::spawn_blocking(move || daemon.server.renew_credentials()).await
        {
            error!(%error, "looking at the certificates failed");
        }
    }
}

/// Follows what this host has of interfaces for the guard and of addresses to listen on.
async fn watch_host(daemon: Arc<Daemon>) {
    let mut ticks = tokio::time::interval(HOST_LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let daemon = Arc::clone(&daemon);
        // A driver may take its time to attach the guard.
        let look = move || {
            if let InUse::Kernel(kernel) = &daemon.kernel {
                kernel.programs.look_at_interfaces();
            }
            daemon.server.look_at_addresses();
        };
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            error!(%error, "looking at the host's interfaces failed");
        }
    }
}

/// Hands the kernel programs' own log to ours, in a debugging build of them.
async fn forward(mut log: KernelLog) {
    let mut ticks = tokio::time::interval(KERNEL_LOG_INTERVAL);
    loop {
        ticks.tick().await;
        log.forward();
    }
}

impl Control for Daemon {
    async fn answer(self: Arc<Self>, request: Request) -> Answer {
        let answer = match request {
            Request::Explain(question) => self.explain(*question).await.map(as_value),
            Request::QueueChange { change, after, until, filter } => {
                let span = queue::span(after, until);
                let changed = queue::change(&self, change, span, &filter).await;
                changed.map(as_value).map_err(|e| in_full(&e))
            }
            Request::Reload => self.reload().await.map(as_value).map_err(|e| in_full(&e)),
            Request::Status => self.status().await.map(as_value).map_err(|e| in_full(&e)),
            request => queue::answer(&self.queue, request).await.map_err(|e| in_full(&e)),
        };
        match answer {
            Ok(value) => Answer::Ok(value),
            Err(error) => Answer::Error(error),
        }
    }

    async fn export(self: Arc<Self>, id: QueueId) -> Result<Export, String> {
        queue::export(&self, id).await.map_err(|e| in_full(&e))
    }
}

/// The types that are answered hold strings, numbers and maps with string keys, which JSON has.
fn as_value(value: impl serde::Serialize) -> serde_json::Value {
    serde_json::to_value(value).unwrap_or(serde_json::Value::Null)
}
