//! Messages of other projects, if they are on this machine, and our own.

use std::path::{Path, PathBuf};
use std::{env, fs};

use relay_tests::requirements;

/// Names the directory into which `cargo xtask setup` unpacked Python's tests.
const PYTHON_TESTS: &str = "RELAY_PYTHON_TESTS";

/// A collection of messages.
pub struct Corpus {
    pub name: &'static str,
    /// Each message with the name of its file.
    pub messages: Vec<(String, Vec<u8>)>,
}

/// Every available corpus. A missing one is reported; if all tests must run here, it is a failure.
pub fn all(test: &str) -> Vec<Corpus> {
    let mut corpora = vec![own()];
    for (name, files, mend) in [
        ("Python's email tests", python(), "cargo xtask setup unpacks libpython3-testsuite"),
        ("mail-parser's tests", mail_parser(), "cargo fetch brings the crate"),
    ] {
        let read = |path: PathBuf| {
            let octets = fs::read(&path).unwrap();
            (path.display().to_string(), octets)
        };
        if files.is_empty() {
            let required = env::var(requirements::REQUIRE_KERNEL).is_ok_and(|value| value == "1");
            assert!(!required, "{test} needs {name}: {mend}");
            requirements::say_skipped(test, &format!("{name} are not here; {mend}"));
            continue;
        }
        corpora.push(Corpus { name, messages: files.into_iter().map(read).collect() });
    }
    corpora
}

fn python() -> Vec<PathBuf> {
    let unpacked = env::var_os(PYTHON_TESTS).map(PathBuf::from);
    let peers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/peers/python-tests");
    for root in unpacked.into_iter().chain([peers, PathBuf::from("/")]) {
        let mut found = Vec::new();
        for library in entries(&root.join("usr/lib")) {
            files(&library.join("test/test_email/data"), "txt", &mut found);
        }
        if !found.is_empty() {
            found.sort();
            return found;
        }
    }
    Vec::new()
}

/// The sources of a crate with which the daemon is built.
fn mail_parser() -> Vec<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let mut found = Vec::new();
    let registries = home.map(|home| entries(&home.join("registry/src"))).unwrap_or_default();
    for crate_folder in registries.iter().flat_map(|registry| entries(registry)) {
        let name = crate_folder.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("mail-parser-") && found.is_empty() {
            for folder in entries(&crate_folder.join("resources/eml")) {
                files(&folder, "eml", &mut found);
            }
        }
    }
    found.sort();
    found
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect()
}

fn files(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let wanted = |path: &PathBuf| path.extension().is_some_and(|it| it == extension);
    found.extend(entries(folder).into_iter().filter(wanted));
}

/// Messages of devices and attackers, and random mixtures of them.
fn own() -> Corpus {
    const PIECES: [&str; 26] = [
        "    From: app@host.example\r\n",
        "   PID COMMAND\r\n",
        "Disk is full\r\n",
        "From root@host Mon Jan  1 00:00:00 2024\r\n",
        ">From uucp Mon Jan  1\r\n",
        "From: a@b.example\r\n",
        "Subject: x\r\n",
        "\tcontinued\r\n",
        " \r\n",
        "\r\n",
        ".\r\n",
        "..\r\n",
        ".x\r\n",
        "To\u{b}: c\r\n",
        "Rec\u{e9}ived: by x\r\n",
        "X-MS-Exchange-Organization-AuthAs: Internal\r\n",
        "X-Relay-Spam: No\r\n",
        "x-ms-exchange-forest-a : b\r\n",
        "Authentication-Results: edge.test; spf=pass\r\n",
        "Authentication-Results: edge (x).test; spf=pass\r\n",
        "Authentication-Results: mx.example; none\r\n",
        "Received: from a by b; Sun, 1 Jan 2023 00:00:00 +0000\r\n",
        ": no name\r\n",
        "Name :\r\n",
        "\u{e9}\u{e9}\r\n",
        "no end",
    ];
    let mut random = fastrand::Rng::with_seed(0x5322);
    let mut messages: Vec<(String, Vec<u8>)> =
        PIECES.iter().map(|piece| (format!("own {piece:?}"), piece.as_bytes().to_vec())).collect();
    for number in 0..80 {
        let count = random.usize(2..12);
        let pieces: String = (0..count).map(|_| random.choice(PIECES).unwrap()).collect();
        messages.push((format!("own mixture {number}: {pieces:?}"), pieces.into_bytes()));
    }
    // Larger than the database stores, and a section that arrives in several reads.
    let large = format!("    indented\r\n{}", ".0123456789\r\n".repeat(100_000));
    messages.push(("own large".to_owned(), large.into_bytes()));
    let fields = "X-MS-Exchange-Forest-A: b\r\nX-Field: c\r\n\td\r\n".repeat(1_500);
    messages.push(("own many fields".to_owned(), format!("{fields}\r\nx\r\n").into_bytes()));
    messages.push(("own nothing".to_owned(), Vec::new()));
    Corpus { name: "our own", messages }
}
