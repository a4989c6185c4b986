//! A container with Debian's systemd as process 1, on this machine's own kernel.
//!
//! The container gets an existing network namespace, so that clients and next hops are our threads.
//! Commands in the container run as root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use relay_tests::namespace::Namespace;
use tempfile::TempDir;

use crate::process;

/// The release whose systemd is tried: 252.
const SUITE: &str = "bookworm";
const PACKAGES: &str = "systemd,systemd-sysv,iproute2,libgcc-s1,ca-certificates,procps";
/// Units of the release that are not needed here and take time.
const MASKED: [&str; 8] = [
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "dpkg-db-backup.timer",
    "systemd-logind.service",
    "console-getty.service",
];
/// The capabilities that process 1 may grant to the unit.
const CAPABILITIES: &str =
    "CAP_BPF,CAP_PERFMON,CAP_NET_ADMIN,CAP_SYS_ADMIN,CAP_SYS_RESOURCE,CAP_IPC_LOCK";

/// Longest time for the container to boot, on a busy machine.
const BOOT: Duration = Duration::from_secs(90);
const PAUSE: Duration = Duration::from_millis(100);

/// A running container. Dropping it ends it.
pub struct Container {
    nspawn: Child,
    /// The process id of its process 1 on this machine.
    leader: u32,
    folder: TempDir,
}

/// A Debian with systemd, packed; created if it does not exist yet.
pub fn root_file_system(guests: &Path) -> Result<PathBuf> {
    let packed = guests.join(format!("{SUITE}.tar"));
    if packed.is_file() {
        return Ok(packed);
    }
    println!("guests: creating a file system with systemd; this takes a minute or two, once");
    fs::create_dir_all(guests)?;
    let unfinished = guests.join(format!("{SUITE}.unfinished.tar"));
    let mut mmdebstrap = process::outside_cargo("mmdebstrap");
    mmdebstrap
        .args(["--quiet", "--variant=minbase", &format!("--include={PACKAGES}"), SUITE])
        .arg(&unfinished);
    process::run(&mut mmdebstrap)?;
    fs::rename(&unfinished, &packed)?;
    Ok(packed)
}

impl Container {
    /// Unpacks the file system, adds these files (path, content, mode) and boots.
    pub fn boot(
        packed: &Path,
        files: &[(&str, Vec<u8>, u32)],
        network: &Namespace,
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let root = folder.path().join("root");
        fs::create_dir(&root)?;
        let mut tar = Command::new("tar");
        tar.arg("--extract").arg("--file").arg(packed).arg("--directory").arg(&root);
        process::output(&mut tar)?;
        for (path, content, mode) in files {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().context("a file has a parent directory")?)?;
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
        }
        for unit in MASKED {
            let path = root.join("etc/systemd/system").join(unit);
            if !path.exists() {
                symlink("/dev/null", path)?;
            }
        }
        let console = fs::File::create(folder.path().join("console"))?;
        let nspawn = Command::new("systemd-nspawn")
            .args(["--quiet", "--register=no", "--keep-unit", "--resolv-conf=off"])
            .args(["--timezone=off", "--link-journal=no", "--system-call-filter=bpf"])
            .arg(format!("--capability={CAPABILITIES}"))
            .arg(format!("--network-namespace-path=/run/netns/{}", network.name()))
            .arg("--directory")
            .arg(&root)
            .arg("--boot")
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .spawn()
            .context("cannot start systemd-nspawn")?;
        let mut container = Self { nspawn, leader: 0, folder };
        container.wait_until_booted()?;
        Ok(container)
    }

    fn wait_until_booted(&mut self) -> Result<()> {
        let deadline = Instant::now() + BOOT;
        while Instant::now() < deadline {
            if let Some(status) = self.nspawn.try_wait()? {
                bail!("the container ended while it booted ({status}):\n{}", self.console());
            }
            if self.leader == 0 {
                self.leader = first_process_below(self.nspawn.id()).unwrap_or(0);
            } else if self
                .run(&["systemctl", "is-active", "--quiet", "multi-user.target"])?
                .status
                .success()
            {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        bail!("the container did not boot within {BOOT:?}:\n{}", self.console());
    }

    /// The end of process 1's console output.
    pub fn console(&self) -> String {
        let console = fs::read(self.folder.path().join("console")).unwrap_or_default();
        let console = String::from_utf8_lossy(&console).into_owned();
        let lines: Vec<&str> = console.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// Writes a file in the container.
    pub fn write(&self, path: &str, content: &str) -> Result<()> {
        Ok(fs::write(self.folder.path().join("root").join(path.trim_start_matches('/')), content)?)
    }

    /// Runs a command in the container, as root, and returns its output.
    pub fn run(&self, command: &[&str]) -> Result<Output> {
        let leader = self.leader.to_string();
        let mut nsenter = process::outside_cargo("nsenter");
        nsenter
            .args(["--target", &leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup"])
            .args(["--wd=/", "--"])
            .args(command)
            .env("PATH", "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin")
            .stdin(Stdio::null());
        nsenter.output().context("cannot start nsenter")
    }

    /// Runs a command that must succeed; returns its output.
    pub fn succeed(&self, command: &[&str]) -> Result<String> {
        let output = self.run(command)?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "`{}` failed in the container: {text}{}",
            command.join(" "),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(text)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Killing process 1 ends all processes in its namespace; no orderly stop is needed.
        let leader = i32::try_from(self.leader).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(leader) = leader {
            let _ = rustix::process::kill_process(leader, rustix::process::Signal::KILL);
        } else {
            let _ = self.nspawn.kill();
        }
        let _ = self.nspawn.wait();
    }
}

/// The process that is number 1 in its own namespace and descends from this process.
fn first_process_below(ancestor: u32) -> Option<u32> {
    let field = |process: u32, name: &str| -> Option<String> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        Some(line.trim().to_owned())
    };
    let descends = |process: u32| {
        std::iter::successors(Some(process), |&process| field(process, "PPid")?.parse().ok())
            .take(16)
            .any(|process| process == ancestor)
    };
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|&process| {
        let numbers = field(process, "NSpid").unwrap_or_default();
        let numbers = numbers.split_whitespace().skip(1);
        numbers.last() == Some("1") && descends(process)
    })
}
