//! The kernel half, as the daemon uses it. Only this module uses aya.
//!
//! The module loads and attaches the programs, publishes generations to their maps, and reads tags
//! and counters. [`relay_policy::Rules`] decides the content of a generation, and
//! [`crate::classifier`] decides about connections without a tag.
//!
//! Loading is a transaction: programs are loaded, pinned and attached, a self-test shows that tags
//! arrive, and after any failure dropping the half-built value undoes all steps. Links are not
//! pinned, so the kernel detaches the programs at any end of the daemon.

mod buckets;
mod cgroup;
pub mod classifier;
mod counters;
mod guard;
pub mod limits;
mod links;
mod log;
mod permission;
mod pins;
mod publisher;
mod self_test;
mod state;
mod tags;
#[cfg(feature = "testing")]
pub mod testing;
mod verifier;

use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapError};
use aya::programs::links::CgroupAttachMode;
use aya::programs::{ProgramError, SockOps, Xdp};
use aya::{Ebpf, EbpfLoader};

pub use buckets::BucketReader;
pub use counters::CounterReader;
pub use guard::{GuardMode, GuardState, GuardedInterface};
pub use log::KernelLog;
pub use permission::NotPermitted;
pub use publisher::{Publication, Publisher};
pub use self_test::SelfTest;
pub use tags::TagReader;

use guard::Guards;
use pins::Pins;
use relay_host::privileges::user_name;

/// The object that `build.rs` embedded; empty if the daemon was built without it.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kernel-half"));

/// The programs, by the names of their functions in relay-ebpf.
const TAGGER: &str = "tagger";
const GUARD: &str = "guard";

/// Was the kernel half embedded when this binary was built?
pub const fn is_built_in() -> bool {
    !OBJECT.is_empty()
}

/// Why the kernel half is not in use, and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The programs could not be attached to the control group.
    #[error("cannot attach the tagger to the control group {path}: {source}")]
    AttachTagger {
        /// The root of the cgroup v2 hierarchy.
        path: PathBuf,
        /// The error of the kernel.
        source: ProgramError,
    },
    /// No cgroup v2 hierarchy is mounted.
    #[error(
        "no cgroup v2 hierarchy is mounted, but the tagger needs its root; boot with \
         systemd.unified_cgroup_hierarchy=1, or mount one beside version 1: \
         mount --mkdir -t cgroup2 none /sys/fs/cgroup/unified"
    )]
    CgroupMissing,
    /// `classifier.mode` is `kernel`, and an existing interface does not have the guard.
    #[error("cannot attach the guard to interface {interface}: {why}")]
    Guard {
        /// The name in `classifier.interfaces`.
        interface: String,
        /// The error of the kernel.
        why: String,
    },
    /// An operating system call failed.
    #[error("{what}: {source}")]
    Io {
        /// The failed action.
        what: String,
        /// The error of the system.
        source: io::Error,
    },
    /// The object could not be loaded.
    #[error("cannot load the kernel half: {0}")]
    Load(String),
    /// A map refused an operation.
    #[error("map {map}: {source}")]
    Map {
        /// The map's name.
        map: &'static str,
        /// The error of the kernel.
        source: MapError,
    },
    /// The object lacks a part: it was built from other sources.
    #[error("the embedded kernel half has no {0}; build again with `cargo xtask build`")]
    Missing(&'static str),
    /// The binary was built without the kernel half.
    #[error("this binary was built without the kernel half; build it with `cargo xtask build`")]
    NotBuiltIn,
    /// This process may not load programs.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// Another process uses our pin directory.
    #[error(
        "{0} belongs to another running instance; set `pin_directory` in [classifier] to another directory"
    )]
    PinDirectoryInUse(PathBuf),
    /// The pin directory, or a directory above it, belongs to another user.
    #[error(
        "the pin directory {path} is not trusted: it belongs to user `{owner}` and has mode {mode:o}; \
         remove it, or set `pin_directory` in [classifier] to a path in a directory of root"
    )]
    PinDirectoryForeign {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: String,
        /// Its permissions.
        mode: u32,
    },
    /// The verifier or the kernel refused a program.
    #[error("cannot load the program {program}: {reason}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// The kernel's error, in one sentence; the verifier's log is in ours at `debug`.
        reason: String,
    },
    /// Tags do not arrive.
    #[error("the self-test failed: {0}")]
    SelfTest(String),
    /// The kernel lacks features that the programs need.
    #[error(
        "Linux {release} is too old for the kernel half, which needs Linux 5.18 or later \
         (tested with 6.1 and later): {reason}"
    )]
    TooOld {
        /// `uname -r`.
        release: String,
        /// The failed action.
        reason: String,
    },
}

impl KernelError {
    fn program(program: &'static str, error: &ProgramError) -> Self {
        Self::Program { program, reason: verifier::reason(program, error) }
    }

    /// If the kernel is too old, that is the reason, regardless of the first error.
    fn or_too_old(self) -> Self {
        match (self, verifier::too_old()) {
            (
                error @ (Self::AttachTagger { .. }
                | Self::Io { .. }
                | Self::Load(_)
                | Self::Map { .. }
                | Self::Program { .. }
                | Self::SelfTest(_)),
                Some(release),
            ) => Self::TooOld { release, reason: error.to_string() },
            (error, _) => error,
        }
    }

    /// Adds the failed action to the error of a system call.
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }

    fn pins_foreign(path: &Path, metadata: &std::fs::Metadata) -> Self {
        let (owner, mode) = (user_name(metadata.uid()), metadata.mode() & 0o7777);
        Self::PinDirectoryForeign { path: path.to_owned(), owner, mode }
    }

    fn map(map: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map { map, source }
    }
}

/// The settings of the kernel half.
#[derive(Clone, Debug)]
pub struct KernelSettings {
    /// The interfaces of the guard; may be empty.
    pub interfaces: Vec<String>,
    /// The directory of the pins of programs and maps, for inspection.
    pub pin_directory: PathBuf,
    /// The daemon's user, whose earlier pins may exist.
    pub pin_owner: Option<u32>,
}

/// The loaded and attached kernel half.
pub struct KernelHalf {
    /// Publishes generations.
    pub publisher: Publisher,
    /// Reads the tags of accepted sockets.
    pub tags: TagReader,
    /// Reads the programs' counters.
    pub counters: CounterReader,
    /// Reads the state of SYN budgets.
    pub buckets: BucketReader,
    /// The result of the self-test.
    pub self_test: SelfTest,
    /// The control group that the tagger is attached to.
    pub cgroup: PathBuf,
    /// The directory of the pinned maps; or why they are not pinned, which only prevents inspection
    /// by path.
    pub pins: Result<PathBuf, KernelError>,
    /// The programs' own log, in a debugging build of them.
    pub log: Option<KernelLog>,
    /// The programs, which the other fields need.
    pub programs: Programs,
}

/// The loaded programs, their links and their pins. Dropping it detaches the programs and removes
/// the pins; readers and publisher keep their maps, which no program fills any longer.
pub struct Programs {
    // Dropped first, so that the guard never sees a frame without its tables.
    guards: Guards,
    ebpf: Ebpf,
    pins: Option<Pins>,
}

/// Why this process on this host cannot use the kernel half, as far as this can be found without
/// loading.
pub fn obstacle() -> Option<KernelError> {
    if !is_built_in() {
        return Some(KernelError::NotBuiltIn);
    }
    if let Some(reason) = permission::obstacle() {
        return Some(reason.into());
    }
    cgroup::root().err()
}

/// Those of these interfaces that the host does not have now. An interface whose state cannot be
/// read is not listed.
pub fn absent_interfaces(names: &[String]) -> Vec<String> {
    let Ok(mut links) = links::Links::new() else { return Vec::new() };
    let mut absent = names.to_vec();
    absent.retain(|name| matches!(links.find(name), Ok(None)));
    absent
}

impl KernelHalf {
    /// Loads, pins and attaches the programs, and tests with its own loopback connections that tags
    /// arrive. Needs the capabilities `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN`, and
    /// `CAP_SYS_ADMIN` if bpffs must be mounted first. The self-test uses the first generation. An
    /// interface without the guard is no failure: [`Programs::interfaces`] reports it, and
    /// [`Programs::check_interfaces`] tries again.
    ///
    /// # Errors
    ///
    /// As [`KernelError`] lists them; all steps are undone.
    pub fn load(settings: &KernelSettings, generation: u32) -> Result<Self, KernelError> {
        if let Some(obstacle) = obstacle() {
            return Err(obstacle);
        }
        Self::load_permitted(settings, generation).map_err(KernelError::or_too_old)
    }

    fn load_permitted(settings: &KernelSettings, generation: u32) -> Result<Self, KernelError> {
        // Before anything is loaded, so that a second instance does not touch the pins of the first
        // one and gets this error.
        let pins = match Pins::claim(&settings.pin_directory, settings.pin_owner) {
            Err(error @ KernelError::PinDirectoryInUse(_)) => return Err(error),
            other => other,
        };
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .map_err(|error| KernelError::Load(verifier::reason_of_object(&error)))?;
        let log = KernelLog::new(&mut ebpf);
        load_programs(&mut ebpf)?;
        // Pins are for inspection: the rest works without them.
        let pins = pins.and_then(|pins| pins.pin_all(&mut ebpf).map(|()| pins));
        let (pins, pinned) = match pins {
            Ok(pins) => {
                let directory = pins.directory().to_owned();
                (Some(pins), Ok(directory))
            }
            Err(error) => (None, Err(error)),
        };
        let mut publisher = Publisher::new(&mut ebpf)?;
        let tags = TagReader::new(&mut ebpf)?;
        let counters = CounterReader::new(&mut ebpf)?;
        let buckets = BucketReader::new(&mut ebpf)?;
        let cgroup = cgroup::root()?;
        attach_tagger(&mut ebpf, &cgroup)?;
        let self_test = SelfTest::run(&mut publisher, &tags, generation)?;
        let guards = Guards::begin(program::<Xdp>(&mut ebpf, GUARD)?, &settings.interfaces)?;
        Ok(Self {
            publisher,
            tags,
            counters,
            buckets,
            self_test,
            cgroup,
            pins: pinned,
            log,
            programs: Programs { guards, ebpf, pins },
        })
    }
}

impl Programs {
    /// The kernel's state of the guard on all interfaces now.
    pub fn interfaces(&mut self) -> Vec<GuardedInterface> {
        self.guards.observe()
    }

    /// Attaches the guard to configured interfaces without it: to new interfaces, and to those
    /// whose MTU has changed. Logs changes. Blocks as long as a driver needs.
    ///
    /// # Errors
    ///
    /// The object does not contain the guard.
    pub fn check_interfaces(&mut self) -> Result<(), KernelError> {
        self.guards.look(program::<Xdp>(&mut self.ebpf, GUARD)?);
        Ok(())
    }

    /// Changes the owner of the pins to the daemon's user.
    ///
    /// # Errors
    ///
    /// The system refused: the pins cannot be removed at the end.
    pub fn change_owner_of_pins(&self, user: u32) -> io::Result<()> {
        self.pins.as_ref().map_or(Ok(()), |pins| pins.give_to(user))
    }
}

/// Attached at the root, to cover listeners of every control group: listeners of another process,
/// as in socket activation, are in the group of that process, and an accepted socket is in the
/// group of its listener. A link can be attached beside other programs without a flag.
fn attach_tagger(ebpf: &mut Ebpf, cgroup: &Path) -> Result<(), KernelError> {
    let group = std::fs::File::open(cgroup)
        .map_err(KernelError::io(format!("cannot open {}", cgroup.display())))?;
    program::<SockOps>(ebpf, TAGGER)?
        .attach(group.as_fd(), CgroupAttachMode::Single)
        .map_err(|source| KernelError::AttachTagger { path: cgroup.to_owned(), source })?;
    Ok(())
}

fn load_programs(ebpf: &mut Ebpf) -> Result<(), KernelError> {
    let failed = |name| move |error: ProgramError| KernelError::program(name, &error);
    program::<SockOps>(ebpf, TAGGER)?.load().map_err(failed(TAGGER))?;
    program::<Xdp>(ebpf, GUARD)?.load().map_err(failed(GUARD))
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::Missing(name))
}

/// Gets a map by name, with the type of its definition in relay-ebpf.
fn take_as<M>(ebpf: &mut Ebpf, name: &'static str) -> Result<M, KernelError>
where
    M: TryFrom<Map, Error = MapError>,
{
    take(ebpf, name)?.try_into().map_err(KernelError::map(name))
}

fn program<'a, P>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut P, KernelError>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
{
    ebpf.program_mut(name)
        .ok_or(KernelError::Missing(name))?
        .try_into()
        .map_err(|error: ProgramError| KernelError::program(name, &error))
}
