//! Who may know what: the invariants of the architecture.

use super::tree::{names, production_code};
use super::{Finding, Tree, error};

/// Values, `smtp` and `policy` are pure: no socket, no clock, no runtime. Their driver has these.
pub fn protocol_and_policy_touch_no_world(tree: &Tree) -> Vec<Finding> {
    const WORLD: [&str; 10] = [
        "tokio",
        "TcpStream",
        "TcpListener",
        "UdpSocket",
        "UnixStream",
        "UnixListener",
        "ToSocketAddrs",
        "std::fs",
        "Instant::now",
        "SystemTime::now",
    ];
    ["relay/mail/src/", "relay/src/smtp/", "relay/src/policy/", "relay/src/explanation/"]
        .iter()
        .flat_map(|folder| naming(tree, folder, &WORLD, |_| false))
        .map(|(file, line, word)| {
            error(file, line, format!("{word}: bytes, answers and the time are given to this module; it does not fetch them"))
        })
        .collect()
}

/// Everything that aya can do is behind the `kernel` module.
pub fn only_kernel_names_aya(tree: &Tree) -> Vec<Finding> {
    let kernel = |file: &str| file.starts_with("relay/src/kernel/");
    naming(tree, "relay/src/", &["aya", "aya_log"], kernel)
        .map(|(file, line, _)| error(file, line, "only relay/src/kernel/ names aya"))
        .collect()
}

/// What kernel and daemon share brings nothing of its own into the kernel.
pub fn relay_common_stands_alone(tree: &Tree) -> Vec<Finding> {
    let optional_aya = |line: &str| line.starts_with("aya ") && line.contains("optional = true");
    let says = "relay-common depends on optional aya only";
    forbidden_dependencies(tree, "relay-common/Cargo.toml", says, |line| !optional_aya(line))
}

/// The crates of values and protocol are pure, and Cargo holds them to it: what a manifest does not
/// name, no file can use.
pub fn pure_crates_depend_on_no_world(tree: &Tree) -> Vec<Finding> {
    const PURE: [&str; 1] = ["relay/mail/Cargo.toml"];
    const WORLD: [&str; 12] = [
        "aya",
        "hickory-resolver",
        "hyper",
        "libc",
        "mio",
        "nix",
        "rusqlite",
        "rustix",
        "socket2",
        "tokio",
        "tokio-rustls",
        "tokio-util",
    ];
    let is_world = |line: &str| {
        let name = line.split(['.', ' ', '=']).next().unwrap_or_default();
        WORLD.contains(&name)
    };
    let says = "a runtime, socket, file or clock: this crate is given bytes, answers and the time";
    PURE.iter().flat_map(|file| forbidden_dependencies(tree, file, says, is_world)).collect()
}

/// Lines of a manifest's dependencies that it may not have; those of its tests it may.
fn forbidden_dependencies(
    tree: &Tree,
    manifest: &str,
    says: &str,
    is_forbidden: impl Fn(&str) -> bool,
) -> Vec<Finding> {
    let Some(text) = tree.file(manifest) else {
        return vec![error(manifest, 0, "is missing")];
    };
    let mut section = "";
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            section = line;
        }
        let depends = section.ends_with("dependencies]") && section != "[dev-dependencies]";
        let is_entry = !line.is_empty() && !line.starts_with(['[', '#']);
        if depends && is_entry && is_forbidden(line) {
            findings.push(error(manifest, index + 1, says));
        }
    }
    findings
}

/// Elsewhere an error is a type beside the code that fails, so that a caller can tell them apart.
pub fn only_command_line_uses_anyhow(tree: &Tree) -> Vec<Finding> {
    let command_line =
        |file: &str| file == "relay/src/main.rs" || file.starts_with("relay/src/cli");
    ["relay/src/", "relay/mail/src/", "relay-common/src/", "relay-ebpf/src/"]
        .iter()
        .flat_map(|folder| naming(tree, folder, &["anyhow"], command_line))
        .map(|(file, line, _)| error(file, line, "only main, cli and xtask use anyhow"))
        .collect()
}

/// Is the whole file a module of tests, or part of one?
fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("/tests/")
}

/// Where production code below `folder` names one of `words`, but for files that may.
fn naming<'tree>(
    tree: &'tree Tree,
    folder: &'tree str,
    words: &'tree [&'tree str],
    may: impl Fn(&str) -> bool + 'tree,
) -> impl Iterator<Item = (&'tree str, usize, &'tree str)> {
    tree.below(folder, ".rs")
        .filter(move |(file, _)| !may(file) && !is_test(file))
        .flat_map(|(file, text)| production_code(text).map(move |(line, code)| (file, line, code)))
        .flat_map(move |(file, line, code)| {
            words.iter().filter(|word| names(code, word)).map(move |&word| (file, line, word))
        })
}
