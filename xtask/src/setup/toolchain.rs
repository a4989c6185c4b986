//! What compiles for the kernel's machine: a compiler together with a `core` for it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;

/// The target that the kernel half is compiled for.
pub const TARGET: &str = "bpfel-unknown-none";

/// Groups of Debian packages that hold a compiler and a prebuilt `core` for [`TARGET`]: the
/// first is in the security suites of bookworm and trixie, the second in forky and sid.
pub const DEBIAN_PACKAGES: [&[&str]; 2] =
    [&["rustc-web", "libstd-rust-web-dev-bpf"], &["rustc", "libstd-rust-dev-bpf"]];

/// The distribution's compiler. Rustup's comes first on `PATH`, so it is named in full.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler and a `core` for [`TARGET`].
pub enum Toolchain {
    /// The distribution's compiler with the `core` that it packages.
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

/// The toolchain that is here, if any; the prebuilt one first, since it compiles less.
pub fn find() -> Option<Toolchain> {
    debian().or_else(nightly)
}

/// The toolchain that is here, or a nightly that rustup can still install.
///
/// The distribution's packages were tried before; so this is for other distributions.
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

/// The folder that holds a compiler's `bin` and `lib`.
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
