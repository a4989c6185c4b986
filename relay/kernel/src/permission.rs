//! May this process load programs? If not, what is missing, and what is the remedy?
//!
//! The kernel only answers "operation not permitted" for a missing capability, a user namespace or
//! a system call filter. So each is checked before anything is loaded.

use std::ffi::c_long;
use std::fmt;
use std::fs;
use std::io;

use caps::{CapSet, Capability};

/// Why this process may not load programs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotPermitted {
    /// Capabilities are not in the effective set.
    #[error(
        "loading the programs needs {}, which this process does not have; start the daemon as \
         root, or add them to CapabilityBoundingSet and AmbientCapabilities of its unit, as in \
         deploy/relay.service", List(.0)
    )]
    Capabilities(Vec<Capability>),
    /// The kernel requires capabilities of the first user namespace, regardless of the effective
    /// set.
    #[error(
        "this process is in a user namespace, as in a rootless container, and the kernel accepts \
         capabilities for BPF from the host's user namespace only; start the daemon on the host, \
         or in a container that has no user namespace of its own"
    )]
    UserNamespace,
    /// `bpf()` is refused although the process has every necessary capability.
    #[error(
        "a seccomp filter refuses the system call bpf(); add `bpf` to SystemCallFilter of the \
         unit, or give the container a seccomp profile that allows it"
    )]
    SystemCallFilter,
    /// The kernel was built without the system call.
    #[error("this kernel has no system call bpf(); use one with CONFIG_BPF_SYSCALL=y")]
    NoSystemCall,
}

/// The capabilities of the programs: BPF to load programs and create maps, PERFMON for pointer
/// arithmetic, which the verifier otherwise refuses, NET_ADMIN for network programs.
const NEEDED: [Capability; 3] =
    [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];

/// include/linux/proc_ns.h: PROC_USER_INIT_INO, the inode of the first user namespace.
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// The permissions of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    missing: Vec<Capability>,
    in_user_namespace: bool,
    filtered: bool,
    /// The error number of a call of `bpf()`; a permitted process gets EBADF.
    bpf: i32,
}

struct List<'a>(&'a [Capability]);

/// The first missing permission, if any.
pub(super) fn obstacle() -> Option<NotPermitted> {
    Process::look().obstacle()
}

impl Process {
    /// Values that cannot be read count as sufficient: the kernel decides in the end.
    fn look() -> Self {
        let has = |capability| caps::has_cap(None, CapSet::Effective, capability).unwrap_or(true);
        let missing = if has(Capability::CAP_SYS_ADMIN) {
            Vec::new()
        } else {
            NEEDED.into_iter().filter(|&capability| !has(capability)).collect()
        };
        let in_user_namespace = fs::read_link("/proc/self/ns/user")
            .is_ok_and(|namespace| namespace.to_str() != Some(FIRST_USER_NAMESPACE));
        let filtered = fs::read_to_string("/proc/self/status")
            .is_ok_and(|status| status.lines().any(|line| line == "Seccomp:\t2"));
        Self { missing, in_user_namespace, filtered, bpf: try_bpf() }
    }

    fn obstacle(self) -> Option<NotPermitted> {
        if self.in_user_namespace {
            return Some(NotPermitted::UserNamespace);
        }
        if !self.missing.is_empty() {
            return Some(NotPermitted::Capabilities(self.missing));
        }
        match self.bpf {
            libc::ENOSYS if !self.filtered => Some(NotPermitted::NoSystemCall),
            libc::ENOSYS | libc::EPERM | libc::EACCES => Some(NotPermitted::SystemCallFilter),
            _ => None,
        }
    }
}

/// Calls `bpf()` for a descriptor that is not a map, which changes nothing.
fn try_bpf() -> i32 {
    /// `union bpf_attr`, as far as BPF_MAP_LOOKUP_ELEM reads it.
    #[repr(C)]
    struct Lookup {
        map: u32,
        unused: u32,
        key: u64,
        value: u64,
        flags: u64,
    }
    const BPF_MAP_LOOKUP_ELEM: c_long = 1;
    let lookup = Lookup { map: u32::MAX, unused: 0, key: 0, value: 0, flags: 0 };
    // SAFETY: the kernel reads at most the size of `lookup`, and writes nothing.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_LOOKUP_ELEM, &raw const lookup, size_of::<Lookup>())
    };
    if result >= 0 { 0 } else { io::Error::last_os_error().raw_os_error().unwrap_or_default() }
}

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, capability) in self.0.iter().enumerate() {
            let separator = match number {
                0 => "",
                _ if number + 1 == self.0.len() => " and ",
                _ => ", ",
            };
            write!(f, "{separator}{capability}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::permission::*;

    const SOUND: Process =
        Process { missing: Vec::new(), in_user_namespace: false, filtered: true, bpf: libc::EBADF };

    #[test]
    fn every_missing_capability_is_named() {
        let missing = vec![Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];
        let text = Process { missing, ..SOUND }.obstacle().unwrap().to_string();
        assert!(text.contains("CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, which"), "{text}");
        let missing = vec![Capability::CAP_PERFMON];
        let text = Process { missing, ..SOUND }.obstacle().unwrap().to_string();
        assert!(text.contains("needs CAP_PERFMON, which"), "{text}");
    }

    #[test]
    fn a_user_namespace_counts_before_capabilities_that_seem_sufficient() {
        let inside = Process { in_user_namespace: true, ..SOUND };
        assert_eq!(inside.obstacle(), Some(NotPermitted::UserNamespace));
    }

    #[test]
    fn a_filter_and_a_missing_system_call_are_distinguished() {
        assert_eq!(SOUND.obstacle(), None);
        for bpf in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
            let refused = Process { bpf, ..SOUND };
            assert_eq!(refused.obstacle(), Some(NotPermitted::SystemCallFilter), "{bpf}");
        }
        let absent = Process { filtered: false, bpf: libc::ENOSYS, ..SOUND };
        assert_eq!(absent.obstacle(), Some(NotPermitted::NoSystemCall));
    }
}
