//! The daemon with its own user: the change of user, the rights that it retains, and files that it
//! cannot write.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

use relay_tests::requirements::Requirement;

use crate::edge::{ARTICLE, Edge, Mode};
use crate::{PATIENCE, has_kernel, met};

/// A user and a group that every system has, and their numbers.
const USER: &str = "nobody";
const USER_ID: u32 = 65534;

/// An edge host whose daemon becomes `nobody`, in a directory that `nobody` cannot enter.
fn edge_with_user_nobody(mode: Mode) -> (Edge, String) {
    let edge = Edge::new(mode);
    fs::set_permissions(edge.folder(), Permissions::from_mode(0o711)).unwrap();
    let user = format!("[daemon]\nuser = \"{USER}\"\n[classifier]");
    let configuration = edge
        .configuration(ARTICLE)
        .replace("[classifier]", &user)
        .replace("/control.sock", "/run/control.sock");
    (edge, configuration)
}

fn line<'a>(status: &'a str, name: &str) -> Vec<&'a str> {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().skip(1).collect()
}

/// Files by which a process could take control of the host.
const FORBIDDEN: [&str; 7] = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sysrq-trigger",
    "/sys/fs/cgroup/cgroup.procs",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/ld.so.preload",
];

#[test]
fn the_daemon_becomes_its_user_and_retains_one_capability() {
    let test = "the_daemon_becomes_its_user_and_retains_one_capability";
    if !has_kernel(test) || !met(test, &[Requirement::Program("setpriv")]) {
        return;
    }
    let (edge, configuration) = edge_with_user_nobody(Mode::Kernel);
    let daemon = edge.start_with(&configuration);
    edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.sink.wait_for(1, PATIENCE).unwrap();

    let folder = format!("/proc/{}/task", daemon.id());
    for thread in fs::read_dir(folder).unwrap() {
        let Ok(status) = fs::read_to_string(thread.unwrap().path().join("status")) else {
            continue;
        };
        for name in ["Uid:", "Gid:"] {
            assert_eq!(line(&status, name), ["65534"; 4], "{status}");
        }
        assert!(line(&status, "Groups:").iter().all(|&group| group == "65534"), "{status}");
        assert_eq!(line(&status, "NoNewPrivs:"), ["1"], "{status}");
        // CAP_NET_BIND_SERVICE is bit 10.
        for name in ["CapPrm:", "CapEff:", "CapBnd:"] {
            assert_eq!(line(&status, name), ["0000000000000400"], "{status}");
        }
        for name in ["CapInh:", "CapAmb:"] {
            assert_eq!(line(&status, name), ["0000000000000000"], "{status}");
        }
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().filter(|&word| word == "0").count() == 2, "{core}");
    // Not dumpable: the files of /proc/PID are root's, and closed to the daemon's own user.
    let memory = fs::metadata(format!("/proc/{}/mem", daemon.id())).unwrap();
    assert_eq!(memory.uid(), 0);

    // All files that it has created belong to its user and are closed to others.
    let queue = edge.folder().join("queue");
    for path in [&queue, &queue.join("messages"), &queue.join("queue.db"), &edge.pins] {
        let metadata = fs::metadata(path).unwrap();
        assert_eq!(metadata.uid(), USER_ID, "{}", path.display());
        assert_eq!(metadata.mode() & 0o077, 0, "{}", path.display());
    }
    for pin in fs::read_dir(&edge.pins).unwrap() {
        assert_eq!(pin.unwrap().metadata().unwrap().uid(), USER_ID);
    }
    let socket = fs::metadata(edge.folder().join("run/control.sock")).unwrap();
    assert_eq!((socket.uid(), socket.mode() & 0o777), (USER_ID, 0o600));

    // Files that such a process must not be able to open for writing.
    for path in FORBIDDEN {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", USER, "--regid", "65534", "--init-groups", "--no-new-privs"]);
        command.args(["--bounding-set=-all,+net_bind_service"]);
        command.args(["--inh-caps=-all,+net_bind_service", "--ambient-caps=+net_bind_service"]);
        command.args(["sh", "-c", &format!(": >>{path}")]);
        assert!(!command.output().unwrap().status.success(), "{path} can be written to");
    }
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
    assert!(fs::read_dir(&edge.pins).into_iter().flatten().next().is_none(), "pins stay behind");
}

#[test]
fn a_reload_works_after_the_change_of_user() {
    if !has_kernel("a_reload_works_after_the_change_of_user") {
        return;
    }
    let (edge, configuration) = edge_with_user_nobody(Mode::Kernel);
    let daemon = edge.start_with(&configuration);
    // Another binding below 1024, and 100,000 more ranges.
    let mut ranges = String::new();
    for number in 0..100_000_u32 {
        let [_, a, b, c] = (number * 4).to_be_bytes();
        ranges.push_str(&format!("\"10.{a}.{b}.{c}/31\","));
    }
    let more = format!(
        "[[connector]]\nname = \"More\"\nbindings = [\"127.0.0.99:981\"]\n\
         remote_ip_ranges = [{ranges}]\npermission_groups = [\"AnonymousUsers\"]\n"
    );
    fs::write(daemon.configuration(), format!("{configuration}{more}")).unwrap();
    let ran = edge.relay(&["reload"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.out.contains("100005 ranges"), "{ran:?}");
    assert!(std::net::TcpStream::connect("127.0.0.99:981").is_ok());
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
}

#[test]
fn a_file_that_its_user_cannot_read_ends_the_start_with_an_error_that_names_the_user() {
    if !met(
        "a_file_that_its_user_cannot_read_ends_the_start_with_an_error_that_names_the_user",
        &[Requirement::Root],
    ) {
        return;
    }
    let (edge, configuration) = edge_with_user_nobody(Mode::Userspace);
    fs::write(edge.folder().join("users.toml"), "").unwrap();
    let key = edge.folder().join("key.pem");
    fs::write(&key, "").unwrap();
    fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    let tls = format!("[tls]\ncertificate = \"{0}\"\nkey = \"{0}\"\n[queue]", key.display());
    let ran = edge.fail_to_start(&configuration.replace("[queue]", &tls));
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("key.pem") && ran.err.contains("`nobody`"), "{ran:?}");
    // A refused start has not changed any owner: the earlier file works.
    let queue = edge.folder().join("queue");
    assert!(!queue.exists() || fs::metadata(&queue).unwrap().uid() == 0);

    // A reload reads its configuration again.
    let file = edge.folder().join("relay.toml");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    let ran = edge.fail_to_start(&configuration);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("relay.toml") && ran.err.contains("setfacl"), "{ran:?}");
}

#[test]
fn an_unknown_user_and_a_forbidden_user_are_errors() {
    let test = "an_unknown_user_and_a_forbidden_user_are_errors";
    if !met(test, &[Requirement::Root, Requirement::Program("setpriv")]) {
        return;
    }
    let (edge, configuration) = edge_with_user_nobody(Mode::Userspace);
    let unknown = configuration.replace("user = \"nobody\"", "user = \"nouser\"");
    let ran = edge.fail_to_start(&unknown);
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("nouser"), "{ran:?}");
    let file = edge.folder().join("relay.toml");
    fs::write(&file, configuration.replace("user = \"nobody\"", "user = \"root\"")).unwrap();
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let program = edge.folder().join("relay");
    fs::copy(relay_tests::daemon::binary().unwrap(), &program).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid", USER, "--regid", "65534", "--clear-groups"]).arg(&program);
    let output = command.args(["run", "-c"]).arg(&file).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("`root`"), "{output:?}");
}

#[test]
fn a_queue_of_root_changes_its_owner_and_one_of_another_user_is_refused() {
    let test = "a_queue_of_root_changes_its_owner_and_one_of_another_user_is_refused";
    if !met(test, &[Requirement::Root]) {
        return;
    }
    let (edge, configuration) = edge_with_user_nobody(Mode::Userspace);
    let as_root = configuration.replace("user = \"nobody\"", "");
    let queue = edge.folder().join("queue");
    drop(edge.start_with(&as_root));
    assert_eq!(fs::metadata(queue.join("queue.db")).unwrap().uid(), 0);
    drop(edge.start_with(&configuration));
    for part in ["", "queue.db", "messages", "lock"] {
        assert_eq!(fs::metadata(queue.join(part)).unwrap().uid(), USER_ID, "{part}");
    }
    // Now it belongs to `nobody`, and root's daemon does not change the owner back.
    let ran = edge.fail_to_start(&as_root);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("chown -R root:"), "{ran:?}");
    // A directory with other files is not changed.
    let other = edge.folder().join("other");
    fs::create_dir(&other).unwrap();
    fs::write(other.join("mine"), "").unwrap();
    symlink("/etc/passwd", other.join("lock")).unwrap();
    let elsewhere = configuration.replace("/queue\"", "/other\"");
    let ran = edge.fail_to_start(&elsewhere);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.err.contains("chown -R nobody:"), "{ran:?}");
    assert_eq!(fs::metadata(other.join("mine")).unwrap().uid(), 0);
}

#[test]
fn the_mode_of_a_queue_that_others_may_enter_is_corrected() {
    let edge = Edge::new(Mode::Userspace);
    let queue = edge.folder().join("queue");
    drop(edge.start());
    let open = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    open(&queue, 0o755);
    for name in ["queue.db", "lock"] {
        open(&queue.join(name), 0o644);
    }
    open(&queue.join("messages"), 0o775);
    let daemon = edge.start();
    edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    edge.sink.wait_for(1, PATIENCE).unwrap();
    let mut seen = 0;
    for entry in fs::read_dir(&queue).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().mode() & 0o077, 0, "{}", entry.path().display());
        seen += 1;
    }
    assert!(seen >= 5, "{seen}");
    assert_eq!(fs::metadata(&queue).unwrap().mode() & 0o777, 0o700);
    let told = daemon.output().lines().filter(|line| line.contains("closed to them")).count();
    assert_eq!(told, 4, "{}", daemon.output());
}

#[test]
fn a_pin_directory_of_another_user_prevents_only_the_pins() {
    if !has_kernel("a_pin_directory_of_another_user_prevents_only_the_pins") {
        return;
    }
    let edge = Edge::new(Mode::Kernel);
    fs::create_dir(&edge.pins).unwrap();
    chown(&edge.pins, Some(USER_ID), None).unwrap();
    // The other user also holds the lock.
    let locked = fs::File::open(&edge.pins).unwrap();
    locked.try_lock().unwrap();
    let daemon = edge.start();
    let classifier = &edge.status()["classifier"];
    assert_eq!(classifier["decided_by"], "kernel");
    assert!(classifier["not_pinned"].as_str().unwrap().contains("`nobody`"), "{classifier}");
    drop(daemon);
    drop(locked);
    chown(&edge.pins, Some(0), None).unwrap();
    fs::set_permissions(&edge.pins, Permissions::from_mode(0o755)).unwrap();
    let _daemon = edge.start();
    assert_eq!(edge.status()["classifier"]["not_pinned"], serde_json::Value::Null);
    assert_eq!(fs::metadata(&edge.pins).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn too_few_descriptors_or_threads_end_the_start_with_a_sentence() {
    let test = "too_few_descriptors_or_threads_end_the_start_with_a_sentence";
    if !met(test, &[Requirement::Root, Requirement::Program("prlimit")]) {
        return;
    }
    let (edge, configuration) = edge_with_user_nobody(Mode::Userspace);
    let file = edge.folder().join("relay.toml");
    fs::write(&file, &configuration).unwrap();
    let program = relay_tests::daemon::binary().unwrap();
    let run = |limit: &str| {
        let mut command = Command::new("prlimit");
        command.arg(limit).arg(program).args(["run", "-c"]).arg(&file);
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, said) = run("--nofile=40");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("LimitNOFILE"), "{said}");
    // The limit counts processes of the user that the daemon becomes.
    let (code, said) = run("--nproc=3");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("TasksMax"), "{said}");
}

#[test]
fn a_start_that_is_refused_leaves_the_queue_with_its_owner() {
    let test = "a_start_that_is_refused_leaves_the_queue_with_its_owner";
    if !met(test, &[Requirement::Root]) {
        return;
    }
    let (edge, of_nobody) = edge_with_user_nobody(Mode::Userspace);
    let of_root = of_nobody.replace("user = \"nobody\"", "user = \"root\"");
    drop(edge.start_with(&of_root));
    let queue = edge.folder().join("queue");
    let owner = || fs::metadata(&queue).unwrap().uid();
    assert_eq!(owner(), 0);
    // Files that its user cannot read; and a port that another program has.
    let users = edge.folder().join("users.toml");
    fs::write(&users, "").unwrap();
    fs::set_permissions(&users, Permissions::from_mode(0o600)).unwrap();
    let unreadable = format!("{of_nobody}\n[authentication]\nusers_file = {users:?}\n");
    let ran = edge.fail_to_start(&unreadable);
    assert!(ran.err.contains("users.toml"), "{ran:?}");
    assert_eq!(owner(), 0);
    let other = std::net::TcpListener::bind(edge.address()).unwrap();
    edge.fail_to_start(&of_nobody);
    assert_eq!(owner(), 0);
    drop(other);
    // A control socket below a file, and a directory that its user may not enter.
    let below = edge.folder().join("users.toml/control.sock");
    let socket = edge.folder().join("run/control.sock");
    let astray = of_nobody.replace(&format!("{socket:?}"), &format!("{below:?}"));
    assert_ne!(astray, of_nobody);
    edge.fail_to_start(&astray);
    assert_eq!(owner(), 0);
    let closed = edge.folder().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
    let within = closed.join("queue");
    let away = of_nobody.replace(&format!("{queue:?}"), &format!("{within:?}"));
    assert_ne!(away, of_nobody);
    let ran = edge.fail_to_start(&away);
    assert!(ran.err.contains("may not enter"), "{ran:?}");
    assert!(!within.exists());
    let file = edge.folder().join("relay.toml");
    fs::write(&file, &away).unwrap();
    let ran = edge.relay_with(&["check"], &file);
    assert!(ran.code == 2 && ran.err.contains("may not enter"), "{ran:?}");
    drop(edge.start_with(&of_root));

    // In the other order too, check agrees with the start.
    drop(edge.start_with(&of_nobody));
    assert_eq!(owner(), USER_ID);
    let ran = edge.fail_to_start(&of_root);
    assert!(ran.err.contains("belongs to user"), "{ran:?}");
    for (user, code) in [("user = \"root\"\n", 2), ("", 0)] {
        let text = of_nobody.replace("user = \"nobody\"\n", user);
        let file = edge.folder().join("relay.toml");
        fs::write(&file, text).unwrap();
        let ran = edge.relay_with(&["check"], &file);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.err.contains("belongs to user"), "{ran:?}");
    }
}
