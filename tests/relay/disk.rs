//! A disk that is full, out of inodes, read-only or broken: the client gets a temporary refusal, no
//! incomplete message is delivered, and service resumes by itself.
//!
//! The queue is on a separate file system, in a mount namespace of the daemon alone; the test
//! accesses it through the daemon's root. strace injects errors of the disk: system calls fail
//! without being executed.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_tests::daemon::{self, Daemon};
use relay_tests::requirements::{Requirement, met};
use relay_tests::sink::{Script, Sink};

use crate::PATIENCE;
use crate::dialogue::Dialogue;
use crate::durability::without_next_hop;
use crate::edge::{ARTICLE, Edge, Mode, SCANNER, json_line};

/// More than the 128 MiB that must be free before a message may begin.
const DISK: &str = "size=192m,nr_inodes=64";
const FULL: &str = "452 4.3.1 ";
const LARGE: usize = 600_000;

fn may_mount(test: &str) -> bool {
    met(test, &[Requirement::Root, Requirement::Program("unshare")])
}

/// Starts the daemon with its queue on a separate file system; returns its path.
fn start_on_small_disk(edge: &Edge, configuration: &str) -> (Daemon, PathBuf) {
    let queue = edge.folder().join("queue");
    fs::create_dir(&queue).unwrap();
    let mut command = Command::new("unshare");
    let script = "mount -t tmpfs -o \"$1\" queue \"$0\" && shift && exec \"$@\"";
    command.args(["--mount", "sh", "-c", script]).arg(&queue).arg(DISK);
    command.arg(daemon::binary().unwrap());
    let daemon = Daemon::start_command(command, None, edge.folder(), configuration).unwrap();
    let root = PathBuf::from(format!("/proc/{}/root", daemon.id()));
    let disk = root.join(queue.strip_prefix("/").unwrap());
    assert!(disk.join("queue.db").exists() && !queue.join("queue.db").exists());
    (daemon, disk)
}

/// Fills the disk completely.
fn fill(disk: &Path) {
    let mut file = File::create(disk.join("filler")).unwrap();
    let megabyte = vec![b'x'; 1 << 20];
    while file.write_all(&megabyte).is_ok() {}
}

fn content(number: usize, octets: usize) -> String {
    let head = format!("Subject: {number}\r\n\r\n");
    head + &format!("{number:010} and so on\r\n").repeat(octets / 22)
}

/// Sends a message up to its end. Returns the reply to the end, or the first refusal.
fn try_submit(edge: &Edge, content: &str) -> String {
    let mut client = edge.connect(SCANNER);
    client.hello();
    for command in ["MAIL FROM:<a@contoso.example>", "RCPT TO:<b@fabrikam.example>", "DATA"] {
        let reply = client.say(command);
        if !reply.starts_with(['2', '3']) {
            return reply;
        }
    }
    client.send(content.as_bytes());
    client.say(".")
}

/// Begins a message and sends all but its end.
fn begin(edge: &Edge, content: &str) -> Dialogue {
    let mut client = edge.connect(SCANNER);
    client.hello();
    client.begin("a@contoso.example", &["b@fabrikam.example"]);
    client.send(content.as_bytes());
    client
}

fn send_until_accepted(edge: &Edge, content: &str) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let reply = try_submit(edge, content);
        if reply.starts_with("250 ") {
            return;
        }
        assert!(reply.starts_with('4') && Instant::now() < deadline, "{reply}");
        sleep(Duration::from_millis(50));
    }
}

/// The sink must have exactly these messages when the queue is empty.
fn arrives(edge: &Edge, sink: &Sink, kept: &[String]) {
    sink.wait_for(kept.len(), PATIENCE).unwrap();
    edge.wait_until(|status| status["queue"]["queued"] == 0);
    let subject = |text: &str| text[text.find("Subject: ").unwrap()..].to_owned();
    let mut arrived: Vec<_> = sink.messages().iter().map(|it| subject(&it.text())).collect();
    let mut kept = kept.to_vec();
    arrived.sort_unstable();
    kept.sort_unstable();
    let subjects = |all: &[String]| {
        all.iter().map(|text| text.lines().next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(subjects(&arrived), subjects(&kept));
    assert!(arrived == kept, "other octets arrived than were sent");
}

/// The disk becomes unusable during messages, and then usable again.
fn outlives(edge: &Edge, spoil: impl Fn(&Path), mend: impl Fn(&Path)) {
    let (configuration, later) = without_next_hop(edge);
    let (_daemon, disk) = start_on_small_disk(edge, &configuration);
    let mut kept = vec![content(0, 5_000), content(1, LARGE)];
    for content in &kept {
        let reply = try_submit(edge, content);
        assert!(reply.starts_with("250 "), "{reply}");
    }

    let (small, large, growing) = (content(2, 5_000), content(3, 1_000), content(4, LARGE));
    let mut small = begin(edge, &small);
    let mut large = begin(edge, &large);
    let mut growing = begin(edge, &growing);
    // Before the disk fails, the second large message has its file, and the first has none.
    let messages = disk.join("messages");
    let deadline = Instant::now() + PATIENCE;
    while fs::read_dir(&messages).unwrap().count() < 2 {
        assert!(Instant::now() < deadline, "a large message gets no file");
        sleep(Duration::from_millis(10));
    }
    spoil(&disk);
    let refused = try_submit(edge, &content(5, 100));
    assert!(refused.starts_with(FULL), "{refused}");
    assert!(small.say(".").starts_with(FULL));
    large.send(content(3, LARGE).as_bytes());
    assert!(large.say(".").starts_with(FULL));
    growing.send(content(4, LARGE).as_bytes());
    assert!(growing.say(".").starts_with(FULL));
    // Refused messages leave no file.
    assert_eq!(fs::read_dir(&messages).unwrap().count(), 1);

    mend(&disk);
    for content in [content(6, 5_000), content(7, LARGE)] {
        send_until_accepted(edge, &content);
        kept.push(content);
    }
    let sink = Sink::start(None, later, Script::default()).unwrap();
    arrives(edge, &sink, &kept);
}

#[test]
fn a_full_disk_refuses_incoming_messages_and_accepts_mail_when_there_is_space() {
    if !may_mount("a_full_disk_refuses_incoming_messages_and_accepts_mail_when_there_is_space") {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    outlives(&edge, fill, |disk| fs::remove_file(disk.join("filler")).unwrap());
}

#[test]
fn a_disk_without_inodes_refuses_incoming_messages_and_accepts_mail_when_there_are_some() {
    let test =
        "a_disk_without_inodes_refuses_incoming_messages_and_accepts_mail_when_there_are_some";
    if !may_mount(test) {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    let name = |disk: &Path, number: u32| disk.join(format!("filler-{number}"));
    let spoil = |disk: &Path| {
        while (0..).map(|it| name(disk, it)).try_for_each(|it| File::create(it).map(drop)).is_ok() {
        }
    };
    let mend =
        |disk: &Path| while (0..).map(|it| name(disk, it)).try_for_each(fs::remove_file).is_ok() {};
    outlives(&edge, spoil, mend);
}

#[test]
fn back_pressure_refuses_clients_before_the_disk_is_full_and_falls_by_itself() {
    if !may_mount("back_pressure_refuses_clients_before_the_disk_is_full_and_falls_by_itself") {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    let pressure = "[back_pressure]\ndisk_use = { low_to_medium = 60, medium_to_high = 80, \
                    high_to_medium = 50, medium_to_low = 40 }\n";
    let configuration = edge.configuration(&format!("{pressure}{ARTICLE}"));
    let (_daemon, disk) = start_on_small_disk(&edge, &configuration);
    fill(&disk);
    edge.wait_until(|status| status["back_pressure"]["level"] == "High");
    assert!(edge.connect(SCANNER).greeting.starts_with("421 4.3.2 "));
    fs::remove_file(disk.join("filler")).unwrap();
    edge.wait_until(|status| status["back_pressure"]["level"] == "Normal");
    let kept = content(0, LARGE);
    assert!(try_submit(&edge, &kept).starts_with("250 "));
    arrives(&edge, &edge.sink, &[kept]);
}

/// Some calls of each thread fail, selected by their number. The thread that opens the queue makes
/// fewer calls than the one that writes to it. Afterwards all calls succeed again.
fn outlives_errors(test: &str, injected: &str) {
    if !met(test, &[Requirement::Program("strace")]) {
        return;
    }
    let edge = Edge::new(Mode::Userspace);
    let (configuration, later) = without_next_hop(&edge);
    let (calls, _) = injected.split_once(':').unwrap();
    let mut command = Command::new("strace");
    // Detached, so that the started process is the daemon.
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", "signal=none"]);
    command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={injected}")]);
    command.arg(daemon::binary().unwrap());
    let daemon = Daemon::start_command(command, None, edge.folder(), &configuration).unwrap();
    let (mut kept, mut refused) = (Vec::new(), 0);
    let deadline = Instant::now() + PATIENCE;
    let mut number = 0;
    // Until it has failed, and twenty messages longer.
    while refused == 0 || kept.len() < 20 {
        assert!(Instant::now() < deadline, "{refused} refused, {} kept", kept.len());
        let content = content(number, if number % 7 == 3 { LARGE } else { 2_000 });
        let reply = try_submit(&edge, &content);
        match reply.starts_with("250 ") {
            true => kept.push(content),
            false => {
                assert!(reply.starts_with("451 4.3.0 ") || reply.starts_with(FULL), "{reply}");
                refused += 1;
                sleep(Duration::from_millis(100));
            }
        }
        number += 1;
    }
    for message in [
        "the queue refuses mail until its database can be opened again",
        "the queue accepts mail again",
    ] {
        json_line(&daemon, 0, |line| line["message"] == message);
    }
    let sink = Sink::start(None, later, Script::default()).unwrap();
    arrives(&edge, &sink, &kept);
}

#[test]
fn syncs_that_fail_refuse_mail_until_they_succeed() {
    let test = "syncs_that_fail_refuse_mail_until_they_succeed";
    outlives_errors(test, "fdatasync:error=EIO:when=20..22");
}

#[test]
fn a_read_only_disk_refuses_mail_until_it_can_be_written() {
    let test = "a_read_only_disk_refuses_mail_until_it_can_be_written";
    outlives_errors(test, "pwrite64:error=EROFS:when=60..63");
}
