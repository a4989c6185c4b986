//! Does the system give this process what it cannot do without: descriptors and threads?
//!
//! Asked at the start. Later, a daemon that is short of them would run and listen on nothing.

use std::io;
use std::thread;

use parking_lot::{Condvar, Mutex};
use relay_server::limits::SESSIONS;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

use crate::limits::{DESCRIPTORS_RESERVED, SPARE_THREADS};

/// What is too little.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// Descriptors.
    #[error(
        "{maximum} open files are allowed, and {needed} are needed for {listeners} bindings, the \
         queue and a few sessions: raise LimitNOFILE= of the unit (the hard limit of `ulimit -n`)"
    )]
    Descriptors {
        /// The hard limit.
        maximum: u64,
        /// The least that does.
        needed: u64,
        /// Addresses that are listened on.
        listeners: usize,
    },
    /// Threads.
    #[error(
        "the system gives this process {got} more threads, and it needs {needed}: raise TasksMax= \
         of the unit (pids.max of a container, `ulimit -u` of the user): {source}"
    )]
    Threads {
        /// How many there were.
        got: usize,
        /// The least that does.
        needed: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// A session takes a descriptor, and the soft limit of many systems is 1024 for the sake of old
/// programs. The administrator's limit is the hard one.
///
/// # Errors
///
/// The hard limit is too low for what is configured.
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

/// Not even the first thread could be started.
pub(super) fn no_thread(source: io::Error) -> ResourceError {
    ResourceError::Threads { got: 0, needed: needed_threads(), source }
}

/// Starts as many threads as the daemon will have at least, and lets them end.
///
/// # Errors
///
/// The system has fewer.
pub(super) fn check_threads() -> Result<(), ResourceError> {
    let needed = needed_threads();
    let may_end = (Mutex::new(false), Condvar::new());
    let wait = || {
        let (ends, told) = &may_end;
        let mut ends = ends.lock();
        // They end when all of them are there, or one could not be started.
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
