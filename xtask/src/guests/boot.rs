//! A guest: one file system for all kernels, an emulated machine for each.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use super::kernels::Kernel;
use super::unit::Unit;
use crate::process;

/// Process 1.
const INIT: &str = include_str!("init.sh");
/// The daemon's configuration.
const CONFIGURATION: &str = include_str!("guest.toml");
/// Seconds until a guest is stopped: emulation on a busy machine is slow.
const PATIENCE: &str = "900";
/// The user of a unit with `User=`, in a guest without systemd.
const USER: &str = "1025";

/// The file system of every guest, to which its kernel is added.
pub struct Guest {
    folder: PathBuf,
    base: PathBuf,
    parameters: String,
}

impl Guest {
    /// Packs the daemon and the files that it needs into `folder`.
    pub fn assemble(folder: &Path, daemon: &Path, unit: &Unit) -> Result<Self> {
        let root = folder.join("root");
        for part in ["bin", "dev", "etc", "proc", "run", "sys", "tmp", "usr/bin", "var/lib/relay"] {
            fs::create_dir_all(root.join(part))?;
        }
        let programs = ["bin/busybox", "usr/bin/ip", "usr/bin/setpriv"].map(|place| {
            let name = place.rsplit('/').next().unwrap_or(place);
            let path =
                process::find_program(name).with_context(|| format!("{name} was not found"))?;
            let target = root.join(place);
            fs::copy(&path, &target)?;
            Ok(target)
        });
        let programs = programs.into_iter().collect::<Result<Vec<_>>>()?;
        fs::copy(daemon, root.join("bin/relay"))?;
        for program in programs.iter().map(PathBuf::as_path).chain([daemon]) {
            copy_libraries(program, &root)?;
        }
        symlink("busybox", root.join("bin/sh"))?;
        fs::write(root.join("init"), INIT)?;
        fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
        fs::write(root.join("etc/relay.toml"), CONFIGURATION)?;
        let users = format!("root:x:0:0::/:/bin/sh\nrelay:x:{USER}:{USER}::/:/bin/sh\n");
        fs::write(root.join("etc/passwd"), users)?;
        fs::write(root.join("etc/group"), format!("root:x:0:\nrelay:x:{USER}:\n"))?;
        let base = folder.join("base.cpio");
        pack(&root, &base)?;
        let user = if unit.user.is_some() { USER } else { "" };
        let parameters = format!("capabilities={} user={user}", unit.setpriv_set());
        Ok(Self { folder: folder.to_owned(), base, parameters })
    }

    /// Boots a kernel and returns the results that the guest printed, by their names.
    pub fn boot(&self, kernel: &Kernel) -> Result<BTreeMap<String, String>> {
        println!("guests: booting {}", kernel.release);
        let folder = self.folder.join(&kernel.release);
        let root = folder.join("root");
        fs::create_dir_all(root.join("modules"))?;
        for module in fs::read_dir(&kernel.modules)? {
            let module = module?;
            fs::copy(module.path(), root.join("modules").join(module.file_name()))?;
        }
        // The kernel reads concatenated archives as one.
        let modules = folder.join("modules.cpio");
        pack(&root, &modules)?;
        let image = folder.join("initrd");
        fs::copy(&self.base, &image)?;
        let mut whole = fs::OpenOptions::new().append(true).open(&image)?;
        std::io::copy(&mut File::open(&modules)?, &mut whole)?;

        let console = folder.join("console");
        let mut serial = std::ffi::OsString::from("file:");
        serial.push(&console);
        let status = Command::new("timeout")
            .args(["--kill-after=5", PATIENCE, "qemu-system-x86_64"])
            .args(["-machine", "q35,accel=tcg", "-cpu", "max", "-smp", "2", "-m", "1024"])
            .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
            .args(["-netdev", "hubport,id=one,hubid=0", "-netdev", "hubport,id=two,hubid=0"])
            .args(["-device", "virtio-net-pci,netdev=one,mac=52:54:00:00:00:01,romfile="])
            .args(["-device", "virtio-net-pci,netdev=two,mac=52:54:00:00:00:02,romfile="])
            .arg("-serial")
            .arg(serial)
            .arg("-kernel")
            .arg(&kernel.image)
            .arg("-initrd")
            .arg(&image)
            .arg("-append")
            .arg(format!("console=ttyS0 quiet panic=-1 net.ifnames=0 {}", self.parameters))
            .stdin(Stdio::null())
            .status()
            .context("cannot start qemu-system-x86_64")?;
        let said = String::from_utf8_lossy(&fs::read(&console).unwrap_or_default()).into_owned();
        let results = results(&said);
        if !results.contains_key("uptime") {
            let lines: Vec<&str> = said.lines().collect();
            let last = lines[lines.len().saturating_sub(30)..].join("\n");
            println!("guests: {} ended early ({status}); its console:\n{last}", kernel.release);
        }
        Ok(results)
    }
}

fn results(console: &str) -> BTreeMap<String, String> {
    let parse = |line: &str| {
        let (name, result) = line.trim().strip_prefix("RESULT ")?.split_once(' ')?;
        Some((name.to_owned(), result.to_owned()))
    };
    console.lines().filter_map(parse).collect()
}

/// Copies the libraries that a program loads, to the paths where it searches for them.
fn copy_libraries(program: &Path, root: &Path) -> Result<()> {
    // ldd fails for a static program.
    let Ok(listed) = process::output(Command::new("ldd").arg(program)) else { return Ok(()) };
    for path in listed.split_whitespace().filter(|word| word.starts_with('/')) {
        let target = root.join(path.trim_start_matches('/'));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        if !target.exists() {
            fs::copy(path, &target)?;
        }
    }
    Ok(())
}

/// Packs a folder in the format that the kernel unpacks.
fn pack(folder: &Path, archive: &Path) -> Result<()> {
    let mut find = Command::new("find")
        .args([".", "-print0"])
        .current_dir(folder)
        .stdout(Stdio::piped())
        .spawn()?;
    let names = find.stdout.take().context("find has no output")?;
    let status = Command::new("cpio")
        .args(["--create", "--format=newc", "--null", "--quiet", "--owner=0:0"])
        .current_dir(folder)
        .stdin(names)
        .stdout(File::create(archive)?)
        .status()?;
    ensure!(status.success() && find.wait()?.success(), "cpio cannot pack {}", folder.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_between_kernel_messages() {
        let console = "[    1.2] random: crng init done\r\nRESULT unit ok (eth0 native)\r\nx\r\n\
                       RESULT all FAIL no guard\r\n";
        let results = results(console);
        assert_eq!(results["unit"], "ok (eth0 native)");
        assert_eq!(results["all"], "FAIL no guard");
    }
}
