//! The linter for the kernel half's compiler. Useful, but not required.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian;
use super::toolchain::{self, Toolchain};
use crate::process;
use crate::workspace::Workspace;

/// The path of a `clippy-driver` of the toolchain's version. The distribution's package is
/// unpacked, not installed: an installed one would conflict with the distribution's rustup package.
pub fn find_or_unpack(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    let rustc = match toolchain {
        Toolchain::NightlyBuildStd { rustc } => {
            let driver = toolchain::sysroot(rustc)?.join("bin/clippy-driver");
            return if runs(&driver) { Ok(driver) } else { bail!("this nightly has no clippy") };
        }
        Toolchain::DebianPrebuilt { rustc } => rustc,
    };
    let folder = workspace.tools().join("kernel-clippy");
    let driver = folder.join("usr/bin/clippy-driver");
    if runs(&driver) {
        return Ok(driver);
    }
    let owner = process::output(Command::new("dpkg").arg("--search").arg(rustc))?;
    let package = match owner.split(':').next() {
        Some("rustc-web") => "rust-web-clippy",
        _ => "rust-clippy",
    };
    println!("setup: unpacking {package} to lint the kernel half; it is not installed");
    if folder.exists() {
        fs::remove_dir_all(&folder).context("cannot remove an older clippy")?;
    }
    debian::unpack(package, &folder)?;
    if !runs(&driver) {
        bail!("{package} does not fit {}", rustc.display());
    }
    Ok(driver)
}

/// The driver is linked against the compiler's own library, so a driver of another version does not
/// start.
fn runs(driver: &std::path::Path) -> bool {
    process::output(process::outside_cargo(driver).arg("--version")).is_ok()
}
