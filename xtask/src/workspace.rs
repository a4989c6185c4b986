//! Where things are. Decides paths only; creates nothing.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The checkout that the running `cargo xtask` belongs to.
pub struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// Asks cargo's environment, not the path this program was compiled at: the program may be
    /// in a target directory that two checkouts share.
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

    /// The folder with the workspace's `Cargo.toml`.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Cargo's target directory.
    pub fn target(&self) -> &Path {
        &self.target
    }

    /// The manifest of the kernel half, which is no member of the workspace.
    pub fn kernel_manifest(&self) -> PathBuf {
        self.root.join("relay-ebpf/Cargo.toml")
    }

    /// The deployable daemon.
    pub fn daemon(&self) -> PathBuf {
        self.target.join("release/relay")
    }

    /// Programs that `cargo xtask setup` builds for itself; `bin` below holds them.
    pub fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// Kernels and file systems of `cargo xtask guests`.
    pub fn guests(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// Other people's mail software, unpacked and not installed.
    pub fn peers(&self) -> PathBuf {
        self.target.join("peers")
    }
}
