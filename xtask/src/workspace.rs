//! Paths of the workspace. Creates nothing.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The checkout that the running `cargo xtask` belongs to.
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Uses cargo's environment, not the path at which this program was compiled: two checkouts may
    /// share a target directory.
    pub fn find() -> Result<Self> {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .context("CARGO_MANIFEST_DIR is not set; start this program as `cargo xtask`")?;
        let root = Path::new(&manifest).parent().context("xtask has no parent folder")?.to_owned();
        ensure!(root.join("relay").is_dir(), "{} is not the relay workspace", root.display());
        let target = match env::var_os("CARGO_TARGET_DIR") {
            Some(directory) => env::current_dir()?.join(directory),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// The directory with the workspace's `Cargo.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The manifest of the kernel half, which is not a member of the workspace.
    pub fn kernel_manifest(&self) -> PathBuf {
        self.root.join("relay-ebpf/Cargo.toml")
    }

    /// The deployable daemon.
    pub fn daemon(&self) -> PathBuf {
        self.target.join("release/relay")
    }

    /// Programs that `cargo xtask setup` builds for its own use; they are in `bin` below this
    /// directory.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Kernels and file systems of `cargo xtask guests`.
    pub fn guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// Mail servers of other projects, unpacked and not installed.
    pub fn peers(&self) -> PathBuf {
        self.target.join("peers")
    }
}
