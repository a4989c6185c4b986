//! Replaces a configuration file: as a whole, with a backup of the file that was there.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Why a file was not written. The file that was there is unchanged.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}")]
pub struct OutputError {
    path: PathBuf,
    source: io::Error,
}

/// Mode of a new file: no secrets are in it, and the daemon's user must read it.
const NEW_FILE_MODE: u32 = 0o644;

/// Writes `text` to `path`. If a file was there, it is copied first; returns the path of the copy.
/// A link stays a link: its target is replaced.
///
/// # Errors
/// A file cannot be written.
pub fn replace(path: &Path, text: &str) -> Result<Option<PathBuf>, OutputError> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |source| OutputError { path: path.to_owned(), source };
    let before = match fs::metadata(&target) {
        Ok(before) => Some(before),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(failed(error)),
    };
    let backup = match &before {
        Some(_) => Some(back_up(&target).map_err(failed)?),
        None => None,
    };
    let beside = with_suffix(&target, ".new");
    let written = (|| {
        let mut file = create(&beside, NEW_FILE_MODE)?;
        if let Some(before) = &before {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
            file.set_permissions(Permissions::from_mode(before.mode() & 0o777))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, &target)?;
        sync_directory(&target)
    })();
    if let Err(error) = written {
        // The error that counts is the first one.
        let _ = fs::remove_file(&beside);
        return Err(failed(error));
    }
    Ok(backup)
}

/// Copies the file to the first free name of `FILE.before-import`, `FILE.before-import.1`, …: an
/// earlier backup is never overwritten.
fn back_up(path: &Path) -> io::Result<PathBuf> {
    let mode = fs::metadata(path)?.mode() & 0o777;
    let mut number = 0_u32;
    loop {
        let suffix = match number {
            0 => ".before-import".to_owned(),
            number => format!(".before-import.{number}"),
        };
        let backup = with_suffix(path, &suffix);
        match create(&backup, mode) {
            Ok(mut file) => {
                io::copy(&mut File::open(path)?, &mut file)?;
                file.sync_all()?;
                return Ok(backup);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(error),
        }
    }
}

fn create(path: &Path, mode: u32) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}
