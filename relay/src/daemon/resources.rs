//! Does the system allow enough descriptors and threads?
//!
//! Checked at the start, because a daemon without them would run but accept no connection.

use std::io;
use std::thread;

use parking_lot::{Condvar, Mutex};
use relay_server::limits::SESSIONS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::limits::{DESCRIPTORS_RESERVED, SPARE_THREADS};

/// The resource that is too small.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// Descriptors.
    #[error(
        "{maximum} open files are allowed, but {needed} are needed for {listeners} bindings, the \
         queue and a few sessions: raise LimitNOFILE= of the unit (the hard limit of `ulimit -n`)"
    )]
    Descriptors {
        /// The hard limit.
        maximum: u64,
        /// The smallest sufficient number.
        needed: u64,
        /// The number of listening addresses.
        listeners: usize,
    },
    /// Threads.
    #[error(
        "the system allows this process {got} more threads, but it needs {needed}: raise TasksMax= \
         of the unit (pids.max of a container, `ulimit -u` of the user): {source}"
    )]
    Threads {
        /// The number of started threads.
        got: usize,
        /// The smallest sufficient number.
        needed: usize,
        /// The error of the system.
        source: io::Error,
    },
}

/// Raises the soft limit of descriptors to the hard limit. Each session needs a descriptor, and
/// many systems have a soft limit of 1024 for old programs. The administrator's limit is the hard
/// one.
///
/// # Errors
///
/// The hard limit is too low for the configuration.
pub(super) fn raise_descriptor_limit(listeners: usize) -> Result<(), ResourceError> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, ..limit };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        warn!(%error, "cannot raise the limit of open descriptors");
    }
    let Some(maximum) = limit.maximum else { return Ok(()) };
    let needed = DESCRIPTORS_RESERVED + listeners as u64;
    if maximum < needed {
        return Err(ResourceError::Descriptors { maximum, needed, listeners });
    }
    let sessions = SESSIONS as u64;
    if maximum < sessions {
        warn!(maximum, sessions, "fewer descriptors than sessions; raise LimitNOFILE");
    }
    Ok(())
}

fn needed_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from) + SPARE_THREADS
}

/// The error if not even the first thread could be started.
pub(super) fn thread_error(source: io::Error) -> ResourceError {
    ResourceError::Threads { got: 0, needed: needed_threads(), source }
}

/// Starts as many threads as the daemon needs at least, and ends them.
///
/// # Errors
///
/// The system allows fewer.
pub(super) fn check_threads() -> Result<(), ResourceError> {
    let needed = needed_threads();
    let may_end = (Mutex::new(false), Condvar::new());
    let wait = || {
        let (ends, told) = &may_end;
        let mut ends = ends.lock();
        // The threads end when all are started, or one could not be started.
        told.wait_while(&mut ends, |ends| !*ends);
    };
    thread::scope(|scope| {
        let mut result = Ok(());
        for got in 0..needed {
            if let Err(source) = thread::Builder::new().spawn_scoped(scope, wait) {
                result = Err(ResourceError::Threads { got, needed, source });
                break;
            }
        }
        *may_end.0.lock() = true;
        may_end.1.notify_all();
        result
    })
}
