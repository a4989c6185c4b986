//! Programs and maps under one directory in bpffs, for inspection by path.
//!
//! The directory is locked as long as the instance lives, so a second instance cannot take it,
//! and what a dead one left is known to be stale: whoever gets the lock removes it. Nothing is
//! ever loaded from a pin.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::Ebpf;
use aya::pin::PinError;
use rustix::fs::{FlockOperation, FsWord, flock, statfs};
use rustix::mount::{MountFlags, mount};

use super::{GUARD, KernelError, TAGGER};
use crate::limits::PIN_CLAIM_TRIES;

/// statfs(2): the type of bpffs.
const BPF_FS_MAGIC: FsWord = 0xcafe_4a11;

/// The claimed directory. Dropping it removes the pins and the directory.
pub(super) struct Pins {
    directory: PathBuf,
    _lock: File,
}

impl Pins {
    /// Claims the directory: mounts bpffs where it is not, locks, and removes stale pins.
    pub(super) fn claim(directory: &Path) -> Result<Self, KernelError> {
        ensure_bpffs(directory)?;
        for _ in 0..PIN_CLAIM_TRIES {
            fs::create_dir_all(directory)
                .map_err(KernelError::io(format!("cannot create {}", directory.display())))?;
            let lock = File::open(directory)
                .map_err(KernelError::io(format!("cannot open {}", directory.display())))?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                return Err(KernelError::PinDirectoryInUse(directory.to_owned()));
            }
            // An instance that was ending may have removed it between our opening and locking.
            let ours = lock.metadata().map(|data| (data.dev(), data.ino())).ok();
            let there = fs::metadata(directory).map(|data| (data.dev(), data.ino())).ok();
            if ours.is_none() || ours != there {
                continue;
            }
            let pins = Self { directory: directory.to_owned(), _lock: lock };
            let stale = pins.clear().map_err(KernelError::io(format!(
                "cannot remove what a dead instance left in {}",
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

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Pins every map that has a name of ours, and the two programs.
    pub(super) fn pin_all(&self, ebpf: &mut Ebpf) -> Result<(), KernelError> {
        // The compiler's own sections begin with a dot, which bpffs does not take.
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

    fn clear(&self) -> io::Result<usize> {
        let mut removed = 0;
        for entry in fs::read_dir(&self.directory)? {
            fs::remove_file(entry?.path())?;
            removed += 1;
        }
        Ok(removed)
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // A failure leaves stale pins, which the next instance removes.
        let _ = self.clear();
        let _ = fs::remove_dir(&self.directory);
    }
}

/// Makes sure that the directory is, or will be, inside a bpffs. Where the file system is not
/// mounted at its usual place, as in a fresh mount namespace, it is mounted there.
fn ensure_bpffs(directory: &Path) -> Result<(), KernelError> {
    const USUAL: &str = "/sys/fs/bpf";
    if is_bpffs(directory) {
        return Ok(());
    }
    if directory.starts_with(USUAL) && !is_bpffs(Path::new(USUAL)) {
        mount("bpf", USUAL, c"bpf", MountFlags::empty(), None).map_err(|error| {
            KernelError::io(format!("cannot mount bpffs at {USUAL}"))(error.into())
        })?;
        tracing::info!("mounted bpffs at {USUAL}");
    }
    if is_bpffs(directory) {
        return Ok(());
    }
    Err(KernelError::Io {
        what: format!(
            "{} is not in a bpffs; choose a `pin_directory` that is",
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
