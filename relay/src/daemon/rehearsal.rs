//! The checks of a start that `relay check` makes besides reading files: the user, the directories,
//! the control socket and the bindings of this host. Nothing is created or changed.
//!
//! A problem that would end every start is an error. A temporary problem, such as another program
//! on the port, is a warning; so is everything that a process of another user cannot check.

use std::path::Path;

use relay_config::Config;
use relay_host::error_chain::error_chain;
use relay_host::privileges::directory::{self, DirectoryAccess, DirectoryError};
use relay_host::privileges::{self, Account, PrivilegeError};
use relay_tracking::files;
use rustix::fs::statvfs;
use rustix::process::geteuid;

use super::StartError;
use crate::control;

/// The result of the checks on this host.
#[derive(Debug, Default)]
pub struct Rehearsal {
    /// The daemon would not start.
    pub errors: Vec<StartError>,
    /// The daemon would start, but not exactly as configured; or it would not start at this moment,
    /// or as this process's user.
    pub warnings: Vec<String>,
}

/// Checks this host. A process of root changes to the user of `[daemon]`: all files after that are
/// read with that user's rights, as the daemon reads them.
///
/// # Errors
///
/// This process cannot change to that user.
pub fn check_host(config: &Config, file: &Path) -> Result<Rehearsal, PrivilegeError> {
    let mut rehearsal = Rehearsal::default();
    let named = config.daemon.user.as_deref();
    let account = named.map(|user| Account::look_up(user, config.daemon.group.as_deref()));
    let account = match account.transpose() {
        Ok(account) => account,
        Err(error) => {
            rehearsal.errors.push(error.into());
            return Ok(rehearsal);
        }
    };
    let current = geteuid();
    let user = account.as_ref().map(Account::user_id);
    // Only root may be an administrator whose unit starts the daemon as another user.
    let user = user.or_else(|| (!current.is_root()).then(|| current.as_raw()));
    let judges = current.is_root() || Some(current.as_raw()) == user;
    rehearsal.directories(config, user, judges);
    // A running daemon holds the ports. While its unit restarts it, the service manager holds them.
    if control::probe(&config.control.socket).is_err() && !is_in_a_unit() {
        rehearsal.bindings(config);
    }
    if let Some(account) = account.filter(|_| current.is_root()) {
        privileges::drop_privileges(Some(&account))?;
        rehearsal.errors.extend(forbidden_paths(&account, config, file).map(StartError::from));
    }
    Ok(rehearsal)
}

/// Checks the directories as a start does before it gives them to the daemon's user.
///
/// # Errors
///
/// The first error about directories.
pub(super) fn directories(config: &Config, account: Option<&Account>) -> Result<(), StartError> {
    let user = account.map_or(geteuid().as_raw(), Account::user_id);
    let mut rehearsal = Rehearsal::default();
    rehearsal.directories(config, Some(user), true);
    rehearsal.errors.into_iter().next().map_or(Ok(()), Err)
}

/// The files that a reload reads again and the daemon's directories, if the user has no access to
/// them. Must be called as the daemon's user.
pub(super) fn forbidden_paths<'a>(
    account: &'a Account,
    config: &'a Config,
    file: &'a Path,
) -> impl Iterator<Item = PrivilegeError> + 'a {
    let users = config.authentication.as_ref().map(|table| table.users_file.as_path());
    let files = [file].into_iter().chain(users);
    let queue = config.queue.directory.as_path();
    let tracking = &config.message_tracking_log;
    let log = tracking.enabled.then_some(tracking.path.as_path());
    let others = log.into_iter().chain(config.control.socket.parent());
    // The start will give the queue's directory to the user.
    let directories =
        [queue].into_iter().chain(others.filter(move |path| !path.starts_with(queue)));
    let unread = files.filter_map(move |path| account.can_read(path).err());
    unread.chain(directories.filter_map(move |path| account.can_reach(path).err()))
}

/// Did systemd start this process, as it starts the daemon? See systemd.exec(5).
fn is_in_a_unit() -> bool {
    let unit_process = std::env::var("SYSTEMD_EXEC_PID").ok();
    unit_process.is_some_and(|number| number == std::process::id().to_string())
}

impl Rehearsal {
    fn directories(&mut self, config: &Config, user: Option<u32>, judges: bool) {
        let queue = &config.queue.directory;
        let found = directory::examine(queue, user, DirectoryAccess::Owner, relay_queue::is_part);
        self.add("[queue]: directory", found.err(), judges);
        if user.is_none()
            && let Some(owner) = directory::foreign_owner(queue)
        {
            self.warnings.push(format!(
                "[queue]: directory: {} belongs to user `{owner}`: the daemon would not start as root; \
                 start it as that user, or: chown -R root: {}",
                queue.display(),
                queue.display()
            ));
        }
        self.free_space(config);
        let socket = &config.control.socket;
        if let Some(parent) = socket.parent() {
            // Other programs may have files beside the socket; the socket itself is closed to them.
            self.add("[control]: socket", directory::find(parent).err(), judges);
        }
        if let Err(source) = control::has_old_socket(socket)
            && judges
        {
            self.errors.push(StartError::Control { path: socket.clone(), source });
        }
        let tracking = &config.message_tracking_log;
        if tracking.enabled {
            let found = directory::examine(
                &tracking.path,
                user,
                DirectoryAccess::GroupReads,
                files::is_file_name,
            );
            // The daemon runs without the log.
            self.warnings.extend(found.err().map(|error| {
                format!("[message_tracking_log]: path: the daemon could not write the log: {error}")
            }));
        }
    }

    fn add(&mut self, key: &str, error: Option<DirectoryError>, judges: bool) {
        match error {
            Some(error) if judges => self.errors.push(error.into()),
            Some(error) => self.warnings.push(format!(
                "{key}: with the rights of this process, the daemon would not start: {error}"
            )),
            None => {}
        }
    }

    fn free_space(&mut self, config: &Config) {
        let (directory, needed) = (&config.queue.directory, config.queue.min_free_space);
        let Some(existing) = directory.ancestors().find(|path| path.is_dir()) else { return };
        let Ok(system) = statvfs(existing) else { return };
        let free = system.f_bavail.saturating_mul(system.f_frsize);
        if free < needed {
            self.warnings.push(format!(
                "[queue]: min_free_space: {free} octets are free on the disk of {}; no mail is \
                 accepted with less than {needed}",
                directory.display()
            ));
        }
    }

    fn bindings(&mut self, config: &Config) {
        for address in relay_server::addresses(config.table().bindings()) {
            if let Err(error) = relay_server::is_free(address) {
                self.warnings.push(format!(
                    "bindings: the daemon would not start at this moment: {}; stop the program that \
                     listens there, or write another address or port",
                    error_chain(&error)
                ));
            }
        }
    }
}
