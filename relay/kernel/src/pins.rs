//! Pins programs and maps in one directory of bpffs, for inspection by path.
//!
//! The directory is locked while the instance lives, so a second instance cannot use it. After a
//! crash, the next instance gets the lock and removes the stale pins. Programs are never loaded
//! from pins.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown,
};
use std::path::{Path, PathBuf};

use crate::limits::PIN_CLAIM_TRIES;
use crate::{GUARD, KernelError, TAGGER};
use aya::Ebpf;
use aya::pin::PinError;
use rustix::fs::{AtFlags, Dir, FlockOperation, FsWord, flock, statfs, unlinkat};
use rustix::mount::{MountFlags, mount};
use rustix::process::geteuid;

/// statfs(2): the type of bpffs.
const BPF_FS_MAGIC: FsWord = 0xcafe_4a11;

/// The claimed directory. Dropping it removes the pins and the directory.
pub(super) struct Pins {
    directory: PathBuf,
    lock: File,
}

impl Pins {
    /// Claims the directory: mounts bpffs if necessary, locks, and removes stale pins.
    ///
    /// Only a directory of root or of our user is trusted, and only if other users cannot replace
    /// it: in a bpffs that every user can write to, another user could create and lock it first.
    pub(super) fn claim(directory: &Path, owner: Option<u32>) -> Result<Self, KernelError> {
        ensure_bpffs(directory)?;
        for _ in 0..PIN_CLAIM_TRIES {
            make(directory, owner)?;
            let lock = open(directory, owner)?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(KernelError::PinDirectoryInUse(directory.to_owned()));
            }
            // An ending instance may have removed it between our open and our lock.
            let ours = lock.metadata().map(|data| (data.dev(), data.ino())).ok();
            let there = fs::symlink_metadata(directory).map(|data| (data.dev(), data.ino())).ok();
            if ours.is_none() || ours != there {
                continue;
            }
            let pins = Self { directory: directory.to_owned(), lock };
            let stale = pins.clear().map_err(KernelError::io(format!(
                "cannot remove the pins of a dead instance in {}",
                directory.display()
            )))?;
            if stale > 0 {
                tracing::info!(
                    directory = %directory.display(),
                    pins = stale,
                    "removed the pins of an instance that died"
                );
            }
            return Ok(pins);
        }
        Err(KernelError::PinDirectoryInUse(directory.to_owned()))
    }

    /// Changes the owner of the directory and the pins to the daemon's user, who removes them at
    /// the end.
    pub(super) fn give_to(&self, user: u32) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            lchown(entry?.path(), Some(user), None)?;
        }
        fchown(&self.lock, Some(user), None)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Pins every map with a name of ours, and the two programs.
    pub(super) fn pin_all(&self, ebpf: &mut Ebpf) -> Result<(), KernelError> {
        // The compiler's own sections begin with a dot, which bpffs does not accept.
        for (name, map) in ebpf.maps().filter(|(name, _)| !name.starts_with('.')) {
            map.pin(self.directory.join(name)).map_err(|error| self.failed(name, error))?;
        }
        for (name, program) in
            ebpf.programs_mut().filter(|(name, _)| [TAGGER, GUARD].contains(name))
        {
            program.pin(self.directory.join(name)).map_err(|error| self.failed(name, error))?;
        }
        Ok(())
    }

    fn failed(&self, name: &str, error: PinError) -> KernelError {
        KernelError::Io {
            what: format!("cannot pin {}", self.directory.join(name).display()),
            source: io::Error::other(error),
        }
    }

    /// Removes all pins by the descriptor of the directory: the daemon's user may have no way to the
    /// directory by its path, because systemd mounts bpffs for root only.
    fn clear(&self) -> io::Result<usize> {
        let mut removed = 0;
        for entry in Dir::read_from(&self.lock)? {
            let entry = entry?;
            let name = entry.file_name();
            if name != c"." && name != c".." {
                unlinkat(&self.lock, name, AtFlags::empty())?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // If this fails, stale pins remain, which the next instance removes.
        let _ = self.clear();
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Creates the directory and those above it, for our user only.
fn make(directory: &Path, owner: Option<u32>) -> Result<(), KernelError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(KernelError::io(format!("cannot create {}", directory.display())))?;
    for above in directory.ancestors().skip(1).take_while(|above| is_bpffs(above)) {
        let metadata = fs::symlink_metadata(above)
            .map_err(KernelError::io(format!("cannot examine {}", above.display())))?;
        let is_shared = metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0;
        if !is_believed(&metadata, owner) || is_shared {
            return Err(KernelError::pins_foreign(above, &metadata));
        }
    }
    Ok(())
}

/// Opens the directory, and removes the permissions of others.
fn open(directory: &Path, owner: Option<u32>) -> Result<File, KernelError> {
    let failed = |doing| KernelError::io(format!("cannot {doing} {}", directory.display()));
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(directory);
    let opened = match opened {
        // A directory of another user cannot be opened, or the path is no directory.
        Err(error) => match fs::symlink_metadata(directory) {
            Ok(metadata) if !is_believed(&metadata, owner) || !metadata.is_dir() => {
                return Err(KernelError::pins_foreign(directory, &metadata));
            }
            _ => return Err(failed("open")(error)),
        },
        Ok(opened) => opened,
    };
    let metadata = opened.metadata().map_err(failed("examine"))?;
    if !is_believed(&metadata, owner) {
        return Err(KernelError::pins_foreign(directory, &metadata));
    }
    if metadata.mode() & 0o077 != 0 {
        // A daemon that is not root may leave root's directory as it is: its content is not
        // trusted.
        let closed = opened.set_permissions(Permissions::from_mode(0o700));
        closed.map_err(failed("close to others"))?;
        tracing::warn!(
            directory = %directory.display(),
            was = format_args!("{:o}", metadata.mode() & 0o7777),
            "other users could enter the pin directory; it is closed to them now"
        );
    }
    Ok(opened)
}

/// Does it belong to root, to our user, or to the daemon's later user?
fn is_believed(metadata: &fs::Metadata, owner: Option<u32>) -> bool {
    let is = metadata.uid();
    is == 0 || is == geteuid().as_raw() || Some(is) == owner
}

/// Ensures that the directory is, or will be, inside a bpffs. If the file system is not mounted in
/// its usual directory, as in a new mount namespace, it is mounted there.
fn ensure_bpffs(directory: &Path) -> Result<(), KernelError> {
    const USUAL: &str = "/sys/fs/bpf";
    if is_bpffs(directory) {
        return Ok(());
    }
    if directory.starts_with(USUAL) && !is_bpffs(Path::new(USUAL)) {
        mount("bpf", USUAL, c"bpf", MountFlags::empty(), c"mode=0700").map_err(|error| {
            KernelError::io(format!("cannot mount bpffs at {USUAL}"))(error.into())
        })?;
        tracing::info!("mounted bpffs at {USUAL}");
    }
    if is_bpffs(directory) {
        return Ok(());
    }
    Err(KernelError::Io {
        what: format!(
            "{} is not in a bpffs; set `pin_directory` to a path in a bpffs",
            directory.display()
        ),
        source: io::Error::from(io::ErrorKind::InvalidInput),
    })
}

/// Is the path, or the nearest ancestor that exists, on a bpffs?
fn is_bpffs(path: &Path) -> bool {
    path.ancestors()
        .find(|ancestor| ancestor.exists())
        .and_then(|ancestor| statfs(ancestor).ok())
        .is_some_and(|file_system| file_system.f_type == BPF_FS_MAGIC)
}
