//! Is a directory used only by the daemon?
//!
//! Mail, its envelopes and the message tracking log are kept in directories. A directory of another
//! user is refused, because that user controls its content. If other users can enter a directory,
//! or read files in it, the permissions are removed, and the log reports that. If the directory
//! contains files that the daemon does not know, other programs may need its permissions: such a
//! directory is refused and not changed.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::privileges::user_name;
use rustix::fs::{Access as Wanted, OFlags, StatVfsMountFlags, access, statvfs};
use rustix::process::geteuid;
use tracing::warn;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It belongs to another user.
    #[error(
        "the directory {path} belongs to user `{owner}`, but the daemon runs as `{user}`; \
         stop other daemons that use it, then: chown -R {user}: {path}"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: String,
        /// The daemon's user.
        user: String,
    },
    /// A file, or a link to one.
    #[error("{path} is not a directory; give the path of a directory (a missing one is created)")]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Other users can enter it, and other programs have files in it.
    #[error(
        "the directory {path} is open to other users (mode {mode:o}) and contains `{entry}`, which is \
         not the daemon's; write the path of a directory that only the daemon uses, or, if no \
         other program uses this one: chmod {closed:o} {path}"
    )]
    Shared {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
        /// A name in it that the daemon does not know.
        entry: String,
        /// The necessary mode.
        closed: u32,
    },
    /// Every user can create files in it, and some have, as in `/tmp`.
    #[error(
        "every user may create files in the directory {path} (mode {mode:o}); write the path of a \
         directory that only the daemon uses"
    )]
    Public {
        /// The directory.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// The system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// The failed action, as a verb.
        doing: &'static str,
        /// The path.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// The permissions of others in a directory of the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectoryAccess {
    /// None.
    Owner,
    /// Its group may read.
    GroupReads,
}

/// The names of the daemon's files in one of its directories.
pub type IsPart = fn(&OsStr) -> bool;

/// An entry of the root of every ext4 file system.
const LOST_AND_FOUND: &str = "lost+found";

impl DirectoryAccess {
    /// The permissions to remove.
    const fn refused(self) -> u32 {
        match self {
            Self::Owner => 0o077,
            Self::GroupReads => 0o027,
        }
    }
}

/// Ensures that an existing directory is ours and closed to others.
///
/// # Errors
///
/// It belongs to another user, is shared with other programs, or its permissions cannot be removed.
pub fn secure(path: &Path, access: DirectoryAccess, is_part: IsPart) -> Result<(), DirectoryError> {
    let io = |doing| failed(doing, path);
    // One object is checked and changed, even if its name changes in the meantime.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(OFlags::DIRECTORY.bits().cast_signed());
    let user = geteuid().as_raw();
    let directory = options.open(path).map_err(|error| match fs::metadata(path) {
        // A directory of another user may not even be opened.
        Ok(metadata) if metadata.uid() != user => foreign(path, metadata.uid(), user),
        _ if error.kind() == io::ErrorKind::NotADirectory => not_a_directory(path),
        _ => io("open")(error),
    })?;
    let metadata = directory.metadata().map_err(io("examine"))?;
    if metadata.uid() != user {
        return Err(foreign(path, metadata.uid(), user));
    }
    is_unshared(path, &metadata, access, is_part)?;
    tighten(&directory, &metadata, path, access).map_err(io("close to others"))
}

/// Could the daemon use this directory with `user` as its owner? Changes nothing. Without a user,
/// the owner does not matter: a unit may start the daemon as the owner.
///
/// # Errors
///
/// As for [`secure`]; or it does not exist and cannot be created.
pub fn examine(
    path: &Path,
    user: Option<u32>,
    access_of_others: DirectoryAccess,
    is_part: IsPart,
) -> Result<(), DirectoryError> {
    let Some(metadata) = find(path)? else { return Ok(()) };
    let is_given = geteuid().is_root() && metadata.uid() == 0 && metadata.mode() & 0o022 == 0;
    if let Some(user) = user.filter(|&user| user != metadata.uid())
        && !(is_given && foreign_entry(path, is_part)?.is_none())
    {
        return Err(foreign(path, metadata.uid(), user));
    }
    is_unshared(path, &metadata, access_of_others, is_part)
}

/// The owner of a directory, if it is neither root nor the user of the shipped unit.
pub fn foreign_owner(path: &Path) -> Option<String> {
    /// The users that systemd creates for units with `DynamicUser=`.
    const DYNAMIC: std::ops::RangeInclusive<u32> = 61184..=65519;
    /// `User=` of deploy/relay.service.
    const OF_UNIT: &str = "relay";
    let owner = fs::metadata(path).ok()?.uid();
    let name = user_name(owner);
    (owner != 0 && !DYNAMIC.contains(&owner) && name != OF_UNIT).then_some(name)
}

/// The directory, if it exists; or `None` if it can be created.
///
/// # Errors
///
/// It is on a read-only file system, or cannot be created.
pub fn find(path: &Path) -> Result<Option<fs::Metadata>, DirectoryError> {
    let existing = path.ancestors().find(|path| path.symlink_metadata().is_ok());
    // A relative path of one component is in the working directory.
    let existing = existing.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let metadata = fs::metadata(existing).map_err(failed("examine", existing))?;
    if !metadata.is_dir() {
        return Err(not_a_directory(existing));
    }
    let system = statvfs(existing).map_err(failed("examine", existing))?;
    if system.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return Err(failed("write to", existing)(io::ErrorKind::ReadOnlyFilesystem));
    }
    if existing == path {
        return Ok(Some(metadata));
    }
    // Root creates it for the daemon's user.
    access(existing, Wanted::WRITE_OK | Wanted::EXEC_OK)
        .map_err(failed("create a directory in", existing))?;
    Ok(None)
}

/// Checks that a directory whose permissions must be removed contains no foreign files.
fn is_unshared(
    path: &Path,
    metadata: &fs::Metadata,
    access: DirectoryAccess,
    is_part: IsPart,
) -> Result<(), DirectoryError> {
    let mode = metadata.mode() & 0o7777;
    if mode & access.refused() == 0 {
        return Ok(());
    }
    let path_buf = || path.to_owned();
    match foreign_entry(path, is_part)? {
        None => Ok(()),
        Some(_) if mode & 0o1002 == 0o1002 => {
            Err(DirectoryError::Public { path: path_buf(), mode })
        }
        Some(entry) => {
            let closed = mode & !access.refused();
            Err(DirectoryError::Shared { path: path_buf(), mode, entry, closed })
        }
    }
}

/// A name in the directory that is not the daemon's.
fn foreign_entry(path: &Path, is_part: IsPart) -> Result<Option<String>, DirectoryError> {
    for entry in fs::read_dir(path).map_err(failed("read", path))? {
        let name = entry.map_err(failed("read", path))?.file_name();
        if name != LOST_AND_FOUND && !is_part(&name) {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn failed<E: Into<io::Error>>(
    doing: &'static str,
    path: &Path,
) -> impl FnOnce(E) -> DirectoryError + use<E> {
    let path = path.to_owned();
    move |error| DirectoryError::Io { doing, path, source: error.into() }
}

fn not_a_directory(path: &Path) -> DirectoryError {
    DirectoryError::NotADirectory { path: path.to_owned() }
}

fn foreign(path: &Path, owner: u32, user: u32) -> DirectoryError {
    let (owner, user) = (user_name(owner), user_name(user));
    DirectoryError::Foreign { path: path.to_owned(), owner, user }
}

/// Removes the permissions of others from a file of ours, if it exists.
///
/// # Errors
///
/// It cannot be changed.
pub fn secure_file(path: &Path) -> Result<(), DirectoryError> {
    let io = |doing| {
        let path = path.to_owned();
        move |source| DirectoryError::Io { doing, path, source }
    };
    // Not opened: when it is closed, the system would release the locks that SQLite has on it.
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("examine")(error)),
    };
    let refused = metadata.mode() & DirectoryAccess::Owner.refused();
    if !metadata.is_file() || refused == 0 {
        return Ok(());
    }
    let mode = metadata.mode() & 0o7777 & !refused;
    fs::set_permissions(path, Permissions::from_mode(mode)).map_err(io("close to others"))?;
    warn!(
        path = %path.display(),
        was = format_args!("{:o}", metadata.mode() & 0o7777),
        "other users could read or write this file; it is closed to them now"
    );
    Ok(())
}

fn tighten(
    file: &File,
    metadata: &fs::Metadata,
    path: &Path,
    access: DirectoryAccess,
) -> io::Result<()> {
    let refused = metadata.mode() & access.refused();
    if refused == 0 {
        return Ok(());
    }
    let mode = metadata.mode() & 0o7777 & !refused;
    file.set_permissions(Permissions::from_mode(mode))?;
    warn!(
        path = %path.display(),
        was = format_args!("{:o}", metadata.mode() & 0o7777),
        now = format_args!("{mode:o}"),
        "other users could enter this directory; it is closed to them now"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::privileges::directory::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn permissions_of_others_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (before, access, after) in [
            (0o755, DirectoryAccess::Owner, 0o700),
            (0o770, DirectoryAccess::Owner, 0o700),
            (0o700, DirectoryAccess::Owner, 0o700),
            (0o755, DirectoryAccess::GroupReads, 0o750),
            (0o777, DirectoryAccess::GroupReads, 0o750),
        ] {
            fs::set_permissions(path, Permissions::from_mode(before)).unwrap();
            secure(path, access, |_| false).unwrap();
            assert_eq!(mode(path), after, "{before:o} {access:?}");
        }
        let file = path.join("queue.db");
        secure_file(&file).unwrap();
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
        secure_file(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
    }

    /// Directories that other programs use, and paths that are not directories.
    #[test]
    fn shared_directories_are_refused_and_unchanged() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let user = Some(geteuid().as_raw());
        let is_part: IsPart = |name| name == "queue.db";
        let refused = |path: &Path| {
            let (first, second) = (
                examine(path, user, DirectoryAccess::Owner, is_part).unwrap_err().to_string(),
                secure(path, DirectoryAccess::Owner, is_part).unwrap_err().to_string(),
            );
            assert_eq!(first, second);
            first
        };
        let set = |mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        fs::write(path.join("queue.db"), "x").unwrap();
        fs::create_dir(path.join(LOST_AND_FOUND)).unwrap();
        for mode in [0o755, 0o1777] {
            set(mode);
            examine(path, user, DirectoryAccess::Owner, is_part).unwrap();
        }
        fs::write(path.join("syslog"), "x").unwrap();
        assert!(refused(path).contains("every user"));
        set(0o755);
        let said = refused(path);
        assert!(said.contains("`syslog`") && said.contains("chmod 700"), "{said}");
        assert_eq!(mode(path), 0o755);
        let file = path.join("syslog");
        let before = mode(&file);
        assert!(refused(&file).contains("not a directory"));
        assert_eq!(mode(&file), before);
        // A closed directory stays as its owner configured it.
        set(0o700);
        secure(path, DirectoryAccess::Owner, is_part).unwrap();

        examine(&path.join("a/b/c"), user, DirectoryAccess::Owner, is_part).unwrap();
        let below_a_file =
            examine(&file.join("queue"), user, DirectoryAccess::Owner, is_part).unwrap_err();
        assert!(matches!(below_a_file, DirectoryError::NotADirectory { .. }));
    }

    #[test]
    fn a_directory_of_another_user_is_refused() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(65534), None).unwrap();
        let examine = |user| examine(directory.path(), user, DirectoryAccess::Owner, |_| true);
        assert!(matches!(examine(Some(0)), Err(DirectoryError::Foreign { .. })));
        assert!(examine(Some(65534)).is_ok() && examine(None).is_ok());
        let error = secure(directory.path(), DirectoryAccess::Owner, |_| true).unwrap_err();
        assert!(error.to_string().contains("chown -R"), "{error}");
    }
}
