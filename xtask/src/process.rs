//! Runs other programs: the printed command, the inherited environment, the error of a failure.

use std::env;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// Directories of administration programs; the `PATH` of an unprivileged user often lacks them.
const ADMINISTRATION_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// The cargo that runs this program, or the one on `PATH`.
pub fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A command without the influence of the cargo that runs this program: another compiler's cargo
/// must not see this one's toolchain, flags, target directory or library path.
pub fn outside_cargo(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        if is_set_by_cargo(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    command
}

/// Prints the command and runs it with our own input and outputs; an error names it.
pub fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    println!("+ {line}");
    let status = command.status().with_context(|| format!("cannot start `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Runs the command silently and returns its trimmed output; an error has its standard error.
pub fn output(command: &mut Command) -> Result<String> {
    let line = describe(command);
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{line}`"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("`{line}` failed: {}\n{}", output.status, errors.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The path of `program`: on `PATH`, or among the administration programs.
pub fn find_program(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(ADMINISTRATION_FOLDERS.iter().map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|candidate| candidate.is_file())
}

/// `PATH` with `folders` before all other directories.
pub fn path_with(folders: &[&Path]) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = folders.iter().map(|folder| folder.to_path_buf());
    env::join_paths(folders.chain(env::split_paths(&path))).context("a folder's name has a colon")
}

/// Whether this process may install packages, load programs and create network namespaces.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn is_set_by_cargo(variable: &str) -> bool {
    const EXACT: [&str; 7] = [
        "CARGO",
        "CARGO_TARGET_DIR",
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTC",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "LD_LIBRARY_PATH",
    ];
    const FAMILIES: [&str; 6] = [
        "CARGO_BUILD_",
        "CARGO_MANIFEST_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "RUSTC_",
    ];
    EXACT.contains(&variable) || FAMILIES.iter().any(|family| variable.starts_with(family))
}

/// The command as typed in a shell, with the variables that it sets; for display, not for
/// execution.
fn describe(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        // PATH is long and RUSTFLAGS has separators; both would hide the command.
        let shown = name != "PATH" && name != "CARGO_ENCODED_RUSTFLAGS";
        value.filter(|_| shown).map(|value| format!("{}={}", name.display(), value.display()))
    });
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned());
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_the_outer_cargo_are_removed_except_its_home() {
        for variable in ["CARGO", "RUSTC", "RUSTC_WRAPPER", "RUSTUP_TOOLCHAIN", "CARGO_PKG_NAME"] {
            assert!(is_set_by_cargo(variable), "{variable}");
        }
        for variable in ["CARGO_HOME", "RUSTUP_HOME", "CARGO_NET_OFFLINE", "PATH"] {
            assert!(!is_set_by_cargo(variable), "{variable}");
        }
    }

    #[test]
    fn an_error_names_the_command_and_its_standard_error() {
        let error = output(Command::new("sh").args(["-c", "echo broken >&2; exit 3"]))
            .expect_err("the command exits 3")
            .to_string();
        assert!(error.contains("exit 3") && error.contains("broken"), "{error}");
    }

    #[test]
    fn a_missing_program_is_not_found() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-of-relay").is_none());
    }
}
