//! Is a directory ours alone?
//!
//! Mail, its envelopes and the record of what became of it are kept in directories. One that
//! belongs to another user is refused, since that user decides what is in it. One that others may
//! enter is tightened, and so are files in it that others may read: both are told in the log.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::process::geteuid;
use tracing::warn;

use super::user_name;

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Another user's.
    #[error(
        "the directory {path} belongs to user `{owner}`, and the daemon runs as `{user}`; \
         stop other daemons that use it, then: chown -R {user}: {path}"
    )]
    Foreign {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who we are.
        user: String,
    },
    /// The system refused.
    #[error("cannot {doing} {path}: {source}")]
    Io {
        /// What was being done, as a verb.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What others are allowed in a directory of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing at all.
    Owner,
    /// Its group may read.
    GroupReads,
}

impl Access {
    /// The permissions that are taken away.
    const fn refused(self) -> u32 {
        match self {
            Self::Owner => 0o077,
            Self::GroupReads => 0o027,
        }
    }
}

/// Makes sure that a directory that exists is ours and closed to others.
///
/// # Errors
///
/// It belongs to another user, or cannot be tightened.
pub fn secure(path: &Path, access: Access) -> Result<(), DirectoryError> {
    let io = |doing| {
        let path = path.to_owned();
        move |source| DirectoryError::Io { doing, path, source }
    };
    // One object is examined and changed, whatever happens to its name meanwhile.
    let directory = File::open(path).map_err(|error| match fs::metadata(path) {
        // Another user's may not even be opened.
        Ok(metadata) if !is_ours(&metadata) => foreign(path, &metadata),
        _ => io("open")(error),
    })?;
    let metadata = directory.metadata().map_err(io("examine"))?;
    if !is_ours(&metadata) {
        return Err(foreign(path, &metadata));
    }
    tighten(&directory, &metadata, path, access).map_err(io("close to others"))
}

fn is_ours(metadata: &fs::Metadata) -> bool {
    metadata.uid() == geteuid().as_raw()
}

fn foreign(path: &Path, metadata: &fs::Metadata) -> DirectoryError {
    let (owner, user) = (user_name(metadata.uid()), user_name(geteuid().as_raw()));
    DirectoryError::Foreign { path: path.to_owned(), owner, user }
}

/// Closes a file of ours to others, where it exists.
///
/// # Errors
///
/// It cannot be changed.
pub fn secure_file(path: &Path) -> Result<(), DirectoryError> {
    let io = |doing| {
        let path = path.to_owned();
        move |source| DirectoryError::Io { doing, path, source }
    };
    // Not opened: the system would drop the locks that SQLite has on it when it is closed.
    let metadata = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io("examine")(error)),
    };
    let refused = metadata.mode() & Access::Owner.refused();
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

fn tighten(file: &File, metadata: &fs::Metadata, path: &Path, access: Access) -> io::Result<()> {
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
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_others_may_enter_is_closed_as_far_as_it_must_be() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for (before, access, after) in [
            (0o755, Access::Owner, 0o700),
            (0o770, Access::Owner, 0o700),
            (0o700, Access::Owner, 0o700),
            (0o755, Access::GroupReads, 0o750),
            (0o777, Access::GroupReads, 0o750),
        ] {
            fs::set_permissions(path, Permissions::from_mode(before)).unwrap();
            secure(path, access).unwrap();
            assert_eq!(mode(path), after, "{before:o} {access:?}");
        }
        let file = path.join("queue.db");
        secure_file(&file).unwrap();
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o664)).unwrap();
        secure_file(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn what_belongs_to_another_user_is_refused() {
        if !geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(65534), None).unwrap();
        let error = secure(directory.path(), Access::Owner).unwrap_err();
        assert!(error.to_string().contains("chown -R"), "{error}");
    }
}
