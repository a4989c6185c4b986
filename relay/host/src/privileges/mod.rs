//! The rights of the daemon, from its first instruction on.
//!
//! [`restrict_process`] is for the start: no new privileges, no core dumps, files for their owner only.
//! [`Account`] is the user to which the daemon changes after the kernel half is loaded and all
//! other steps with more rights are done; [`capabilities`] decides which capabilities stay.
//! [`directory`] checks that only the daemon uses a directory.
//!
//! Users and capabilities belong to threads, so all of this must run before the runtime or any
//! other thread starts.

mod account;
mod capabilities;
pub mod directory;

use std::io;

use nix::unistd::User;
use rustix::fs::Mode;
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

pub use crate::privileges::account::Account;
pub use crate::privileges::directory::DirectoryError;

/// The name of a user, or its number if it has no name.
pub fn user_name(id: u32) -> String {
    match User::from_uid(id.into()) {
        Ok(Some(user)) => user.name,
        _ => id.to_string(),
    }
}

/// The daemon's rights could not be changed.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    /// A capability.
    #[error("cannot give up capabilities: {0}")]
    Capabilities(#[from] caps::errors::CapsError),
    /// Another system call.
    #[error("cannot {doing}: {source}")]
    System {
        /// The failed action, as a verb.
        doing: &'static str,
        /// The error of the system.
        source: io::Error,
    },
    /// `daemon.user` or `daemon.group` does not exist on this host.
    #[error(
        "[daemon] {key}: this host has no {key} `{name}`; create it (deploy/relay.sysusers does for \
         `relay`), or write the name of an existing {key}"
    )]
    Unknown {
        /// The key.
        key: &'static str,
        /// Its value.
        name: String,
    },
    /// Only root can change to another user.
    #[error(
        "[daemon] user: cannot change to `{wanted}`, because the daemon was started as `{current}` and \
         not as root; start it as root or as `{wanted}`, or remove the key"
    )]
    NotRoot {
        /// `daemon.user`.
        wanted: String,
        /// The current user.
        current: String,
    },
    /// The daemon's user cannot reach a directory.
    #[error(
        "{path}: {source}; the daemon runs as user `{user}`, who may not enter a directory above it: \
         write another path, or chmod o+x that directory"
    )]
    Unreachable {
        /// The directory.
        path: String,
        /// The user.
        user: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The daemon's user cannot read a file that a reload reads again.
    #[error(
        "{path}: {source}; the daemon runs as user `{user}`, who must be able to read it at each \
         reload, not only at the start: setfacl -m u:{user}:r {path}, or give the file the user's group \
         and mode 640"
    )]
    Unreadable {
        /// The file.
        path: String,
        /// The user.
        user: String,
        /// The error of the system.
        source: io::Error,
    },
}

impl PrivilegeError {
    fn system<E: Into<io::Error>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System { doing, source: error.into() }
    }
}

/// Adds the user to an error if the system denied a permission: the administrator is root and may
/// have permissions that the daemon does not have.
pub fn with_user(error: String) -> String {
    let user = rustix::process::geteuid();
    if user.is_root() || !error.contains("ermission denied") {
        return error;
    }
    let user = user_name(user.as_raw());
    format!("{error}; this process runs as user `{user}`, who needs access to it")
}

/// Settings for the whole life of the process: files that it creates are for their owner only,
/// programs that it runs get no more rights than the process has, and its memory, which contains
/// messages and keys, is neither dumped nor readable by other processes of the user.
///
/// # Errors
///
/// The kernel refused.
pub fn restrict_process() -> Result<(), PrivilegeError> {
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

/// Changes to this user, if there is one, and permanently drops every capability that the daemon no
/// longer needs. Returns the remaining ones.
///
/// # Errors
///
/// The kernel refused, or the process is neither root nor this user.
pub fn drop_privileges(account: Option<&Account>) -> Result<caps::CapsHashSet, PrivilegeError> {
    capabilities::narrow_bounding_set()?;
    if let Some(account) = account {
        account.become_user()?;
        // The change of the user has reset it to the system's default.
        refuse_dumps()?;
    }
    Ok(capabilities::give_up()?)
}
