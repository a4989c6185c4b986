//! Mail servers of other projects, as peers for tests: unpacked into the target directory, so that
//! no server is installed and this machine's own mail system is not changed.

use std::ffi::OsString;
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

/// Exim. Returns the unpacked tree's root: the program is `usr/sbin/exim4`. Exim needs its own
/// user; the caller that starts it must provide it.
pub fn exim(workspace: &Workspace) -> Result<PathBuf> {
    server(workspace, "exim", "exim4-daemon-light", "exim4")
}

/// Python's tests, whose messages are of many kinds. Returns the unpacked tree's root.
pub fn python_tests(workspace: &Workspace) -> Result<PathBuf> {
    const PACKAGES: [&str; 3] =
        ["libpython3.11-testsuite", "libpython3.13-testsuite", "libpython3.12-testsuite"];
    let root = workspace.peers().join("python-tests");
    if root.join("usr/lib").is_dir() {
        return Ok(root);
    }
    if process::find_program("apt-get").is_none() {
        bail!("libpython3-testsuite, a Debian package; its messages are not tested");
    }
    let package = PACKAGES.into_iter().find(|package| debian::is_offered(package));
    let package = package.context("no libpython3-testsuite is offered; run apt-get update")?;
    println!("setup: unpacking {package}; it is not installed");
    debian::unpack(package, &root)?;
    Ok(root)
}

/// OpenSMTPD, which only `cargo xtask bench smtp` needs.
fn opensmtpd(workspace: &Workspace) -> Result<PathBuf> {
    server(workspace, "opensmtpd", "opensmtpd", "smtpd")
}

/// A server from a package, unpacked; the program in `usr/sbin` must find its libraries.
fn server(workspace: &Workspace, folder: &str, package: &str, program: &str) -> Result<PathBuf> {
    let root = workspace.peers().join(folder);
    let program = root.join("usr/sbin").join(program);
    if loads(&program) {
        return Ok(root);
    }
    if process::find_program("apt-get").is_none() {
        bail!("{package}, a Debian package; tests that need it are skipped");
    }
    println!("setup: unpacking {package}; it is not installed");
    let archive = debian::unpack(package, &root)?;
    if !loads(&program) {
        debian::install_libraries_of(&archive)?;
    }
    if !loads(&program) {
        bail!("the unpacked {package} does not find its libraries");
    }
    Ok(root)
}

/// Are all libraries of the program available?
fn loads(program: &Path) -> bool {
    let libraries = process::output(Command::new("ldd").arg(program));
    libraries.is_ok_and(|text| !text.contains("not found"))
}

/// Haraka, from npm. Returns its installation directory.
fn haraka(workspace: &Workspace) -> Result<PathBuf> {
    const PACKAGE: &str = "Haraka@3.3.4";
    let root = workspace.peers().join("haraka");
    if root.join("node_modules/Haraka/package.json").is_file() {
        return Ok(root);
    }
    // Debian 12's Node.js is too old for it, so installing that would not help.
    if process::find_program("npm").is_none() {
        bail!("Haraka needs npm and Node.js 20 or later");
    }
    println!("setup: installing {PACKAGE} with npm, into the target directory");
    std::fs::create_dir_all(&root)?;
    let mut npm = process::outside_cargo("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--ignore-scripts"])
        .args(["--omit=dev", "--omit=optional", "--prefix"])
        .arg(&root)
        .arg(PACKAGE);
    process::run(&mut npm)?;
    Ok(root)
}

/// The servers that `cargo xtask bench smtp` compares: the variables by which it finds them, or the
/// reasons why it cannot. An unavailable server is left out.
pub fn for_benchmark(workspace: &Workspace) -> Vec<(&'static str, OsString)> {
    for unpacked in [postfix(workspace), exim(workspace), opensmtpd(workspace)] {
        if let Err(error) = unpacked {
            eprintln!("setup: MISSING: {error:#}");
        }
    }
    let haraka = match haraka(workspace) {
        Ok(folder) => ("RELAY_BENCH_HARAKA", folder.into()),
        Err(error) => ("RELAY_BENCH_HARAKA_MISSING", format!("{error:#}").into()),
    };
    vec![("RELAY_BENCH_PEERS", workspace.peers().into()), haraka]
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
