//! Which capabilities stay.
//!
//! Loading and attaching are done; what is left is binding ports below 1024 when a reload adds a
//! binding, and on kernels before 5.19 the bpf() system call itself. Map descriptors that are
//! open stay usable without any capability: a stranger who takes over the process can rewrite the
//! tables of this instance, and nothing else of the kernel.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// What the daemon keeps.
fn kept() -> CapsHashSet {
    let mut keep = CapsHashSet::from([Capability::CAP_NET_BIND_SERVICE]);
    if !bpf_without_capability() {
        keep.insert(Capability::CAP_BPF);
    }
    keep
}

/// Takes out of the bounding set what is not kept. That takes a capability by itself, so it comes
/// first; a process without it has no new privileges either, and there is nothing in the set that
/// it could gain.
pub(super) fn narrow_bounding_set() -> Result<(), CapsError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::read(None, CapSet::Bounding)?.difference(&kept()) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    Ok(())
}

/// Gives up what is not kept, in the sets of this thread.
pub(super) fn give_up() -> Result<CapsHashSet, CapsError> {
    caps::clear(None, CapSet::Ambient)?;
    let permitted = caps::read(None, CapSet::Permitted)?;
    let stay: CapsHashSet = permitted.intersection(&kept()).copied().collect();
    caps::set(None, CapSet::Effective, &stay)?;
    caps::set(None, CapSet::Permitted, &stay)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(stay)
}

/// Since Linux 5.19, map descriptors answer without a capability even where unprivileged bpf() is
/// disabled.
fn bpf_without_capability() -> bool {
    let name = rustix::system::uname();
    let release = name.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (5, 19),
        _ => false,
    }
}
