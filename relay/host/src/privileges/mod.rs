//! What the daemon may do, from its first instruction on.
//!
//! [`confine`] is for the start: no new privileges, no core dumps, files for their owner only.
//! [`Account`] is the user that the daemon becomes once the kernel half is loaded and everything
//! that takes more rights is done, and [`capabilities`] says which rights stay then. [`directory`]
//! says which directories are believed to be ours alone.
//!
//! Users and capabilities belong to threads, so all of it must run before the runtime or any other
//! thread starts.

mod account;
mod capabilities;
pub mod directory;

use std::io;

use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

pub use crate::privileges::account::{Account, user_name};
pub use crate::privileges::directory::DirectoryError;

/// The daemon's rights could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// A capability.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// Another system call.
    #[error("cannot {doing}: {source}")]
    System {
        /// What was being done, as a verb.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// `daemon.user` or `daemon.group` is not known here.
    #[error(
        "[daemon] {key}: this host has no {key} `{name}`; make it (deploy/relay.sysusers does for \
         `relay`), or write the name of one that exists"
    )]
    Unknown {
        /// The key.
        key: &'static str,
        /// Its value.
        name: String,
    },
    /// Only root may become somebody else.
    #[error(
        "[daemon] user: cannot become `{wanted}`, since the daemon was started as `{current}` and \
         not as root; start it as root or as `{wanted}`, or remove the key"
    )]
    NotRoot {
        /// `daemon.user`.
        wanted: String,
        /// Who we are.
        current: String,
    },
    /// A directory that the daemon's user cannot get to.
    #[error(
        "{path}: {source}; the daemon runs as user `{user}`, who may not pass a directory above it: \
         write another path, or chmod o+x that directory"
    )]
    Unreachable {
        /// The directory.
        path: String,
        /// Who cannot get there.
        user: String,
        /// What the system said.
        source: io::Error,
    },
    /// A file that the daemon must be able to read again later.
    #[error(
        "{path}: {source}; the daemon runs as user `{user}`, who must be able to read it at each \
         reload, not only at the start: setfacl -m u:{user}:r {path}, or give it the user's group \
         and mode 640"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// Who cannot read it.
        user: String,
        /// What the system said.
        source: io::Error,
    },
}

impl PrivilegeError {
    fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { doing, source: error.into() }
    }
}

/// An error with the user that it concerns, where the system denied a permission: an administrator,
/// who is root, can do what the daemon cannot.
pub fn with_user(error: String) -> String {
    let user = rustix::process::geteuid();
    if user.is_root() || !error.contains("ermission denied") {
        return error;
    }
    let user = user_name(user.as_raw());
    format!("{error}; this process runs as user `{user}`, who needs access to it")
}

/// What holds for the whole life of the process: what it makes is for its owner only, no program
/// that it runs has more rights than itself, and its memory, with messages and keys in it, is
/// neither dumped nor read by other processes of the same user.
///
/// # Errors
///
/// The kernel refused.
pub fn confine() -> Result<(), PrivilegeError> {
    rustix::process::umask(Mode::RWXG | Mode::RWXO);
    rustix::thread::set_no_new_privs(true)
        .map_err(PrivilegeError::system("give up new privileges"))?;
    refuse_dumps()
}

fn refuse_dumps() -> Result<(), PrivilegeError> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(PrivilegeError::system("refuse core dumps"))?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(PrivilegeError::system("refuse core dumps"))
}

/// Becomes this user, where there is one, and gives up every capability that the daemon does not
/// need any more, for good. Returns those that stay.
///
/// # Errors
///
/// The kernel refused, or the process is neither root nor this user.
pub fn give_up(account: Option<&Account>) -> Result<caps::CapsHashSet, PrivilegeError> {
    capabilities::narrow_bounding_set()?;
    if let Some(account) = account {
        account.become_user()?;
        // The change has set it back to the system's default.
        refuse_dumps()?;
    }
    Ok(capabilities::give_up()?)
}
