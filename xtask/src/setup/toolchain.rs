//! The compiler for the kernel half: a compiler together with a `core` for its target.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;

/// The target of the kernel half.
pub const TARGET: &str = "bpfel-unknown-none";

/// Groups of Debian packages with a compiler and a prebuilt `core` for [`TARGET`]: the first is in
/// the security suites of bookworm and trixie, the second in forky and sid.
pub const DEBIAN_PACKAGES: [&[&str]; 2] =
    [&["rustc-web", "libstd-rust-web-dev-bpf"], &["rustc", "libstd-rust-dev-bpf"]];

/// The distribution's compiler. Rustup's is first on `PATH`, so this is a full path.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler and a `core` for [`TARGET`].
pub enum Toolchain {
    /// The distribution's compiler with the `core` of its package.
    DebianPrebuilt {
        /// The compiler's path.
        rustc: PathBuf,
    },
    /// A rustup nightly with `rust-src`, which compiles `core` along with the programs.
    NightlyBuildStd {
        /// The compiler's path.
        rustc: PathBuf,
    },
}

impl fmt::Display for Toolchain {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DebianPrebuilt { rustc } => write!(formatter, "{}", rustc.display()),
            Self::NightlyBuildStd { rustc } => {
                write!(formatter, "{} with -Zbuild-std=core", rustc.display())
            }
        }
    }
}

/// The available toolchain, if any; the prebuilt one first, since it compiles less.
pub fn find() -> Option<Toolchain> {
    debian().or_else(nightly)
}

/// The available toolchain, or a nightly that rustup installs now.
///
/// Setup tried the distribution's packages before; so this is for other distributions.
pub fn find_or_install() -> Result<Toolchain> {
    if let Some(toolchain) = find() {
        return Ok(toolchain);
    }
    if process::find_program("apt-get").is_none() && process::find_program("rustup").is_some() {
        println!("setup: installing a rustup nightly with rust-src");
        process::run(process::outside_cargo("rustup").args([
            "toolchain",
            "install",
            "nightly",
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ]))?;
    }
    match find() {
        Some(toolchain) => Ok(toolchain),
        None => bail!(
            "no compiler for {TARGET}; install `{}` as root, or run \
             `rustup toolchain install nightly --component rust-src`",
            DEBIAN_PACKAGES[0].join(" "),
        ),
    }
}

fn debian() -> Option<Toolchain> {
    let rustc = PathBuf::from(DEBIAN_RUSTC);
    let sysroot = sysroot(&rustc).ok()?;
    has_core(&sysroot).then_some(Toolchain::DebianPrebuilt { rustc })
}

fn nightly() -> Option<Toolchain> {
    let mut command = process::outside_cargo("rustup");
    let rustc = process::output(command.args(["which", "--toolchain", "nightly", "rustc"])).ok()?;
    let rustc = PathBuf::from(rustc);
    let sources = sysroot(&rustc).ok()?.join("lib/rustlib/src/rust/library/core");
    sources.is_dir().then_some(Toolchain::NightlyBuildStd { rustc })
}

/// The directory with a compiler's `bin` and `lib`.
pub fn sysroot(rustc: &Path) -> Result<PathBuf> {
    let path = process::output(process::outside_cargo(rustc).args(["--print", "sysroot"]))
        .with_context(|| format!("{} does not run", rustc.display()))?;
    Ok(PathBuf::from(path))
}

fn has_core(sysroot: &Path) -> bool {
    let folder = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    fs::read_dir(folder).is_ok_and(|entries| {
        entries.filter_map(Result::ok).any(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("libcore-")
        })
    })
}
