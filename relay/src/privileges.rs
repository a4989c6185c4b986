//! What the daemon may still do after start-up.
//!
//! Loading and attaching are done; what is left is binding ports below 1024 when a reload adds a
//! binding, and on kernels before 5.19 the bpf() system call itself. Map descriptors that are
//! open stay usable without any capability: whoever takes over the process can rewrite the
//! tables of this instance, and nothing else of the kernel.
//!
//! Capabilities belong to threads, so this must run before the runtime starts any.

use caps::{CapSet, Capability, CapsHashSet};

/// The capabilities could not be given up.
#[derive(Debug, thiserror::Error)]
#[error("cannot give up capabilities: {0}")]
pub struct PrivilegeError(#[from] caps::errors::CapsError);

/// Gives up every capability that the daemon does not need any more, for good. Returns those that
/// stay.
///
/// # Errors
///
/// The kernel refused.
pub fn give_up() -> Result<CapsHashSet, PrivilegeError> {
    let mut keep = CapsHashSet::from([Capability::CAP_NET_BIND_SERVICE]);
    if !bpf_without_capability() {
        keep.insert(Capability::CAP_BPF);
    }
    // Dropping from the bounding set takes a capability by itself, so it goes first; without it
    // there is nothing in the set that we could gain.
    if caps::has_cap(None, CapSet::Effective, Capability::CAP_SETPCAP)? {
        for capability in caps::read(None, CapSet::Bounding)?.difference(&keep) {
            caps::drop(None, CapSet::Bounding, *capability)?;
        }
    }
    caps::clear(None, CapSet::Ambient)?;
    let permitted = caps::read(None, CapSet::Permitted)?;
    let kept: CapsHashSet = permitted.intersection(&keep).copied().collect();
    caps::set(None, CapSet::Effective, &kept)?;
    caps::set(None, CapSet::Permitted, &kept)?;
    caps::clear(None, CapSet::Inheritable)?;
    Ok(kept)
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
