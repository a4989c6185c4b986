//! What `relay check` tries of a start beside reading files: the user, the directories, the control
//! socket and the bindings of this host. Nothing is made or changed.
//!
//! What would end the start whenever it is tried is an error. What depends on the moment, such as
//! another program on the port, is a warning; so is all that another user's process cannot judge.

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

/// What would become of a start on this host.
#[derive(Debug, Default)]
pub struct Rehearsal {
    /// The daemon would not start.
    pub errors: Vec<StartError>,
    /// It would start, and something would not be as the configuration says; or it would not start
    /// at this moment, or as this process's user.
    pub warnings: Vec<String>,
}

/// Tries what can be tried. A process of root ends as the user of `[daemon]`: what is read from then
/// on is read with that user's rights, as the daemon reads it.
///
/// # Errors
///
/// This process cannot become that user.
pub fn rehearse(config: &Config, file: &Path) -> Result<Rehearsal, PrivilegeError> {
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
    // Root alone may be an administrator whose unit starts the daemon as another user.
    let user = user.or_else(|| (!current.is_root()).then(|| current.as_raw()));
    let judges = current.is_root() || Some(current.as_raw()) == user;
    rehearsal.directories(config, user, judges);
    // While the daemon runs, the ports are its own; while the unit restarts it, its service manager
    // keeps them for it.
    if control::probe(&config.control.socket).is_err() && !is_in_a_unit() {
        rehearsal.bindings(config);
    }
    if let Some(account) = account.filter(|_| current.is_root()) {
        privileges::give_up(Some(&account))?;
        rehearsal.errors.extend(denied(&account, config, file).map(StartError::from));
    }
    Ok(rehearsal)
}

/// What a start refuses about its directories, before it gives them to its user.
///
/// # Errors
///
/// The first of [`Rehearsal::errors`] that is about them.
pub(super) fn directories(config: &Config, account: Option<&Account>) -> Result<(), StartError> {
    let user = account.map_or(geteuid().as_raw(), Account::user_id);
    let mut rehearsal = Rehearsal::default();
    rehearsal.directories(config, Some(user), true);
    rehearsal.errors.into_iter().next().map_or(Ok(()), Err)
}

/// The files that a reload reads again and the directories of the daemon, as far as its user may not
/// have them. To be called as this user.
pub(super) fn denied<'a>(
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
    // The queue's directory is the user's in a moment.
    let directories =
        [queue].into_iter().chain(others.filter(move |path| !path.starts_with(queue)));
    let unread = files.filter_map(move |path| account.can_read(path).err());
    unread.chain(directories.filter_map(move |path| account.can_reach(path).err()))
}

/// Did systemd start this very process, as it does before it starts the daemon? See systemd.exec(5).
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
            && let Some(owner) = directory::stranger(queue)
        {
            self.warnings.push(format!(
                "[queue]: directory: {} belongs to user `{owner}`: as root the daemon would not \
                 start; start it as that user, or: chown -R root: {}",
                queue.display(),
                queue.display()
            ));
        }
        self.free_space(config);
        let socket = &config.control.socket;
        if let Some(parent) = socket.parent() {
            // Other programs may have files beside the socket, which itself is closed to them.
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
            // The daemon goes on without the log.
            self.warnings.extend(found.err().map(|error| {
                format!("[message_tracking_log]: path: the log would not be written: {error}")
            }));
        }
    }

    fn add(&mut self, key: &str, error: Option<DirectoryError>, judges: bool) {
        match error {
            Some(error) if judges => self.errors.push(error.into()),
            Some(error) => self
                .warnings
                .push(format!("{key}: as this process, the daemon would not start: {error}")),
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
                "[queue]: min_free_space: {free} octets are free on the disk of {}, and no mail is \
                 taken with less than {needed}",
                directory.display()
            ));
        }
    }

    fn bindings(&mut self, config: &Config) {
        for address in relay_server::addresses(config.table().bindings()) {
            if let Err(error) = relay_server::is_free(address) {
                self.warnings.push(format!(
                    "bindings: at this moment the daemon would not start: {}; end the program that \
                     listens there, or write another address or port",
                    error_chain(&error)
                ));
            }
        }
    }
}
