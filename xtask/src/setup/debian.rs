//! Debian packages: which ones the sources offer, and their installation without starting a server.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Every package that would start a server runs this script; 101 means "not allowed".
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_TEXT: &str = "#!/bin/sh\n# Written by `cargo xtask setup` while it installs packages; may be removed.\nexit 101\n";

/// Packages for one purpose: the first group that the configured sources offer completely.
pub struct Choice {
    groups: Vec<Vec<String>>,
}

impl Choice {
    /// A purpose with one package.
    pub fn one(package: &str) -> Self {
        Self { groups: vec![vec![package.to_owned()]] }
    }

    /// A purpose with several groups, best first.
    pub fn first_offered(groups: &[&[&str]]) -> Self {
        let own = |group: &&[&str]| group.iter().map(|&package| package.to_owned()).collect();
        Self { groups: groups.iter().map(own).collect() }
    }

    fn describe(&self) -> String {
        self.groups.iter().map(|group| group.join(" ")).collect::<Vec<_>>().join(" (or) ")
    }
}

/// Installs one group of each choice. Without root it fails with the command to type. It also fails
/// for choices that the sources do not offer.
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
    // apt's own unprivileged user cannot write into a checkout; apt warns and downloads as this
    // user.
    process::run(
        apt_get().args(["-o", "APT::Sandbox::User=root", "download", package]).current_dir(folder),
    )
    .with_context(|| format!("cannot download the package {package}"))?;
    let archive = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .with_context(|| format!("apt-get put no package into {}", folder.display()))?;
    process::run(Command::new("dpkg").arg("--extract").arg(&archive).arg(folder))?;
    Ok(archive)
}

/// Installs the libraries on which an unpacked package depends, and no other dependency.
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

/// While this value lives, no package starts a server. An administrator's own policy is not
/// changed.
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
            // This is our script too, if an interrupted setup left it behind.
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
            eprintln!("setup: {POLICY} could not be removed; remove it: {error}");
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
