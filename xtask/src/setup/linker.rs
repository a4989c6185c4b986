//! `bpf-linker`, which turns the compiler's bitcode into a BPF object with type information.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::process;
use crate::workspace::Workspace;

/// Installed if there is no suitable linker. Its default feature uses the LLVM of rustup's
/// compiler, so that no LLVM package is needed.
const VERSION: &str = "0.10.3";

/// The oldest release that works.
const OLDEST: [u32; 3] = [0, 10, 3];

/// The linker in our own tools, otherwise the one on `PATH`, otherwise a new one in our own tools.
pub fn find_or_install(workspace: &Workspace) -> Result<PathBuf> {
    let own = workspace.tools().join("bin/bpf-linker");
    let on_path = process::find_program("bpf-linker");
    if let Some(linker) = [Some(own.clone()), on_path].into_iter().flatten().find(|it| fits(it)) {
        return Ok(linker);
    }
    println!("setup: building bpf-linker {VERSION}, which takes some minutes");
    let mut install = process::outside_cargo("cargo");
    install.args(["install", "bpf-linker", "--version", VERSION, "--locked", "--root"]);
    process::run(install.arg(workspace.tools()))
        .context("bpf-linker does not install; the kernel half cannot be linked without it")?;
    Ok(own)
}

fn fits(linker: &Path) -> bool {
    process::output(Command::new(linker).arg("--version"))
        .is_ok_and(|line| version(&line).is_some_and(|version| version >= OLDEST))
}

/// The version in a line such as `bpf-linker 0.10.3`.
fn version(line: &str) -> Option<[u32; 3]> {
    let mut numbers = line.split_whitespace().nth(1)?.splitn(3, '.').map(str::parse);
    Some([numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        assert!(version("bpf-linker 0.10.3").is_some_and(|version| version >= OLDEST));
        assert!(version("bpf-linker 0.13.0").is_some_and(|version| version >= OLDEST));
        assert!(version("bpf-linker 0.9.14").is_some_and(|version| version < OLDEST));
        assert_eq!(version("bpf-linker"), None);
        assert_eq!(version("bpf-linker unknown"), None);
    }
}
