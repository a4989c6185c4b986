//! The reasons why the daemon does not run, each worded beside the code that fails.

use std::io;
use std::path::PathBuf;

use relay_config::LoadError;
use relay_host::privileges::{DirectoryError, PrivilegeError};
use relay_kernel::KernelError;
use relay_queue::OpenError;
use relay_server::ListenError;

use super::prepare::PrepareError;
use super::resources::ResourceError;

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
    /// `classifier.mode` is `kernel` and the kernel half cannot be used, or another instance uses
    /// the same pin directory.
    #[error("the kernel half cannot be used: {0}")]
    Kernel(#[from] KernelError),
    /// A binding.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A file that the configuration names.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The same, read with the rights of the daemon's user. The text names the user if a permission
    /// is missing.
    #[error("{0}")]
    PrepareAsUser(String),
    /// The user, or the capabilities.
    #[error(transparent)]
    Privileges(#[from] PrivilegeError),
    /// A directory that must belong to the daemon's user.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Too few descriptors or threads.
    #[error(transparent)]
    Resources(#[from] ResourceError),
    /// A part of the daemon has ended while it ran.
    #[error("internal error, please report it: {0} has ended; stopping the daemon")]
    Ended(&'static str),
    /// The queue.
    #[error(transparent)]
    Queue(#[from] OpenError),
    /// The runtime or its signals.
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
}
