//! How a command reaches the daemon and its files: by what can be read of the configuration, or by
//! paths that are given. An unsound configuration keeps no administrator from looking.

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
    /// The daemon's socket, in place of `socket` of [control].
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// The same, and the queue's directory: for commands that read the files while no daemon runs.
#[derive(Args, Debug)]
pub(super) struct FileAccess {
    #[command(flatten)]
    pub(super) daemon: DaemonAccess,
    /// The queue's directory, in place of `directory` of [queue]: read while no daemon runs.
    #[arg(long, value_name = "DIRECTORY")]
    queue_directory: Option<PathBuf>,
}

/// The running daemon, or the files of one that does not run.
pub(super) enum Reached {
    Daemon(Socket),
    /// No daemon answers, for this reason; this is its queue, if there is one.
    Stopped(ControlError, Option<Offline>),
}

/// Where the daemon listens.
pub(super) struct Socket {
    pub(super) path: PathBuf,
    /// A refusal is printed as an object too.
    json: bool,
}

impl DaemonAccess {
    /// The configuration that is meant; `None` where `--socket` says which daemon is.
    pub(super) fn named_file(&self) -> Option<PathBuf> {
        let file = self.socket.is_none().then_some(&self.common.config)?;
        file.canonicalize().ok()
    }

    fn read(&self) -> Places {
        let mut places = Places::read(&self.common.config);
        if let Some(socket) = &self.socket {
            places.socket.clone_from(socket);
        }
        places
    }

    /// Where the daemon listens. What is wrong with the configuration is printed.
    pub(super) fn socket(&self, console: &mut Console<'_>) -> io::Result<Socket> {
        let places = self.read();
        if let Some(problem) = places.problem.as_ref().filter(|_| self.socket.is_none()) {
            writeln!(console.err, "the configuration is not sound: {problem}")?;
            let socket = places.socket.display();
            writeln!(console.err, "going on with socket {socket}; --socket names another")?;
        }
        Ok(self.socket_at(&places))
    }

    fn socket_at(&self, places: &Places) -> Socket {
        Socket { path: places.socket.clone(), json: self.common.json }
    }

    /// Asks the running daemon. A refusal is printed here.
    pub(super) fn ask(
        &self,
        request: &ControlRequest,
        console: &mut Console<'_>,
    ) -> anyhow::Result<Asked> {
        self.socket(console)?.ask(request, console)
    }
}

impl FileAccess {
    /// Where the daemon and its files are. What is wrong with the configuration is printed.
    pub(super) fn places(&self, console: &mut Console<'_>) -> io::Result<Places> {
        let mut places = self.daemon.read();
        if let Some(queue) = &self.queue_directory {
            if places.tracking == Places::tracking_in(&places.queue) {
                places.tracking = Places::tracking_in(queue);
            }
            places.queue.clone_from(queue);
        }
        if let Some(problem) = places.problem.as_ref().filter(|_| self.daemon.socket.is_none()) {
            writeln!(console.err, "the configuration is not sound: {problem}")?;
            writeln!(
                console.err,
                "going on with socket {} and queue {}; --socket and --queue-directory name others",
                places.socket.display(),
                places.queue.display()
            )?;
        }
        Ok(places)
    }

    /// The running daemon, or its queue, which is read only.
    pub(super) fn reach(&self, console: &mut Console<'_>) -> anyhow::Result<Reached> {
        let places = self.places(console)?;
        let error = match control::probe(&places.socket) {
            Ok(()) => return Ok(Reached::Daemon(self.daemon.socket_at(&places))),
            Err(error) => error,
        };
        let queue = match Offline::open(&places.queue) {
            Ok(queue) => queue,
            // A daemon runs, and not on this socket, or with rights that the user does not have.
            Err(reason) => return Err(anyhow::Error::from(error).context(unanswered(&reason))),
        };
        writeln!(
            console.err,
            "no daemon answers on {}: it is stopped; {}",
            places.socket.display(),
            match queue {
                Some(_) => format!("the queue in {} is only read", places.queue.display()),
                None => format!("there is no queue in {}", places.queue.display()),
            }
        )?;
        Ok(Reached::Stopped(error, queue))
    }
}

/// Why the queue of a daemon that does not answer cannot be read either.
pub(super) fn unanswered(reason: &OpenError) -> String {
    match reason {
        OpenError::InUse { directory, process } => format!(
            "process {process} runs with the queue in {} and does not answer; name its socket with \
             --socket, or restart it if that socket was removed",
            directory.display()
        ),
        reason => reason.to_string(),
    }
}

impl Socket {
    /// Asks the daemon there. A refusal is printed here.
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

    /// Prints why the daemon did not do it.
    pub(super) fn refused(&self, why: &str, console: &mut Console<'_>) -> io::Result<Outcome> {
        writeln!(console.err, "{why}")?;
        if self.json {
            console.json(&json!({ "error": why }))?;
        }
        Ok(Outcome::No)
    }
}
