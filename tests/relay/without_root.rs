//! The daemon as a user who may not load programs.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use relay_tests::daemon::{Daemon, binary};
use relay_tests::requirements::Requirement;

use crate::edge::{ARTICLE, Edge, Mode, SCANNER, json_line};
use crate::{PATIENCE, has_kernel, met};

/// The user `nobody` of most systems; any user without rights would do.
const NOBODY: u32 = 65534;

/// A command that runs the daemon as `nobody`, who gets the host's directory. The program is
/// copied: `nobody` may have no access to the build directory.
fn as_nobody(edge: &Edge) -> Command {
    let program: PathBuf = edge.folder().join("relay");
    fs::copy(binary().unwrap(), &program).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    chown(edge.folder(), Some(NOBODY), Some(NOBODY)).unwrap();
    let mut command = Command::new(program);
    // No groups either: the standard library drops those of root.
    command.uid(NOBODY).gid(NOBODY);
    command
}

fn with_mode(edge: &Edge, mode: &str) -> String {
    edge.configuration(ARTICLE).replace("mode = \"userspace\"", &format!("mode = \"{mode}\""))
}

#[test]
fn auto_says_in_one_line_why_the_kernel_half_is_not_in_use() {
    let test = "auto_says_in_one_line_why_the_kernel_half_is_not_in_use";
    if !has_kernel(test) {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    let configuration = with_mode(&edge, "auto");
    let daemon =
        Daemon::start_command(as_nobody(&edge), None, edge.folder(), &configuration).unwrap();
    let said: Vec<_> = daemon
        .output()
        .lines()
        .filter(|line| line.contains("kernel half"))
        .map(str::to_owned)
        .collect();
    assert_eq!(said.len(), 1, "{said:#?}");
    let line = json_line(&daemon, 0, |line| line["level"] == "WARN");
    let message = "the kernel half is not in use; the daemon's own table classifies connections";
    assert_eq!(line["message"], message);
    let why = line["error"].as_str().unwrap();
    assert!(why.contains("CAP_BPF"), "{why}");
    assert_eq!(edge.status()["classifier"]["why"], why);

    edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.sink.wait_for(1, PATIENCE).unwrap();
    assert_eq!(edge.connector("Scanners")["daemon"]["by_daemon"], 1);
    let line = json_line(&daemon, 0, |line| line["message"] == "session");
    assert!(line["remote"].as_str().unwrap().starts_with(SCANNER));
    assert_eq!(line["why"], "the userspace classifier is in use");
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
}

#[test]
fn mode_kernel_without_the_right_is_an_error() {
    if !met("mode_kernel_without_the_right_is_an_error", &[Requirement::Root]) {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    let file = edge.folder().join("relay.toml");
    let mut command = as_nobody(&edge);
    fs::write(&file, with_mode(&edge, "kernel")).unwrap();
    let output = command.args(["run", "-c"]).arg(&file).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    let last = said.lines().last().unwrap();
    assert!(last.starts_with("relay: the kernel half cannot be used: "), "{said}");
    assert!(!edge.folder().join("queue").exists(), "the start failed before the queue");
}
