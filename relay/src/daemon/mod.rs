//! The running daemon: starts the parts in order, answers requests and signals, and stops.
//!
//! One function here does everything before the runtime starts: it loads the kernel half, drops the
//! privileges, opens the queue, starts the message tracking log and binds the control socket.
//! `running` has the state that the parts share and `background` the tasks beside the server;
//! `control_answers` answers the control socket; [`reload`] loads a new configuration, [`status`]
//! reports the state of the daemon, and [`delivery`] runs the delivery tasks.

mod background;
mod control_answers;
mod delivery;
pub mod enforcement;
pub mod explain;
mod kernel_half;
pub mod prepare;
mod queue;
pub mod rehearsal;
pub mod reload;
mod resources;
mod running;
mod start_error;
pub mod status;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use delivery::RunningDelivery;
use kernel_half::{Attached, ChosenClassifier};
use prepare::{PrepareError, PreparedConfiguration, prepare};
use relay_antispam::Checks;
use relay_config::Config;
use relay_connector::ConnectorIds;
use relay_host::error_chain::error_chain;
use relay_host::privileges::{self, Account};
use relay_host::vital;
use relay_kernel::KernelLog;
use relay_queue::Queue;
use relay_server::counts::Counts;
use relay_server::tls::TlsCredentials;
use relay_server::{Server, kept};
use relay_tracking::{Tracker, files};
use running::{Configured, Daemon, Outlook};
use sd_notify::NotifyState;
pub use start_error::StartError;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::control::ControlSocket;
use crate::limits::{BLOCKED_STOP, DELIVERY_STOP, DRAIN, STOP};
use crate::{allocator, logging};

/// Runs the daemon with the configuration in this file until a signal ends it.
///
/// # Errors
///
/// The reasons that [`StartError`] lists.
pub fn run(file: &Path) -> Result<(), StartError> {
    // Adopt inherited descriptors before other files are opened, because they are identified by
    // number.
    let inherited = kept::take_stored_listeners();
    let config = Config::load(file)?;
    logging::start(config.log);
    privileges::restrict_process()?;
    ignore_hang_up();
    resources::raise_descriptor_limit(config.table().bindings().len())?;
    let user = config.daemon.user.as_deref();
    let account =
        user.map(|user| Account::find(user, config.daemon.group.as_deref())).transpose()?;
    let mut ids = ConnectorIds::default();
    let (self_test, generation) = (1, 2);
    let rules = config.rules(&mut ids, generation).map_err(PrepareError::from)?;
    let counts = Arc::new(Counts::default());
    let owner = account.as_ref().map(Account::user_id);
    let ChosenClassifier { classifier, in_use, attached } =
        kernel_half::load_or_fall_back(&config.classifier, owner, self_test, Arc::clone(&rules))?;
    // The new rules are equal, so the names keep their ids.
    let mut read = || prepare(&config, &mut ids, generation);
    let PreparedConfiguration {
        credentials, checks, delivery: delivery_settings, warnings, ..
    } = match &account {
        None => read()?,
        // Read as the user that reads them again at each reload and renewal.
        Some(account) => account.run_as_user(|| {
            if let Some(error) = rehearsal::forbidden_paths(account, &config, file).next() {
                return Err(error.into());
            }
            let told =
                |error| StartError::PrepareAsUser(privileges::with_user(error_chain(&error)));
            read().map_err(told)
        })??,
    };
    inherited.may_listen(config.table().bindings())?;
    rehearsal::directories(&config, account.as_ref())?;
    // Change owners last, so that a refused start leaves the directories to their owners.
    let capabilities = become_user(&config, account.as_ref(), &attached)?;
    for warning in &warnings {
        warn!(file = %file.display(), line = warning.line, "{warning:#}");
    }
    enforcement::warn(&in_use, &config);
    // Drop privileges before the log and the queue start threads, because each thread keeps its own
    // capabilities. Files that cannot be opened without privileges could not be written later
    // either.
    logging::start_writer().map_err(resources::thread_error)?;
    vital::before_exit(logging::finish);
    resources::check_threads()?;
    allocator::start_background_purge();
    let (queue, recovery) = queue::open(&config)?;
    let path = &config.control.socket;
    let control = ControlSocket::bind(path)
        .map_err(|source| StartError::Control { path: path.clone(), source })?;

    let runtime = Runtime::new().map_err(StartError::Runtime)?;
    // From here on every end is recorded in the log. A log without an end is that of a killed
    // daemon.
    let tracker = Tracker::start(config.message_tracking_log.clone(), queue.highest_id());
    queue.set_observer(Arc::new(tracker.clone()));
    let result = runtime.block_on(async {
        queue::record_damage(&queue, recovery).await;
        let classifier = Arc::new(classifier);
        let server = Server::new(
            Arc::clone(&classifier),
            queue.clone(),
            Arc::clone(&counts),
            tracker.clone(),
        )
        .with_listeners(inherited);
        put_in_force(&server, &queue, &config, credentials, checks);
        server.listen(&rules)?;
        let delivery = RunningDelivery::start(queue.clone(), delivery_settings);
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
            outlook: ArcSwap::from_pointee(Outlook {
                routes: config.routes.clone(),
                hops: delivery.hops(),
            }),
            configured: Mutex::new(Configured { config, ids, generation, delivery }),
            refused: ArcSwapOption::empty(),
        });
        serve(daemon, control, attached.log).await
    });
    runtime.shutdown_timeout(BLOCKED_STOP);
    tracker.stop();
    // The programs stay attached until the last session has ended.
    attached.programs.detach();
    result
}

/// Changes to the daemon's user and drops capabilities that are no longer needed. Returns the
/// remaining capabilities.
fn become_user(
    config: &Config,
    account: Option<&Account>,
    attached: &Attached,
) -> Result<Vec<String>, StartError> {
    if let Some(account) = account {
        account.prepare(&config.queue.directory, relay_queue::is_part)?;
        let tracking = &config.message_tracking_log;
        if tracking.enabled {
            account.prepare(&tracking.path, files::is_file_name)?;
        }
        let socket = &config.control.socket;
        if let Some(directory) = socket.parent() {
            account.prepare(directory, |name| Some(name) == socket.file_name())?;
        }
        if let Err(error) = attached.programs.change_owner_of_pins(account.user_id()) {
            warn!(%error, "the pins cannot be removed at the end");
        }
    }
    let kept = privileges::drop_privileges(account)?;
    let kept: Vec<String> = kept.into_iter().map(|capability| capability.to_string()).collect();
    let user = privileges::user_name(rustix::process::geteuid().as_raw());
    info!(user, kept = kept.join(" "), "dropped capabilities that are no longer needed");
    if rustix::process::geteuid().is_root() {
        warn!("the daemon runs as root; give it a user of its own with user in [daemon]");
    }
    Ok(kept)
}

/// Puts the settings of sessions in force, except the rules.
fn put_in_force(
    server: &Server,
    queue: &Queue,
    config: &Config,
    credentials: TlsCredentials,
    checks: Checks,
) {
    server.set_credentials(credentials);
    server.set_checks(checks);
    server.recipients().set_hello_name(config.hostname.ascii());
    server.back_pressure().set(&config.back_pressure);
    queue.message_memory().set_budget(config.back_pressure.message_memory);
    server.tracker().set(config.message_tracking_log.clone());
}

/// Ignores a SIGHUP before the daemon is ready: the configuration is being loaded anyway, and the
/// signal would end the process. [`serve`] installs the real handler.
fn ignore_hang_up() {
    // SAFETY: no other thread runs yet, and ignoring runs no code of ours.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_IGN) };
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
    let mut parts = background::start(&daemon, control, kernel_log);
    info!(version = env!("CARGO_PKG_VERSION"), decided_by = daemon.kernel.name(), "ready");
    kept::notify(NotifyState::Ready);
    let signal = loop {
        tokio::select! {
            _ = hang_up.recv() => {
                // Do not wait for the reload: its result is logged, and a signal to stop must be
                // handled at once.
                tokio::spawn(Arc::clone(&daemon).reload(None));
            }
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            // No part ends by itself.
            Some(Ok(part)) = parts.join_next() => return Err(StartError::Ended(part)),
        }
    };
    info!(signal, sessions = daemon.server.sessions(), "stopping");
    kept::notify(NotifyState::Stopping);
    parts.abort_all();
    // Both at the same time: until the end, other clients find no listener.
    let drained = timeout(STOP, async {
        tokio::join!(daemon.server.drain(DRAIN), async {
            // A reload may hold the lock for a while.
            daemon.configured.lock().await.delivery.stop(DELIVERY_STOP).await;
        })
    });
    match drained.await {
        Ok(((), ())) => info!("stopped"),
        Err(_) => warn!(seconds = STOP.as_secs(), "stopped at the deadline, with work left"),
    }
    Ok(())
}
