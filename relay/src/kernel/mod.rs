//! The kernel half, from the daemon's side. Only this module knows aya.
//!
//! It loads and attaches the programs, publishes generations into their maps, and reads tags and
//! counters. What a generation holds is [`crate::policy::Rules`]' business, and which connector a
//! connection gets when there is no tag is [`crate::classifier`]'s.
//!
//! Loading is a transaction: programs are loaded, pinned and attached, a self-test shows that
//! tags arrive, and on any failure everything is undone by dropping it. Links are not pinned, so
//! the kernel detaches the programs when the daemon ends, however it ends.

mod cgroup;
mod counters;
mod guard;
mod log;
mod pins;
mod publisher;
mod self_test;
mod state;
mod tags;
mod test_run;

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use aya::maps::{Map, MapError};
use aya::programs::links::CgroupAttachMode;
use aya::programs::{ProgramError, SockOps, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use caps::{CapSet, Capability};

pub use counters::CounterReader;
pub use guard::{GuardMode, GuardedInterface};
pub use log::KernelLog;
pub use publisher::{Publication, Publisher};
pub use self_test::SelfTest;
pub use tags::TagReader;
pub use test_run::{Judged, TestProgram};

use pins::Pins;

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
    #[error("no cgroup v2 hierarchy is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup")]
    CgroupMissing,
    /// The guard could not be attached.
    #[error("cannot attach the guard to interface {interface}: {source}")]
    Guard {
        /// As `classifier.interfaces` names it.
        interface: String,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// The guard would stay behind when the daemon is killed.
    #[error("the kernel has no links for XDP (Linux 5.9 has); the guard on {0} would outlive us")]
    GuardWithoutLink(String),
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
    Load(#[from] EbpfError),
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
    #[error(
        "loading programs takes {0}, which this process does not have; start the daemon as root, or as deploy/relay.service does"
    )]
    NotPermitted(Capability),
    /// Another process has our pin directory.
    #[error(
        "{0} belongs to another running instance; set `pin_directory` in [classifier] to a directory of this one's own"
    )]
    PinDirectoryInUse(PathBuf),
    /// The verifier or the kernel refused a program.
    #[error("cannot load the program {program}: {source}")]
    Program {
        /// The program's name.
        program: &'static str,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// Tags do not arrive.
    #[error("the self-test failed: {0}")]
    SelfTest(String),
}

impl KernelError {
    /// Names what was being done when a system call failed.
    fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        |source| Self::Io { what, source }
    }

    fn map(map: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map { map, source }
    }
}

/// What the kernel half is to do.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the guard attaches; empty: nowhere.
    pub interfaces: Vec<String>,
    /// Where programs and maps are pinned for inspection.
    pub pin_directory: PathBuf,
}

/// The loaded and attached kernel half.
pub struct KernelHalf {
    /// Publishes generations.
    pub publisher: Publisher,
    /// Reads the tags of accepted sockets.
    pub tags: TagReader,
    /// Reads the programs' counters.
    pub counters: CounterReader,
    /// Where the guard is attached, and how.
    pub interfaces: Vec<GuardedInterface>,
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
    ebpf: Ebpf,
    _links: Vec<guard::GuardLink>,
    _pins: Option<Pins>,
}

impl KernelHalf {
    /// Loads, pins, attaches, and proves with connections of its own over loopback that tags
    /// arrive. Takes the capabilities `CAP_BPF` and `CAP_NET_ADMIN`, and `CAP_SYS_ADMIN` where
    /// bpffs has to be mounted first. The self-test uses the first generation.
    ///
    /// # Errors
    ///
    /// As [`KernelError`] lists them; nothing stays behind.
    pub fn load(settings: &Settings, generation: u32) -> Result<Self, KernelError> {
        if !is_built_in() {
            return Err(KernelError::NotBuiltIn);
        }
        if let Some(capability) = missing_capability() {
            return Err(KernelError::NotPermitted(capability));
        }
        // Before anything is loaded: a second instance must not get as far as the first one's
        // pins, and is told so.
        let pins = match Pins::claim(&settings.pin_directory) {
            Err(error @ KernelError::PinDirectoryInUse(_)) => return Err(error),
            other => other,
        };
        let mut ebpf = EbpfLoader::new().load(OBJECT)?;
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
        let cgroup = cgroup::root()?;
        attach_tagger(&mut ebpf, &cgroup)?;
        let self_test = SelfTest::run(&mut publisher, &tags, generation)?;
        let mut links = Vec::new();
        let mut interfaces = Vec::new();
        for name in &settings.interfaces {
            let (link, interface) = guard::attach(program::<Xdp>(&mut ebpf, GUARD)?, name)?;
            links.push(link);
            interfaces.push(interface);
        }
        Ok(Self {
            publisher,
            tags,
            counters,
            interfaces,
            self_test,
            cgroup,
            pins: pinned,
            log,
            programs: Programs { ebpf, _links: links, _pins: pins },
        })
    }
}

impl Programs {
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

/// The capability for want of which the kernel would refuse the programs: its own words are
/// "operation not permitted" about whatever came first. One that cannot be read is not missed.
fn missing_capability() -> Option<Capability> {
    let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(true);
    [Capability::CAP_BPF, Capability::CAP_NET_ADMIN]
        .into_iter()
        .find(|&capability| !has(capability) && !has(Capability::CAP_SYS_ADMIN))
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
    let failed = |name| {
        move |source: ProgramError| KernelError::Program { program: name, source: source.into() }
    };
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
    ebpf.program_mut(name).ok_or(KernelError::Missing(name))?.try_into().map_err(
        |source: ProgramError| KernelError::Program { program: name, source: source.into() },
    )
}
