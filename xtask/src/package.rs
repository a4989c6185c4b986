//! `cargo xtask package`: Debian packages of the daemon, one to install and one with the debug
//! information.
//!
//! The program, its completions and man pages, the unit and the example configuration go into a
//! directory as they will be on a host; `dpkg-deb` packs it. deploy/debian has the scripts and the
//! fields of the package.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::workspace::Workspace;
use crate::{build_daemon, process};

#[derive(Args)]
pub struct Arguments {
    /// The version of the package, instead of the daemon's own.
    #[arg(long, value_name = "VERSION")]
    package_version: Option<String>,
    /// Pack this daemon instead of building one.
    #[arg(long, value_name = "PROGRAM")]
    daemon: Option<PathBuf>,
}

/// The packages that were made.
pub struct Packages {
    /// The daemon and what belongs to it.
    pub relay: PathBuf,
    /// Its debug information.
    pub symbols: PathBuf,
}

/// The verb.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let daemon = match &arguments.daemon {
        Some(daemon) => daemon.clone(),
        None => build_daemon::with_kernel_half(workspace)?,
    };
    let folder = workspace.target().join("package");
    let version = arguments.package_version.as_deref().unwrap_or(env!("CARGO_PKG_VERSION"));
    let packages = build(workspace, &daemon, version, &folder)?;
    for package in [packages.relay, packages.symbols] {
        let octets = fs::metadata(&package)?.len();
        println!("package: {} ({:.1} MB)", package.display(), octets as f64 / 1e6);
    }
    Ok(())
}

/// Makes both packages of `daemon` in `folder`.
pub fn build(
    workspace: &Workspace,
    daemon: &Path,
    version: &str,
    folder: &Path,
) -> Result<Packages> {
    ensure!(
        process::find_program("dpkg-deb").is_some(),
        "dpkg-deb was not found; install the package dpkg"
    );
    let fields = Fields {
        version: version.to_owned(),
        architecture: process::output(Command::new("dpkg").arg("--print-architecture"))?,
        glibc: newest_glibc(daemon)?,
    };
    let deploy = workspace.root().join("deploy");
    let relay = Staged::new(folder.join("relay"))?;
    let symbols = Staged::new(folder.join("relay-dbgsym"))?;

    let program = relay.path("usr/bin/relay")?;
    let debug = symbols.path("usr/lib/debug/usr/bin/relay.debug")?;
    objcopy(&["--only-keep-debug"], daemon, &debug)?;
    objcopy(&["--strip-all"], daemon, &program)?;
    let link = format!("--add-gnu-debuglink={}", debug.display());
    process::output(Command::new("objcopy").arg(link).arg(&program))?;
    set_mode(&debug, 0o644)?;
    set_mode(&program, 0o755)?;

    process::output(Command::new(daemon).arg("generate").arg(relay.path("usr/share")?))?;
    compress_man_pages(&relay.path("usr/share/man/man8")?)?;
    let unit = fs::read_to_string(deploy.join("relay.service"))?;
    relay.write("usr/lib/systemd/system/relay.service", &for_package(&unit), 0o644)?;
    for (from, to) in [
        ("deploy/relay.sysusers", "usr/lib/sysusers.d/relay.conf"),
        ("deploy/relay.toml", "etc/relay/relay.toml"),
        ("deploy/debian/copyright", "usr/share/doc/relay/copyright"),
        ("LICENSE-MIT", "usr/share/doc/relay/LICENSE-MIT"),
        ("CHANGELOG.md", "usr/share/doc/relay/CHANGELOG.md"),
        ("docs/deployment.md", "usr/share/doc/relay/deployment.md"),
        ("docs/from-exchange.md", "usr/share/doc/relay/from-exchange.md"),
        ("docs/it-did-not-arrive.md", "usr/share/doc/relay/it-did-not-arrive.md"),
        ("docs/inspecting.md", "usr/share/doc/relay/inspecting.md"),
    ] {
        relay.write(to, &fs::read_to_string(workspace.root().join(from))?, 0o644)?;
    }
    relay.write("DEBIAN/conffiles", "/etc/relay/relay.toml\n", 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        let text = fs::read_to_string(deploy.join("debian").join(script))?;
        relay.write(&format!("DEBIAN/{script}"), &text, 0o755)?;
    }
    let control = |name| fs::read_to_string(deploy.join("debian").join(name));
    let named = |package: &str| folder.join(fields.file_name(package));
    Ok(Packages {
        relay: relay.pack(&fields.fill(&control("control")?), named("relay"))?,
        symbols: symbols.pack(&fields.fill(&control("control-dbgsym")?), named("relay-dbgsym"))?,
    })
}

/// The unit of a package: programs of packages are in /usr/bin, and its own comment about the place
/// of the files is that of an installation by hand.
fn for_package(unit: &str) -> String {
    let unit = unit.replace("/usr/local/bin/relay", "/usr/bin/relay");
    unit.replace("/etc/systemd/system/relay.service", "/usr/lib/systemd/system/relay.service")
}

/// The fields of the packages that are not the same for each build.
struct Fields {
    version: String,
    architecture: String,
    glibc: String,
}

impl Fields {
    fn fill(&self, control: &str) -> String {
        control
            .replace("@VERSION@", &self.version)
            .replace("@ARCHITECTURE@", &self.architecture)
            .replace("@GLIBC@", &self.glibc)
    }

    fn file_name(&self, package: &str) -> String {
        format!("{package}_{}_{}.deb", self.version, self.architecture)
    }
}

/// The oldest C library with every symbol that the program uses.
fn newest_glibc(program: &Path) -> Result<String> {
    let symbols = process::output(Command::new("objdump").arg("--dynamic-syms").arg(program))?;
    newest_version(&symbols).with_context(|| format!("{} uses no glibc", program.display()))
}

fn newest_version(symbols: &str) -> Option<String> {
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|after| {
        let end = after.find(|it: char| !it.is_ascii_digit() && it != '.')?;
        let numbers: Option<Vec<u32>> = after[..end].split('.').map(|it| it.parse().ok()).collect();
        numbers
    });
    let newest = versions.max()?;
    Some(newest.iter().map(u32::to_string).collect::<Vec<_>>().join("."))
}

/// The files of a package before they are packed.
struct Staged {
    root: PathBuf,
}

impl Staged {
    fn new(root: PathBuf) -> Result<Self> {
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        Ok(Self { root })
    }

    /// The path of a file, whose directory exists then.
    fn path(&self, below: &str) -> Result<PathBuf> {
        let path = self.root.join(below);
        let directory = path.parent().context("a file has a directory")?;
        fs::create_dir_all(directory)?;
        Ok(path)
    }

    fn write(&self, below: &str, content: &str, mode: u32) -> Result<()> {
        let path = self.path(below)?;
        fs::write(&path, content)?;
        set_mode(&path, mode)
    }

    /// Writes the control file and packs everything.
    fn pack(&self, control: &str, package: PathBuf) -> Result<PathBuf> {
        let size = process::output(
            Command::new("du").args(["--summarize", "--block-size=1024"]).arg(&self.root),
        )?;
        let size = size.split_whitespace().next().context("du printed no size")?;
        self.write("DEBIAN/control", &control.replace("@SIZE@", size), 0o644)?;
        set_modes_of_directories(&self.root)?;
        let mut pack = Command::new("dpkg-deb");
        pack.args(["--build", "--root-owner-group", "-Zxz", "-z1"]).arg(&self.root).arg(&package);
        process::output(&mut pack)?;
        Ok(package)
    }
}

fn objcopy(options: &[&str], from: &Path, to: &Path) -> Result<()> {
    process::output(Command::new("objcopy").args(options).arg(from).arg(to)).map(drop)
}

/// Debian's tools expect compressed man pages; without a name and time in them two builds are equal.
fn compress_man_pages(folder: &Path) -> Result<()> {
    let pages = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    process::output(Command::new("gzip").args(["--best", "--no-name"]).args(pages)).map(drop)
}

/// The umask of the builder must not decide who can read an installed file.
fn set_modes_of_directories(folder: &Path) -> Result<()> {
    set_mode(folder, 0o755)?;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            set_modes_of_directories(&entry.path())?;
        } else {
            let is_program = entry.metadata()?.permissions().mode() & 0o100 != 0;
            set_mode(&entry.path(), if is_program { 0o755 } else { 0o644 })?;
        }
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_is_compared_by_number() {
        let symbols = "x (GLIBC_2.9) y\nz (GLIBC_2.34) q\n GLIBC_2.2.5 _x\n(GLIBC_PRIVATE) w";
        assert_eq!(newest_version(symbols).as_deref(), Some("2.34"));
        assert_eq!(newest_version("nothing"), None);
    }
}
