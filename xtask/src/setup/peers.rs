//! Other people's mail software, as peers for tests: unpacked into the target directory, so that
//! no server is installed and this machine's own mail system is left alone.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::debian;
use crate::process;
use crate::workspace::Workspace;

/// Postfix's traffic generators, `smtp-source` and `smtp-sink`. Returns the unpacked tree's root:
/// programs in `usr/sbin`, their libraries in `usr/lib/postfix`.
pub fn postfix(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.peers().join("postfix");
    if runs(&root).is_ok() {
        return Ok(root);
    }
    if process::find_program("apt-get").is_none() {
        bail!("smtp-source and smtp-sink of Postfix; tests that need them are skipped");
    }
    println!("setup: unpacking postfix for smtp-source and smtp-sink; it is not installed");
    let archive = debian::unpack("postfix", &root)?;
    if runs(&root).is_err() {
        debian::install_libraries_of(&archive)?;
    }
    runs(&root).context("the unpacked smtp-source does not run")?;
    Ok(root)
}

/// Exim. Returns the unpacked tree's root: the program is `usr/sbin/exim4`.
pub fn exim(workspace: &Workspace) -> Result<PathBuf> {
    let root = workspace.peers().join("exim");
    if exim_loads(&root) {
        return Ok(root);
    }
    if process::find_program("apt-get").is_none() {
        bail!("Exim; tests that need it are skipped");
    }
    println!("setup: unpacking exim4-daemon-light; it is not installed");
    let archive = debian::unpack("exim4-daemon-light", &root)?;
    if !exim_loads(&root) {
        debian::install_libraries_of(&archive)?;
    }
    if !exim_loads(&root) {
        bail!("the unpacked Exim does not find its libraries");
    }
    Ok(root)
}

/// Are all its libraries here? It does not run without a user of its own, which the tests give it.
fn exim_loads(root: &Path) -> bool {
    let libraries = process::output(Command::new("ldd").arg(root.join("usr/sbin/exim4")));
    libraries.is_ok_and(|text| !text.contains("not found"))
}

/// Without arguments the program prints its usage, provided that its libraries load.
fn runs(root: &Path) -> Result<()> {
    let program = root.join("usr/sbin/smtp-source");
    let output = Command::new(&program)
        .env("LD_LIBRARY_PATH", root.join("usr/lib/postfix"))
        .output()
        .with_context(|| format!("{} does not start", program.display()))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if !errors.contains("usage") {
        bail!("{} says: {}", program.display(), errors.trim());
    }
    Ok(())
}
