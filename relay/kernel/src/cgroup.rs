//! The mount point of the cgroup v2 hierarchy. It is not always /sys/fs/cgroup: in hybrid layouts
//! it is below.

use std::fs;
use std::path::PathBuf;

use crate::KernelError;

/// The root of the cgroup v2 hierarchy, as far as this process sees it.
pub(super) fn root() -> Result<PathBuf, KernelError> {
    let table = fs::read_to_string("/proc/self/mountinfo")
        .map_err(KernelError::io("cannot read /proc/self/mountinfo"))?;
    mounted(&table).ok_or(KernelError::CgroupMissing)
}

/// The first cgroup2 mount. proc(5): the mount point is the fifth field, and the file system type
/// the first one after a lone hyphen; blanks in a path are written as `\040`.
fn mounted(table: &str) -> Option<PathBuf> {
    table.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        if file_system.split(' ').next()? != "cgroup2" {
            return None;
        }
        Some(PathBuf::from(mount.split(' ').nth(4)?.replace("\\040", " ")))
    })
}

#[cfg(test)]
mod tests {
    use crate::cgroup::*;

    #[test]
    fn unified_hybrid_and_absent() {
        let unified = "24 1 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(mounted(unified), Some(PathBuf::from("/sys/fs/cgroup")));
        let hybrid = "30 29 0:26 / /sys/fs/cgroup/cpu rw shared:7 - cgroup cgroup rw,cpu\n\
                      40 29 0:36 / /sys/fs/cgroup/uni\\040fied rw shared:9 master:2 - cgroup2 none rw\n";
        assert_eq!(mounted(hybrid), Some(PathBuf::from("/sys/fs/cgroup/uni fied")));
        assert_eq!(mounted("30 29 0:26 / /x rw - cgroup cgroup rw,cpu\n\n"), None);
    }
}
