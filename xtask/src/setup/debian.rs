//! Debian packages: what is offered, and installing it without starting any server.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Asked by every package that would start a server; 101 means "you may not".
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\n# Written by `cargo xtask setup` while it installs packages; may be removed.\nexit 101\n";

/// Packages that serve one purpose: the first group that the configured sources offer whole.
pub struct Choice {
    groups: Vec<Vec<String>>,
}

impl Choice {
    /// A purpose that one package serves.
    pub fn one(package: &str) -> Self {
        Self { groups: vec![vec![package.to_owned()]] }
    }

    /// A purpose that several groups serve, best first.
    pub fn first_offered(groups: &[&[&str]]) -> Self {
        let own = |group: &&[&str]| group.iter().map(|&package| package.to_owned()).collect();
        Self { groups: groups.iter().map(own).collect() }
    }

    fn describe(&self) -> String {
        self.groups.iter().map(|group| group.join(" ")).collect::<Vec<_>>().join(" (or) ")
    }
}

/// Installs one group of each choice. Fails with the command to type where we are not root, and
/// with the choices that the sources do not offer.
pub fn install(choices: &[Choice]) -> Result<()> {
    let described = choices.iter().map(Choice::describe).collect::<Vec<_>>().join(" ");
    if process::find_program("apt-get").is_none() {
        bail!("this machine has no apt-get; install what the packages {described} contain");
    }
    if !process::is_root() {
        bail!("run as root: apt-get update && apt-get install {described}");
    }
    println!("setup: installing {described}");
    let _no_server_starts = NoServerStarts::begin()?;
    process::run(apt_get().arg("update"))?;
    let mut packages = Vec::new();
    let mut not_offered = Vec::new();
    for choice in choices {
        match choice.groups.iter().find(|group| group.iter().all(|package| is_offered(package))) {
            Some(group) => packages.extend(group),
            None => not_offered.push(choice.describe()),
        }
    }
    if !packages.is_empty() {
        process::run(
            apt_get().args(["install", "--yes", "--no-install-recommends"]).args(packages),
        )?;
    }
    if !not_offered.is_empty() {
        bail!("the configured package sources do not offer {}", not_offered.join(" nor "));
    }
    Ok(())
}

/// Downloads a package and unpacks it below `folder` without installing it. The package's file
/// stays beside the unpacked tree; its path is the result.
pub fn unpack(package: &str, folder: &Path) -> Result<std::path::PathBuf> {
    fs::create_dir_all(folder)?;
    if !is_offered(package) && process::is_root() {
        process::run(apt_get().arg("update"))?;
    }
    // apt's own unprivileged user cannot write into a checkout; it warns and downloads as us.
    process::run(
        apt_get().args(["-o", "APT::Sandbox::User=root", "download", package]).current_dir(folder),
    )
    .with_context(|| format!("cannot download the package {package}"))?;
    let archive = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get left no package in {}", folder.display()))?;
    process::run(Command::new("dpkg").arg("--extract").arg(&archive).arg(folder))?;
    Ok(archive)
}

/// Installs the libraries that an unpacked package depends on, and nothing else of it.
pub fn install_libraries_of(archive: &Path) -> Result<()> {
    let depends =
        process::output(Command::new("dpkg-deb").arg("--field").arg(archive).arg("Depends"))?;
    install(&libraries(&depends).iter().map(|package| Choice::one(package)).collect::<Vec<_>>())
}

fn libraries(depends: &str) -> Vec<String> {
    depends
        .split(',')
        .filter_map(|dependency| dependency.split_whitespace().next())
        .filter(|package| package.starts_with("lib"))
        .map(str::to_owned)
        .collect()
}

fn apt_get() -> Command {
    let mut command = process::outside_cargo("apt-get");
    // Another program may be installing: wait for it, in seconds, instead of failing.
    command
        .args(["--quiet=2", "-o", "DPkg::Lock::Timeout=300"])
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}

/// Do the configured sources offer this package?
pub fn is_offered(package: &str) -> bool {
    process::output(Command::new("apt-cache").args(["policy", package]))
        .is_ok_and(|policy| has_candidate(&policy))
}

fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|version| version.trim() != "(none)")
}

/// While it lives, no package starts a server. An administrator's own policy is left alone.
struct NoServerStarts {
    ours: bool,
}

impl NoServerStarts {
    fn begin() -> Result<Self> {
        let mut options = fs::OpenOptions::new();
        match options.write(true).create_new(true).mode(0o755).open(POLICY) {
            Ok(mut file) => {
                file.write_all(POLICY_TEXT.as_bytes())?;
                Ok(Self { ours: true })
            }
            // Ours too if an interrupted setup left it.
            Err(_) if Path::new(POLICY).exists() => {
                Ok(Self { ours: fs::read_to_string(POLICY).is_ok_and(|text| text == POLICY_TEXT) })
            }
            Err(error) => Err(error).context(format!("cannot write {POLICY}")),
        }
    }
}

impl Drop for NoServerStarts {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("setup: {POLICY} was left behind, remove it: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_without_candidate_is_not_offered() {
        assert!(has_candidate("swaks:\n  Installed: (none)\n  Candidate: 20201014.0-2\n"));
        assert!(!has_candidate("rustc-bpf:\n  Installed: (none)\n  Candidate: (none)\n"));
        assert!(!has_candidate(""));
    }

    #[test]
    fn only_libraries_of_a_package_are_its_libraries() {
        let depends =
            "libc6 (>= 2.34), libicu72 (>= 72.1), debconf (>= 0.5) | debconf-2.0, netbase";
        assert_eq!(libraries(depends), ["libc6", "libicu72"]);
    }
}
