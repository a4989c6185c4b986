//! Debian's kernels: their list, their download, and the parts that a guest needs.
//!
//! apt downloads them with its own root in the target directory, so that the machine's own sources
//! are not changed. Of a package only the kernel and a few modules are stored.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::process;

/// Kernels of one version.
pub struct Series {
    /// `6.1`.
    pub name: &'static str,
    /// Does `cargo xtask test` boot it?
    pub always: bool,
    /// A line of sources.list, beginning with the mirror's directory.
    source: &'static str,
}

/// The series in Debian's suites. 5.15 and 6.6 were never in one.
pub const SERIES: &[Series] = &[
    Series { name: "5.10", always: false, source: "debian-security bullseye-security" },
    Series { name: "6.1", always: true, source: "debian-security bookworm-security" },
    Series { name: "6.12", always: true, source: "debian-security bookworm-security" },
    Series { name: "6.16", always: false, source: "debian trixie-backports" },
    Series { name: "6.18", always: false, source: "debian trixie-backports" },
    Series { name: "7.3", always: false, source: "debian trixie-backports" },
];

/// A kernel that is ready to boot.
pub struct Kernel {
    /// `6.1.0-57-amd64`.
    pub release: String,
    /// The image.
    pub image: PathBuf,
    /// The directory with its modules, decompressed.
    pub modules: PathBuf,
}

const MIRROR: &str = "http://deb.debian.org";
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Modules for a guest: veth pairs, the emulated network interface, its bus.
const WANTED: [&str; 7] = [
    "*/boot/vmlinuz-*",
    // From 7.0 on.
    "*/modules/*/vmlinuz",
    "*/kernel/drivers/net/veth.ko*",
    "*/kernel/drivers/net/virtio_net.ko*",
    "*/kernel/drivers/net/net_failover.ko*",
    "*/kernel/net/core/failover.ko*",
    "*/kernel/drivers/virtio/virtio*.ko*",
];
/// Written last into a kernel's directory: its presence says that the directory is complete.
const RELEASE: &str = "release";

pub fn names() -> String {
    SERIES.iter().map(|series| series.name).collect::<Vec<_>>().join(", ")
}

/// The newest kernel of the series at the time of the first request.
pub fn get(guests: &Path, series: &Series) -> Result<Kernel> {
    let folder = guests.join("kernels").join(series.name);
    let kernel = |release: String| Kernel {
        release,
        image: folder.join("vmlinuz"),
        modules: folder.join("modules"),
    };
    if let Ok(release) = fs::read_to_string(folder.join(RELEASE)) {
        return Ok(kernel(release));
    }
    let release = fetch(guests, series, &folder)
        .with_context(|| format!("cannot get a kernel {}", series.name))?;
    fs::write(folder.join(RELEASE), &release)?;
    Ok(kernel(release))
}

fn fetch(guests: &Path, series: &Series, folder: &Path) -> Result<String> {
    let apt = Apt::new(&guests.join("apt"), series)?;
    let name = series.name.replace('.', "\\.");
    // 6.1.0-57, 6.12.117+deb12.
    let pattern = format!("^linux-image-{name}[.][0-9.]+(-[0-9]+|[+]deb[0-9]+)-amd64$");
    let found = apt.output("apt-cache", &["search", "--names-only", &pattern])?;
    let package = newest(&found).context("the suite offers no kernel")?;
    println!("guests: downloading {package}; it is not installed");
    // From 7.0 on the image is a separate package.
    let depends = apt.output("apt-cache", &["depends", package])?;
    let version = package.trim_start_matches("linux-image-");
    let parts = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| name.starts_with("linux-") && name.ends_with(version));
    let downloads = folder.join("packages");
    // The remains of an interrupted run are incomplete.
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(&downloads)?;
    let mut download = apt.command("apt-get");
    download.arg("download").arg(package).args(parts).current_dir(&downloads);
    process::run(&mut download)?;
    let unpacked = folder.join("unpacked");
    fs::create_dir_all(&unpacked)?;
    for archive in files(&downloads)? {
        unpack(&archive, &unpacked)?;
    }
    let modules = folder.join("modules");
    fs::create_dir_all(&modules)?;
    for file in files(&unpacked)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with("vmlinuz") {
            fs::rename(&file, folder.join("vmlinuz"))?;
        } else {
            decompress(&file, &modules.join(name.split(".ko").next().unwrap_or(&name)))?;
        }
    }
    ensure!(folder.join("vmlinuz").is_file(), "{package} has no kernel");
    ensure!(modules.join("veth.ko").is_file(), "{package} has no module veth");
    fs::remove_dir_all(&downloads)?;
    fs::remove_dir_all(&unpacked)?;
    Ok(version.to_owned())
}

/// Extracts the wanted files from a package. Not every package has all of them.
fn unpack(archive: &Path, folder: &Path) -> Result<()> {
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(archive)
        .stdout(std::process::Stdio::piped())
        .spawn()?;
    let content = dpkg.stdout.take().context("dpkg-deb has no output")?;
    Command::new("tar")
        .args(["--extract", "--wildcards", "--directory"])
        .arg(folder)
        .args(WANTED)
        .stdin(content)
        .stderr(std::process::Stdio::null())
        .status()?;
    ensure!(dpkg.wait()?.success(), "{} is damaged", archive.display());
    Ok(())
}

/// Writes the module decompressed; its file extension names the compression.
fn decompress(file: &Path, without_end: &Path) -> Result<()> {
    let target = without_end.with_extension("ko");
    let program = match file.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => {
            fs::rename(file, target)?;
            return Ok(());
        }
    };
    let status = Command::new(program)
        .args(["--decompress", "--stdout", "--quiet"])
        .arg(file)
        .stdout(File::create(&target)?)
        .status()?;
    ensure!(status.success(), "{program} cannot decompress {}", file.display());
    Ok(())
}

/// Every file below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// The package of the highest version in what `apt-cache search` printed.
fn newest(found: &str) -> Option<&str> {
    let numbers = |name: &str| -> Vec<u64> {
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
    };
    found.lines().filter_map(|line| line.split(' ').next()).max_by_key(|name| numbers(name))
}

/// apt with its own sources, lists and cache.
struct Apt {
    options: Vec<String>,
}

impl Apt {
    fn new(folder: &Path, series: &Series) -> Result<Self> {
        let folder = folder.join(series.source.replace([' ', '/'], "-"));
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        let sources = folder.join("sources.list");
        let line = format!("deb [signed-by={KEYS}] {MIRROR}/{} main\n", series.source);
        fs::write(&sources, line)?;
        let folder = folder.display();
        let apt = Self {
            options: [
                format!("Dir::Etc::sourcelist={}", sources.display()),
                "Dir::Etc::sourceparts=-".to_owned(),
                format!("Dir::State::lists={folder}/lists"),
                format!("Dir::Cache={folder}/cache"),
                // apt's own unprivileged user cannot write into a checkout.
                "APT::Sandbox::User=root".to_owned(),
                "Acquire::Languages=none".to_owned(),
            ]
            .into_iter()
            .flat_map(|option| ["-o".to_owned(), option])
            .collect(),
        };
        process::run(apt.command("apt-get").args(["--quiet=2", "update"]))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = process::outside_cargo(program);
        command.args(&self.options);
        command
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Result<String> {
        process::output(self.command(program).args(arguments))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        let found = "linux-image-6.1.0-9-amd64 - Linux\nlinux-image-6.1.0-57-amd64 - Linux\n\
                     linux-image-6.1.0-48-amd64 - Linux\n";
        assert_eq!(newest(found), Some("linux-image-6.1.0-57-amd64"));
        assert_eq!(newest(""), None);
    }

    #[test]
    fn cargo_xtask_test_boots_the_kernels_of_two_releases() {
        let always: Vec<_> = SERIES.iter().filter(|it| it.always).map(|it| it.name).collect();
        assert_eq!(always, ["6.1", "6.12"]);
    }
}
