//! The user and group of the daemon.

use std::ffi::{CString, OsStr};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown, lchown};
use std::path::Path;

use crate::privileges::directory::DirectoryError;
use crate::privileges::{PrivilegeError, refuse_dumps, user_name};
use caps::securebits::set_keepcaps;
use nix::unistd::{
    Group, Uid, User, getgroups, initgroups, setegid, seteuid, setgroups, setresgid, setresuid,
};
use rustix::process::{getegid, geteuid};

/// `[daemon] user` and `group`, resolved.
#[derive(Clone, Debug)]
pub struct Account {
    name: String,
    user: Uid,
    group: nix::unistd::Gid,
}

impl Account {
    /// Looks up a user, and a group other than the user's own.
    ///
    /// # Errors
    ///
    /// The user or the group does not exist.
    pub fn look_up(user: &str, group: Option<&str>) -> Result<Self, PrivilegeError> {
        let unknown = |key, name: &str| PrivilegeError::Unknown { key, name: name.to_owned() };
        let found = User::from_name(user)
            .map_err(PrivilegeError::system("look up the user of [daemon]"))?
            .ok_or_else(|| unknown("user", user))?;
        let group = match group {
            None => found.gid,
            Some(name) => {
                Group::from_name(name)
                    .map_err(PrivilegeError::system("look up the group of [daemon]"))?
                    .ok_or_else(|| unknown("group", name))?
                    .gid
            }
        };
        Ok(Self { name: found.name, user: found.uid, group })
    }

    /// The same for a user to which this process can change.
    ///
    /// # Errors
    ///
    /// The user or the group does not exist; or this process is neither root nor that user.
    pub fn find(user: &str, group: Option<&str>) -> Result<Self, PrivilegeError> {
        let account = Self::look_up(user, group)?;
        if !geteuid().is_root() && !account.is_current() {
            let current = user_name(geteuid().as_raw());
            return Err(PrivilegeError::NotRoot { wanted: account.name, current });
        }
        Ok(account)
    }

    /// Its user id.
    pub fn user_id(&self) -> u32 {
        self.user.as_raw()
    }

    fn is_current(&self) -> bool {
        (geteuid().as_raw(), getegid().as_raw()) == (self.user.as_raw(), self.group.as_raw())
    }

    /// Changes to this user permanently, with only its supplementary groups. Capabilities stay
    /// permitted.
    pub(super) fn become_user(&self) -> Result<(), PrivilegeError> {
        if self.is_current() {
            return Ok(());
        }
        set_keepcaps(true)?;
        self.join_groups()?;
        setresgid(self.group, self.group, self.group)
            .map_err(PrivilegeError::system("change the group"))?;
        setresuid(self.user, self.user, self.user)
            .map_err(PrivilegeError::system("change the user"))?;
        set_keepcaps(false)?;
        Ok(())
    }

    /// Runs a function with only the rights of this user, then changes back to root. Must be called
    /// while no other thread runs.
    ///
    /// # Errors
    ///
    /// The kernel refused a change of the user.
    pub fn run_as_user<T>(&self, act: impl FnOnce() -> T) -> Result<T, PrivilegeError> {
        if !geteuid().is_root() || self.user.is_root() {
            return Ok(act());
        }
        let system = PrivilegeError::system::<nix::errno::Errno>;
        let groups = getgroups().map_err(system("read the supplementary groups"))?;
        let group = nix::unistd::getegid();
        self.join_groups()?;
        setegid(self.group).map_err(system("change the group"))?;
        seteuid(self.user).map_err(system("change the user"))?;
        let result = act();
        seteuid(Uid::from_raw(0)).map_err(system("change the user back"))?;
        setegid(group).map_err(system("change the group back"))?;
        setgroups(&groups).map_err(system("change the supplementary groups back"))?;
        refuse_dumps()?;
        Ok(result)
    }

    fn join_groups(&self) -> Result<(), PrivilegeError> {
        // A name of the user database contains no NUL.
        let name = CString::new(self.name.as_str())
            .map_err(io::Error::from)
            .map_err(PrivilegeError::system("read the name of the user of [daemon]"))?;
        initgroups(&name, self.group)
            .map_err(PrivilegeError::system("change the supplementary groups"))
    }

    /// Gives a directory to the daemon's user before the change to that user. A missing directory
    /// is created; a directory of root is given away with its content if `is_ours` accepts all
    /// names in it. Every other directory stays, and the code that uses it refuses it. Must be
    /// called as root.
    ///
    /// # Errors
    ///
    /// The directory cannot be created or given away.
    pub fn prepare(
        &self,
        directory: &Path,
        is_ours: impl Fn(&OsStr) -> bool,
    ) -> Result<(), DirectoryError> {
        if !geteuid().is_root() || self.user.is_root() {
            return Ok(());
        }
        let failed = |doing| {
            let path = directory.to_owned();
            move |source| DirectoryError::Io { doing, path, source }
        };
        let metadata = match fs::metadata(directory) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
                made.map_err(failed("create the directory"))?;
                return self.own(directory).map_err(failed("give away"));
            }
            Err(error) => return Err(failed("examine")(error)),
        };
        // A directory that others can write to may contain links to foreign files.
        if metadata.uid() != 0 || !metadata.is_dir() || metadata.mode() & 0o022 != 0 {
            return Ok(());
        }
        for entry in fs::read_dir(directory).map_err(failed("read"))? {
            if !is_ours(&entry.map_err(failed("read"))?.file_name()) {
                return Ok(());
            }
        }
        self.take_over(directory).map_err(failed("give away"))?;
        tracing::info!(
            directory = %directory.display(),
            user = self.name,
            "a directory of root now belongs to the daemon's user"
        );
        Ok(())
    }

    fn own(&self, path: &Path) -> io::Result<()> {
        chown(path, Some(self.user.as_raw()), Some(self.group.as_raw()))
    }

    /// The directory itself changes last: until then only root can create files in it.
    fn take_over(&self, directory: &Path) -> io::Result<()> {
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                self.take_over(&entry.path())?;
            } else {
                lchown(entry.path(), Some(self.user.as_raw()), Some(self.group.as_raw()))?;
            }
        }
        self.own(directory)
    }

    /// Can this user reach the directory, as far as it exists? Must be called as this user.
    ///
    /// # Errors
    ///
    /// A directory above it is closed to the user.
    pub fn can_reach(&self, path: &Path) -> Result<(), PrivilegeError> {
        self.unless_denied(path, fs::symlink_metadata(path), |path, user, source| {
            PrivilegeError::Unreachable { path, user, source }
        })
    }

    /// Can the file be read? This user must be able to read it, because a reload reads it again.
    ///
    /// # Errors
    ///
    /// The file cannot be read.
    pub fn can_read(&self, path: &Path) -> Result<(), PrivilegeError> {
        self.unless_denied(path, File::open(path), |path, user, source| {
            PrivilegeError::Unreadable { path, user, source }
        })
    }

    /// Reports only missing permissions, because only they depend on the user; the code that uses
    /// the path reports other errors.
    fn unless_denied<T>(
        &self,
        path: &Path,
        tried: io::Result<T>,
        denied: impl FnOnce(String, String, io::Error) -> PrivilegeError,
    ) -> Result<(), PrivilegeError> {
        match tried {
            Err(source) if source.kind() == io::ErrorKind::PermissionDenied => {
                Err(denied(path.display().to_string(), self.name.clone(), source))
            }
            _ => Ok(()),
        }
    }
}
