//! Which code may use which dependency: the invariants of the architecture.

use super::tree::{names, production_code};
use super::{Finding, Tree, error};

/// The crates of values, protocol and decisions.
pub(super) const PURE: [&str; 8] =
    ["mail", "connector", "users", "message", "smtp", "policy", "session", "explanation"];

/// Values, protocol, policy and session are pure: no socket, no clock, no runtime. Their driver has these.
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
    let is_pure =
        |file: &str| PURE.iter().any(|name| file.starts_with(&format!("relay/{name}/src/")));
    naming(tree, "relay/", &WORLD, |file| !is_pure(file))
        .map(|(file, line, word)| {
            error(
                file,
                line,
                format!("{word}: this module gets octets, answers and the time from its caller"),
            )
        })
        .collect()
}

/// A library that one crate hides from the others, and that crate.
const HIDDEN: [(&str, &str); 3] =
    [("aya", "relay/kernel/"), ("aya_log", "relay/kernel/"), ("rusqlite", "relay/queue/")];

/// Only one crate uses aya, and only one SQLite: the others could be built upon another library.
pub fn one_crate_names_a_library(tree: &Tree) -> Vec<Finding> {
    let find = |(library, home): &'static (&'static str, &'static str)| {
        let words = std::slice::from_ref(library);
        naming(tree, "relay/", words, |file| file.starts_with(home) || !file.contains("/src/"))
            .map(|(file, line, _)| error(file, line, format!("only {home} names {library}")))
            .collect::<Vec<_>>()
    };
    HIDDEN.iter().flat_map(find).collect()
}

/// The code that kernel and daemon share brings no dependency into the kernel.
pub fn relay_common_stands_alone(tree: &Tree) -> Vec<Finding> {
    let optional_aya = |line: &str| line.starts_with("aya ") && line.contains("optional = true");
    let says = "relay-common depends on optional aya only";
    forbidden_dependencies(tree, "relay-common/Cargo.toml", says, |line| !optional_aya(line))
}

/// The crates of values and protocol are pure, and Cargo enforces this: no file can use a crate
/// that the manifest does not name.
pub fn pure_crates_depend_on_no_world(tree: &Tree) -> Vec<Finding> {
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
    let says = "a runtime, socket, file or clock: this crate gets octets, answers and the time from its caller";
    let manifests = PURE.map(|name| format!("relay/{name}/Cargo.toml"));
    manifests.iter().flat_map(|file| forbidden_dependencies(tree, file, says, is_world)).collect()
}

/// Lines of a manifest with forbidden dependencies; dependencies of tests are allowed.
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

/// In other modules an error is a type beside the code that fails, so that a caller can distinguish
/// errors.
pub fn only_command_line_uses_anyhow(tree: &Tree) -> Vec<Finding> {
    let command_line = |file: &str| {
        file == "relay/src/main.rs" || file.starts_with("relay/src/cli") || !file.contains("/src/")
    };
    ["relay/", "relay-common/src/", "relay-ebpf/src/"]
        .iter()
        .flat_map(|folder| naming(tree, folder, &["anyhow"], command_line))
        .map(|(file, line, _)| error(file, line, "only main, cli and xtask use anyhow"))
        .collect()
}

/// Is the whole file a module of tests, or part of one?
pub(super) fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("/tests/")
}

/// Lines of production code below `folder` with one of `words`, except in allowed files.
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
