//! A daemon that may not load the kernel half reports what is missing, which rules are not
//! enforced, and the remedy: in `status`, in `check`, and as a warning in the log.

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::Command;

use relay_tests::daemon::{Daemon, binary};
use relay_tests::requirements::{Requirement, met};

use crate::edge::{ARTICLE, Edge, Mode, json_line};
use crate::has_kernel;

const BUDGET: &str = "syn_budget = { rate = \"20/s\", burst = 50 }\n";

fn configuration(edge: &Edge, mode: &str) -> String {
    let connectors = ARTICLE.replacen("tarpit_interval", &format!("{BUDGET}tarpit_interval"), 1);
    let classifier = format!(
        "mode = \"{mode}\"\ninterfaces = [\"lo\"]\npin_directory = \"{}\"",
        edge.pins.display()
    );
    edge.configuration(&connectors).replace("mode = \"userspace\"", &classifier)
}

/// `setpriv` with all of root's capabilities except these.
fn without(capabilities: &str) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", "--bounding-set", capabilities]).arg(binary().unwrap());
    command
}

/// In a separate user namespace, with every capability that it can have there.
fn in_user_namespace() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user"]).arg(binary().unwrap());
    command
}

/// Under a seccomp filter that returns EPERM for bpf(), as container engines' default profiles do.
fn under_seccomp() -> Command {
    /// `struct sock_filter`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Instruction(u16, u8, u8, u32);
    /// `struct sock_fprog`.
    #[repr(C)]
    struct Program {
        length: u16,
        instructions: *const Instruction,
    }
    const PR_SET_NO_NEW_PRIVS: i32 = 38;
    const PR_SET_SECCOMP: i32 = 22;
    const SECCOMP_MODE_FILTER: u64 = 2;
    const BPF: u32 = 321;
    static FILTER: [Instruction; 4] = [
        // If the number of the system call is bpf's, EPERM; otherwise the call is allowed.
        Instruction(0x20, 0, 0, 0),
        Instruction(0x15, 0, 1, BPF),
        Instruction(0x06, 0, 0, 0x0005_0001),
        Instruction(0x06, 0, 0, 0x7fff_0000),
    ];
    unsafe extern "C" {
        fn prctl(option: i32, ...) -> i32;
    }
    let mut command = Command::new(binary().unwrap());
    let filter = || {
        let program = Program { length: 4, instructions: FILTER.as_ptr() };
        // SAFETY: two calls with numbers and a pointer to a program that is alive; no allocation
        // between fork and exec.
        let refused = unsafe {
            prctl(PR_SET_NO_NEW_PRIVS, 1u64, 0u64, 0u64, 0u64) != 0
                || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &raw const program) != 0
        };
        if refused { Err(std::io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure makes two system calls and nothing else.
    unsafe { command.pre_exec(filter) };
    command
}

#[test]
fn missing_rights_and_unenforced_rules_are_reported_everywhere() {
    let test = "missing_rights_and_unenforced_rules_are_reported_everywhere";
    if !has_kernel(test) || !met(test, &[Requirement::Program("setpriv")]) {
        return;
    }
    type Start = fn() -> Command;
    let cases: [(&str, Start, &[&str]); 4] = [
        (
            "perfmon",
            || without("-perfmon,-sys_admin"),
            &["needs CAP_PERFMON,", "CapabilityBoundingSet"],
        ),
        (
            "all",
            || without("-bpf,-perfmon,-net_admin,-sys_admin"),
            &["CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"],
        ),
        ("user namespace", in_user_namespace, &["user namespace"]),
        ("seccomp", under_seccomp, &["seccomp", "SystemCallFilter"]),
    ];
    for (case, start, words) in cases {
        let edge = Edge::new(Mode::Userspace);
        let daemon =
            Daemon::start_command(start(), None, edge.folder(), &configuration(&edge, "auto"))
                .unwrap();
        let status = edge.status();
        let why = status["classifier"]["why"].as_str().unwrap().to_owned();
        for word in words {
            assert!(why.contains(word), "{case}: {why}");
        }
        assert!(!why.contains('\n'), "{case}: one sentence: {why}");
        let not_enforced = status["classifier"]["not_enforced"].to_string();
        for what in ["interface lo", "syn_budget of connector", "refuse of connector"] {
            assert!(not_enforced.contains(what), "{case}: {not_enforced}");
            let line = json_line(&daemon, 0, |line| {
                line["what"].as_str().is_some_and(|told| told.contains(what))
            });
            assert_eq!(line["level"], "WARN", "{case}");
        }
        assert_eq!(daemon.stop().unwrap().code(), Some(0));

        // `check` reports the same, and fails if `run` would.
        let file = edge.folder().join("relay.toml");
        let check = |mode: &str| {
            fs::write(&file, configuration(&edge, mode)).unwrap();
            let output = start().args(["check", "-c"]).arg(&file).output().unwrap();
            (output.status.code(), String::from_utf8(output.stderr).unwrap())
        };
        let (code, said) = check("auto");
        assert_eq!(code, Some(0), "{case}: {said}");
        for word in words.iter().chain(&["syn_budget of connector", "interface lo"]) {
            assert!(said.contains(word), "{case}: {said}");
        }
        let (code, said) = check("kernel");
        assert_eq!(code, Some(2), "{case}: {said}");
        assert!(said.contains(words[0]), "{case}: {said}");
        let run = start().args(["run", "-c"]).arg(&file).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{case}");
        assert!(String::from_utf8_lossy(&run.stderr).contains(words[0]), "{case}");
    }
}
