//! Standard error that is closed, full, not read, or the journal.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_tests::daemon::binary;
use rustix::process::{Pid, Signal, kill_process};

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, Mode};

/// A daemon whose log the test does not read. Dropping it kills it.
struct Unheard(Child);

impl Unheard {
    /// Starts the daemon and waits until it answers.
    fn start(edge: &Edge, configuration: &str, stderr: impl Into<Stdio>) -> Self {
        let file = edge.folder().join("relay.toml");
        fs::write(&file, configuration).unwrap();
        let mut command = Command::new(binary().unwrap());
        command.args(["run", "-c"]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null());
        let daemon = Self(command.stderr(stderr).spawn().unwrap());
        let deadline = Instant::now() + PATIENCE;
        while edge.relay(&["status"]).code != 0 {
            assert!(Instant::now() < deadline, "the daemon does not answer");
            sleep(Duration::from_millis(20));
        }
        daemon
    }

    fn stop(mut self) -> ExitStatus {
        let id = Pid::from_raw(i32::try_from(self.0.id()).unwrap()).unwrap();
        kill_process(id, Signal::TERM).unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "the daemon does not end");
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Unheard {
    fn drop(&mut self) {
        // It has ended where it was stopped.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn lost(edge: &Edge) -> u64 {
    edge.status()["log"]["lost"].as_u64().unwrap()
}

/// Mail is accepted and delivered, lost lines are counted, and SIGTERM ends the daemon.
fn works_without_a_log(stderr: impl Into<Stdio>) {
    let edge = Edge::new(Mode::Userspace);
    let daemon = Unheard::start(&edge, &edge.configuration(ARTICLE), stderr);
    let before = lost(&edge);
    assert!(before > 0);
    for _ in 0..3 {
        edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    }
    edge.sink.wait_for(3, PATIENCE).unwrap();
    edge.wait_until(|status| status["log"]["lost"].as_u64().unwrap() > before);
    assert!(edge.status()["log"]["problem"].is_string());
    assert_eq!(daemon.stop().code(), Some(0));
}

#[test]
fn mail_works_when_the_reader_of_the_log_has_ended() {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    works_without_a_log(writer);
}

#[test]
fn mail_works_when_the_disk_of_the_log_is_full() {
    works_without_a_log(File::options().write(true).open("/dev/full").unwrap());
}

#[test]
fn a_pipe_that_is_not_read_blocks_neither_mail_nor_status_nor_the_end() {
    let (mut reader, mut writer) = io::pipe().unwrap();
    // The capacity of a pipe minus one page.
    writer.write_all(&[b'\n'; 60 * 1024]).unwrap();
    let edge = Edge::new(Mode::Userspace);
    let daemon = Unheard::start(&edge, &edge.configuration(ARTICLE), writer);
    for _ in 0..20 {
        edge.submit("a@contoso.example", &["b@fabrikam.example"], "Subject: x\r\n\r\nx\r\n");
    }
    edge.sink.wait_for(20, PATIENCE).unwrap();
    edge.wait_until(|status| status["log"]["problem"].is_string());
    assert_eq!(daemon.stop().code(), Some(0));
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(
        log.trim_start().starts_with('{'),
        "the first lines were written until the pipe was full"
    );
}

#[test]
fn the_journal_gets_priorities_and_no_second_time() {
    let edge = Edge::new(Mode::Userspace);
    let configuration = edge.configuration(ARTICLE).replace("format = \"json\"", "");
    let log = edge.folder().join("journal");
    let output = File::create(&log).unwrap();
    let metadata = output.metadata().unwrap();
    let stream = format!("{}:{}", metadata.dev(), metadata.ino());
    let file = edge.folder().join("relay.toml");
    let run = |configuration: &str, stream: &str| {
        fs::write(&file, configuration).unwrap();
        fs::write(&log, "").unwrap();
        let mut command = Command::new(binary().unwrap());
        command.args(["run", "-c"]).arg(&file).env("JOURNAL_STREAM", stream);
        let status = command.stderr(File::options().append(true).open(&log).unwrap()).status();
        assert_eq!(status.unwrap().code(), Some(2));
        fs::read_to_string(&log).unwrap()
    };
    // It ends by itself: another daemon seems to answer on its control socket.
    let taken = UnixListener::bind(edge.folder().join("control.sock")).unwrap();
    let said = run(&configuration, &stream);
    let lines: Vec<_> = said.lines().collect();
    assert!(lines.len() > 1, "{said}");
    for line in &lines {
        let text = line.strip_prefix('<').and_then(|line| line.split_once('>'));
        let (priority, text) = text.unwrap_or_else(|| panic!("{said}"));
        assert!(["3", "4", "6"].contains(&priority), "{line}");
        assert!(!text.starts_with("20"), "{line}");
    }
    assert!(lines.last().unwrap().starts_with("<3>relay: "), "{said}");
    // A refused configuration is reported before logging has started.
    assert!(run("hostname = 1", &stream).lines().all(|line| line.starts_with("<3>")));
    // A process whose output goes elsewhere inherits the variable.
    assert!(!run(&configuration, "1:2").contains("<3>"));
    drop(taken);
}
