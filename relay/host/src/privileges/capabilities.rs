//! Which capabilities does the daemon keep?
//!
//! After the programs are loaded and attached, it needs capabilities only to bind ports below 1024
//! when a reload adds a binding, and on kernels before 5.19 for the bpf() system call itself. Open
//! map descriptors stay usable without a capability: an attacker who controls the process could
//! rewrite the tables of this instance, but nothing else of the kernel.

use caps::errors::CapsError;
use caps::{CapSet, Capability, CapsHashSet};

/// The capabilities that the daemon keeps.
fn kept() -> CapsHashSet {
    let mut keep = CapsHashSet::from([Capability::CAP_NET_BIND_SERVICE]);
    if !bpf_without_capability() {
        keep.insert(Capability::CAP_BPF);
    }
    keep
}

/// Removes other capabilities from the bounding set. This needs a capability itself, so it runs
/// first; a process without that capability cannot gain capabilities from the set either, because
/// it has no new privileges.
pub(super) fn narrow_bounding_set() -> Result<(), CapsError> {
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::read(None, CapSet::Bounding)?.difference(&kept()) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    Ok(())
}

/// Drops other capabilities from the sets of this thread.
pub(super) fn give_up() -> Result<CapsHashSet, CapsError> {
    caps::clear(None, CapSet::Ambient)?;
    let permitted = caps::read(None, CapSet::Permitted)?;
    let stay: CapsHashSet = permitted.intersection(&kept()).copied().collect();
    caps::set(None, CapSet::Effective, &stay)?;
    caps::set(None, CapSet::Permitted, &stay)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(stay)
}

/// Since Linux 5.19, map descriptors can be used without a capability even if unprivileged bpf() is
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
