//! May this process load programs? What is missing, and what mends it.
//!
//! The kernel's own answer is "operation not permitted", about whatever came first: a capability, a
//! user namespace or a system call filter. So each is looked at before anything is loaded.

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
        "loading the programs takes {}, which this process does not have; start the daemon as \
         root, or add them to CapabilityBoundingSet and AmbientCapabilities of its unit, as in \
         deploy/relay.service", List(.0)
    )]
    Capabilities(Vec<Capability>),
    /// The kernel compares with the first user namespace, whatever the effective set says.
    #[error(
        "this process is in a user namespace, as in a rootless container, and the kernel accepts \
         capabilities for BPF from the host's user namespace only; start the daemon on the host, \
         or in a container that has no user namespace of its own"
    )]
    UserNamespace,
    /// `bpf()` is refused to a process that has every capability for it.
    #[error(
        "a seccomp filter refuses the system call bpf(); add `bpf` to SystemCallFilter of the \
         unit, or give the container a seccomp profile that allows it"
    )]
    SystemCallFilter,
    /// The kernel was built without it.
    #[error("this kernel has no system call bpf(); use one with CONFIG_BPF_SYSCALL=y")]
    NoSystemCall,
}

/// What the programs take: BPF to load programs and create maps, PERFMON for pointer arithmetic,
/// which the verifier refuses without it, NET_ADMIN for programs of the network.
const NEEDED: [Capability; 3] =
    [Capability::CAP_BPF, Capability::CAP_PERFMON, Capability::CAP_NET_ADMIN];

/// include/linux/proc_ns.h: PROC_USER_INIT_INO, the inode of the first user namespace.
const FIRST_USER_NAMESPACE: &str = "user:[4026531837]";

/// What this process is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    missing: Vec<Capability>,
    in_user_namespace: bool,
    filtered: bool,
    /// The error number of a call of `bpf()` that a permitted process gets EBADF for.
    bpf: i32,
}

struct List<'a>(&'a [Capability]);

/// What keeps this process from loading programs, if anything does.
pub(super) fn obstacle() -> Option<NotPermitted> {
    Process::look().obstacle()
}

impl Process {
    /// What cannot be read is taken for sound: the kernel has the last word.
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

/// Looks up in a map that is none, which changes nothing.
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
    // SAFETY: the kernel reads as many octets of `lookup` as it is long, and writes none.
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
        let told = Process { missing, ..SOUND }.obstacle().unwrap().to_string();
        assert!(told.contains("CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, which"), "{told}");
        let missing = vec![Capability::CAP_PERFMON];
        let told = Process { missing, ..SOUND }.obstacle().unwrap().to_string();
        assert!(told.contains("takes CAP_PERFMON, which"), "{told}");
    }

    #[test]
    fn a_user_namespace_counts_before_capabilities_that_seem_sufficient() {
        let inside = Process { in_user_namespace: true, ..SOUND };
        assert_eq!(inside.obstacle(), Some(NotPermitted::UserNamespace));
    }

    #[test]
    fn a_filter_is_told_from_a_kernel_without_the_system_call() {
        assert_eq!(SOUND.obstacle(), None);
        for bpf in [libc::EPERM, libc::EACCES, libc::ENOSYS] {
            let refused = Process { bpf, ..SOUND };
            assert_eq!(refused.obstacle(), Some(NotPermitted::SystemCallFilter), "{bpf}");
        }
        let absent = Process { filtered: false, bpf: libc::ENOSYS, ..SOUND };
        assert_eq!(absent.obstacle(), Some(NotPermitted::NoSystemCall));
    }
}
