//! The tasks that run beside the sessions and the delivery for as long as the daemon runs.
//!
//! Each is essential: if one ends, the daemon ends.

use std::io;
use std::sync::Arc;

use relay_host::vital;
use relay_kernel::KernelLog;
use relay_kernel::classifier::Classifier;
use relay_server::back_pressure::meter::{self, Meter};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;
use tracing::error;

use super::kernel_half::InUse;
use super::running::Daemon;
use crate::control::ControlSocket;
use crate::limits::{CERTIFICATE_LOOK, HOST_LOOK, KERNEL_LOG_INTERVAL, SWEEP_INTERVAL};

/// Starts all of them. The set returns the name of a task that has ended.
pub fn start(
    daemon: &Arc<Daemon>,
    control: ControlSocket,
    kernel_log: Option<KernelLog>,
) -> JoinSet<&'static str> {
    let mut parts = JoinSet::new();
    vital(&mut parts, "control socket", control.serve(Arc::clone(daemon)));
    vital(&mut parts, "sweep of old generations", sweep(Arc::clone(&daemon.classifier)));
    vital(&mut parts, "renewal of certificates", renew(Arc::clone(daemon)));
    vital(&mut parts, "look at interfaces and addresses", watch_host(Arc::clone(daemon)));
    let pressure = Arc::clone(daemon.server.back_pressure());
    vital(&mut parts, "back pressure", meter::run(pressure, Meter::new(daemon.queue.clone())));
    if let Some(log) = kernel_log {
        vital(&mut parts, "kernel log", forward(log));
    }
    parts
}

/// Starts a part that is essential: if the part ends, the daemon ends.
fn vital<T>(
    parts: &mut JoinSet<&'static str>,
    name: &'static str,
    part: impl Future<Output = T> + Send + 'static,
) {
    parts.spawn(async move {
        vital::task(name, part).await;
        name
    });
}

/// Removes replaced generations from the kernel.
async fn sweep(classifier: Arc<Classifier>) -> io::Result<()> {
    let mut ticks = tokio::time::interval(SWEEP_INTERVAL);
    loop {
        ticks.tick().await;
        if !classifier.needs_sweep() {
            continue;
        }
        let classifier = Arc::clone(&classifier);
        // Removing a hundred thousand entries lasts a while.
        if let Err(error) = tokio::task::spawn_blocking(move || classifier.sweep()).await {
            error!(%error, "the sweep of old generations failed");
        }
    }
}

/// Reloads certificates that have changed on disk.
async fn renew(daemon: Arc<Daemon>) {
    let mut ticks = tokio::time::interval(CERTIFICATE_LOOK);
    loop {
        ticks.tick().await;
        let daemon = Arc::clone(&daemon);
        // A disk may be slow.
        if let Err(error) =
            tokio::task::spawn_blocking(move || daemon.server.renew_credentials()).await
        {
            error!(%error, "checking the certificates failed");
        }
    }
}

/// Follows the interfaces of this host for the guard, and its addresses for listeners.
async fn watch_host(daemon: Arc<Daemon>) {
    let mut ticks = tokio::time::interval(HOST_LOOK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let daemon = Arc::clone(&daemon);
        // A driver may need long to attach the guard.
        let look = move || {
            if let InUse::Kernel(kernel) = &daemon.kernel {
                kernel.programs.check_interfaces();
            }
            daemon.server.check_addresses();
        };
        if let Err(error) = tokio::task::spawn_blocking(look).await {
            error!(%error, "checking the host's interfaces failed");
        }
    }
}

/// Forwards the log of the kernel programs to ours, in a debugging build of the programs.
async fn forward(mut log: KernelLog) {
    let mut ticks = tokio::time::interval(KERNEL_LOG_INTERVAL);
    loop {
        ticks.tick().await;
        log.forward();
    }
}
