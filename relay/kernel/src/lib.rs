//! The kernel half, from the daemon's side. Only this module knows aya.
//!
//! It loads and attaches the programs, publishes generations into their maps, and reads tags and
//! counters. What a generation holds is [`relay_policy::Rules`]' business, and which connector a
//! connection gets when there is no tag is [`crate::classifier`]'s.
//!
//! Loading is a transaction: programs are loaded, pinned and attached, a self-test shows that
//! tags arrive, and on any failure everything is undone by dropping it. Links are not pinned, so
//! the kernel detaches the programs when the daemon ends, however it ends.

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
mod test_run;
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
pub use test_run::{Judged, TestProgram};

use guard::Guards;
use pins::Pins;
use relay_host::privileges::user_name;

/// The object that `build.rs` embedded; empty when the daemon was built without.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/kernel-half"));

/// The programs, by the names of their functions in relay-ebpf.
const TAGGER: &str = "tagger";
const GUARD: &str = "guard";
const EMPTY: &str = "empty";

/// Was the kernel half embedded when this binary was built?
pub const fn is_built_in() -> bool {
    !OBJECT.is_empty()
}

/// Why the kernel half is not there, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The programs could not be attached to the control group.
    #[error("cannot attach the tagger to the control group {path}: {source}")]
    AttachTagger {
        /// The root of the cgroup v2 hierarchy.
        path: PathBuf,
        /// What the kernel said.
        source: ProgramError,
    },
    /// No cgroup v2 hierarchy is mounted.
    #[error(
        "no cgroup v2 hierarchy is mounted, and the tagger is attached to its root; boot with \
         systemd.unified_cgroup_hierarchy=1, or mount one beside version 1: \
         mount --mkdir -t cgroup2 none /sys/fs/cgroup/unified"
    )]
    CgroupMissing,
    /// `classifier.mode` is `kernel`, and the guard is not on an interface that exists.
    #[error("cannot attach the guard to interface {interface}: {why}")]
    Guard {
        /// As `classifier.interfaces` names it.
        interface: String,
        /// What the kernel said.
        why: String,
    },
    /// An operating system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What we were doing.
        what: String,
        /// What the system said.
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
        /// What the kernel said.
        source: MapError,
    },
    /// The object does not hold what it must: it was built from other sources.
    #[error("the embedded kernel half has no {0}; build again with `cargo xtask build`")]
    Missing(&'static str),
    /// The binary was built without the kernel half.
    #[error("this binary was built without the kernel half; build it with `cargo xtask build`")]
    NotBuiltIn,
    /// We may not load programs.
    #[error(transparent)]
    NotPermitted(#[from] NotPermitted),
    /// Another process has our pin directory.
    #[error(
        "{0} belongs to another running instance; set `pin_directory` in [classifier] to a directory of this one's own"
    )]
    PinDirectoryInUse(PathBuf),
    /// The pin directory, or one above it, is another user's.
    #[error(
        "the pin directory {path} is not believed: it belongs to user `{owner}` and has mode {mode:o}; \
         remove it, or set `pin_directory` in [classifier] to one in a directory of root's"
    )]
    PinDirectoryForeign {
        /// Which directory.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Its permissions.
        mode: u32,
    },
    /// The verifier or the kernel refused a program.
    #[error("cannot load the program {program}: {reason}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// What the kernel said, in a sentence; the verifier's log is in ours at `debug`.
        reason: String,
    },
    /// Tags do not arrive.
    #[error("the self-test failed: {0}")]
    SelfTest(String),
    /// The kernel lacks what the programs need.
    #[error(
        "Linux {release} is too old for the kernel half, which uses what came with Linux 5.18 \
         (6.1 and later were tried): {reason}"
    )]
    TooOld {
        /// `uname -r`.
        release: String,
        /// What failed.
        reason: String,
    },
}

impl KernelError {
    fn program(program: &'static str, error: &ProgramError) -> Self {
        Self::Program { program, reason: verifier::reason(program, error) }
    }

    /// On a kernel that is too old that is the reason, whatever failed first.
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

    /// Names what was being done when a system call failed.
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

/// What the kernel half is to do.
#[derive(Clone, Debug)]
pub struct KernelSettings {
    /// Where the guard attaches; empty: nowhere.
    pub interfaces: Vec<String>,
    /// Where programs and maps are pinned for inspection.
    pub pin_directory: PathBuf,
    /// The user that the daemon will become, who may have left pins.
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
    /// Reads what is left of SYN budgets.
    pub buckets: BucketReader,
    /// What the self-test saw.
    pub self_test: SelfTest,
    /// The control group that the tagger is attached to.
    pub cgroup: PathBuf,
    /// Where the maps are pinned; or why they are not, which costs inspection by path only.
    pub pins: Result<PathBuf, KernelError>,
    /// The programs' own log, in a debugging build of them.
    pub log: Option<KernelLog>,
    /// What keeps the rest alive.
    pub programs: Programs,
}

/// The loaded programs, their links and their pins. Dropping it detaches the programs and removes
/// the pins; readers and publisher go on with maps that nobody fills.
pub struct Programs {
    // Dropped first, so that no frame meets the guard without its tables.
    guards: Guards,
    ebpf: Ebpf,
    pins: Option<Pins>,
}

/// What keeps this process, on this host, from using the kernel half, as far as it shows before
/// anything is loaded.
pub fn obstacle() -> Option<KernelError> {
    if !is_built_in() {
        return Some(KernelError::NotBuiltIn);
    }
    if let Some(reason) = permission::obstacle() {
        return Some(reason.into());
    }
    cgroup::root().err()
}

/// Those of these interfaces that the host does not have now. One that cannot be asked about is not
/// listed.
pub fn absent_interfaces(names: &[String]) -> Vec<String> {
    let Ok(mut links) = links::Links::new() else { return Vec::new() };
    let mut absent = names.to_vec();
    absent.retain(|name| matches!(links.find(name), Ok(None)));
    absent
}

impl KernelHalf {
    /// Loads, pins, attaches, and proves with connections of its own over loopback that tags
    /// arrive. Takes the capabilities `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN`, and
    /// `CAP_SYS_ADMIN` where bpffs has to be mounted first. The self-test uses the first
    /// generation. An interface that the guard is not on is no failure: [`Programs::interfaces`]
    /// tells it, and [`Programs::look_at_interfaces`] tries again.
    ///
    /// # Errors
    ///
    /// As [`KernelError`] lists them; nothing stays behind.
    pub fn load(settings: &KernelSettings, generation: u32) -> Result<Self, KernelError> {
        if let Some(obstacle) = obstacle() {
            return Err(obstacle);
        }
        Self::load_permitted(settings, generation).map_err(KernelError::or_too_old)
    }

    fn load_permitted(settings: &KernelSettings, generation: u32) -> Result<Self, KernelError> {
        // Before anything is loaded: a second instance must not get as far as the first one's
        // pins, and is told so.
        let pins = match Pins::claim(&settings.pin_directory, settings.pin_owner) {
            Err(error @ KernelError::PinDirectoryInUse(_)) => return Err(error),
            other => other,
        };
        let mut ebpf = EbpfLoader::new()
            .load(OBJECT)
            .map_err(|error| KernelError::Load(verifier::reason_of_object(&error)))?;
        let log = KernelLog::new(&mut ebpf);
        load_programs(&mut ebpf)?;
        // Pins are for inspection: without them the rest works as well.
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
    /// Where the guard is attached at this moment, as the kernel says.
    pub fn interfaces(&mut self) -> Vec<GuardedInterface> {
        self.guards.observe()
    }

    /// Attaches the guard where it should be and is not: to interfaces that came since the last
    /// look, or whose MTU has changed. What changes is logged. Blocks for as long as a driver
    /// takes.
    ///
    /// # Errors
    ///
    /// The object does not hold the guard.
    pub fn look_at_interfaces(&mut self) -> Result<(), KernelError> {
        self.guards.look(program::<Xdp>(&mut self.ebpf, GUARD)?);
        Ok(())
    }

    /// Gives the pins to the user that the daemon becomes.
    ///
    /// # Errors
    ///
    /// The system refused: the pins stay behind when the daemon ends.
    pub fn give_pins_to(&self, user: u32) -> io::Result<()> {
        self.pins.as_ref().map_or(Ok(()), |pins| pins.give_to(user))
    }

    /// Runs a program on a frame with the kernel's test-run facility, against the live maps.
    ///
    /// # Errors
    ///
    /// The kernel refuses frames shorter than an Ethernet header.
    pub fn test_run(
        &mut self,
        which: TestProgram,
        frame: &[u8],
        repeat: u32,
    ) -> Result<Judged, KernelError> {
        test_run::run(&mut self.ebpf, which, frame, repeat)
    }
}

/// Attached at the root, so that listeners of every control group are covered: those that another
/// process opened, as in socket activation, are in that process's group, and an accepted socket
/// is in its listener's. A link takes its place beside other programs and needs no flag.
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
    for name in [GUARD, EMPTY] {
        program::<Xdp>(ebpf, name)?.load().map_err(failed(name))?;
    }
    Ok(())
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::Missing(name))
}

/// Takes a map by name, as the type that its definition in relay-ebpf says.
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
