//! How a command finds the daemon and its files: from the part of the configuration that can be
//! read, or from paths in options. A configuration with errors does not prevent an administrator
//! from looking at the daemon.

use std::io;
use std::path::PathBuf;

use clap::Args;
use relay::control::{self, ControlError, ControlRequest};
use relay_config::Places;
use relay_queue::{Offline, OpenError};
use serde_json::json;

use super::{Asked, Common, Console, Outcome};

/// The configuration file and the daemon's socket: for commands that only the daemon answers.
#[derive(Args, Debug)]
pub(super) struct DaemonAccess {
    #[command(flatten)]
    pub(super) common: Common,
    /// The daemon's socket, instead of `socket` in [control].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// The same, and the queue's directory: for commands that read the files while no daemon runs.
#[derive(Args, Debug)]
pub(super) struct FileAccess {
    #[command(flatten)]
    pub(super) daemon: DaemonAccess,
    /// The queue's directory, instead of `directory` in [queue]; read while no daemon runs.
    #[arg(long, value_name = "DIRECTORY")]
    queue_directory: Option<PathBuf>,
}

/// The running daemon, or the files of a stopped daemon.
pub(super) enum Reached {
    Daemon(Socket),
    /// No daemon answers, for this reason; with the daemon's queue, if there is one.
    Stopped(ControlError, Option<Offline>),
}

/// The socket on which the daemon listens.
pub(super) struct Socket {
    pub(super) path: PathBuf,
    /// Print a refusal as a JSON object too.
    json: bool,
}

impl DaemonAccess {
    /// The configuration file that the daemon should have; `None` if `--socket` selects the daemon.
    pub(super) fn named_file(&self) -> Option<PathBuf> {
        let file = self.socket.is_none().then_some(&self.common.configuration.path)?;
        file.canonicalize().ok()
    }

    fn read(&self) -> Places {
        let mut places = Places::read(&self.common.configuration.path);
        if let Some(socket) = &self.socket {
            places.socket.clone_from(socket);
        }
        places
    }

    /// The daemon's socket. A problem of the configuration is printed.
    pub(super) fn socket(&self, console: &mut Console<'_>) -> io::Result<Socket> {
        let places = self.read();
        if let Some(problem) = places.problem.as_ref().filter(|_| self.socket.is_none()) {
            writeln!(console.err, "the configuration has an error: {problem}")?;
            let socket = places.socket.display();
            writeln!(console.err, "using socket {socket}; --socket selects another")?;
        }
        Ok(self.socket_at(&places))
    }

    fn socket_at(&self, places: &Places) -> Socket {
        Socket { path: places.socket.clone(), json: self.common.json }
    }

    /// Asks the running daemon and prints a refusal.
    pub(super) fn ask(
        &self,
        request: &ControlRequest,
        console: &mut Console<'_>,
    ) -> anyhow::Result<Asked> {
        self.socket(console)?.ask(request, console)
    }
}

impl FileAccess {
    /// The paths of the daemon's socket and files. A problem of the configuration is printed.
    pub(super) fn places(&self, console: &mut Console<'_>) -> io::Result<Places> {
        let mut places = self.daemon.read();
        if let Some(queue) = &self.queue_directory {
            if places.tracking == Places::tracking_in(&places.queue) {
                places.tracking = Places::tracking_in(queue);
            }
            places.queue.clone_from(queue);
        }
        if let Some(problem) = places.problem.as_ref().filter(|_| self.daemon.socket.is_none()) {
            writeln!(console.err, "the configuration has an error: {problem}")?;
            writeln!(
                console.err,
                "using socket {} and queue {}; --socket and --queue-directory select others",
                places.socket.display(),
                places.queue.display()
            )?;
        }
        Ok(places)
    }

    /// The running daemon, or its queue, read-only.
    pub(super) fn reach(&self, console: &mut Console<'_>) -> anyhow::Result<Reached> {
        let places = self.places(console)?;
        let error = match control::probe(&places.socket) {
            Ok(()) => return Ok(Reached::Daemon(self.daemon.socket_at(&places))),
            Err(error) => error,
        };
        let queue = match Offline::open(&places.queue) {
            Ok(queue) => queue,
            // A daemon runs, but on another socket or with other rights than the user has.
            Err(reason) => return Err(anyhow::Error::from(error).context(unanswered(&reason))),
        };
        writeln!(
            console.err,
            "no daemon answers on {}: the daemon is stopped; {}",
            places.socket.display(),
            match queue {
                Some(_) =>
                    format!("the queue in {} is read and not changed", places.queue.display()),
                None => format!("there is no queue in {}", places.queue.display()),
            }
        )?;
        Ok(Reached::Stopped(error, queue))
    }
}

/// Why neither the daemon answers nor its queue can be read.
pub(super) fn unanswered(reason: &OpenError) -> String {
    match reason {
        OpenError::InUse { directory, process } => format!(
            "process {process} uses the queue in {} and does not answer; select its socket with \
             --socket, or restart the process if its socket was removed",
            directory.display()
        ),
        reason => reason.to_string(),
    }
}

impl Socket {
    /// Asks the daemon on this socket and prints a refusal.
    pub(super) fn ask(
        &self,
        request: &ControlRequest,
        console: &mut Console<'_>,
    ) -> anyhow::Result<Asked> {
        match control::ask(&self.path, request) {
            Ok(answer) => Ok(Asked::Answer(answer)),
            Err(ControlError::Refused(why)) => Ok(Asked::Printed(self.refused(&why, console)?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Prints the reason of a refusal.
    pub(super) fn refused(&self, why: &str, console: &mut Console<'_>) -> io::Result<Outcome> {
        writeln!(console.err, "{why}")?;
        if self.json {
            console.json(&json!({ "error": why }))?;
        }
        Ok(Outcome::No)
    }
}
