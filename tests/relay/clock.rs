//! The host's clock changes by more than a day while mail waits: the mail neither waits that much
//! longer nor becomes due all at once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use relay_tests::daemon::{self, Daemon};
use relay_tests::requirements::{Requirement, met};
use serde_json::Value;

use crate::PATIENCE;
use crate::edge::{ARTICLE, Edge, json_line};

const SENDER: &str = "sender@contoso.example";
const LATER: &str = "later@fabrikam.example";
/// More than a day, so that the date shows the change at any time of day.
const BACK: &str = "-36h";
const FORWARD: &str = "+36h";
const CONTENT: &str = "Subject: x\r\n\r\nx\r\n";

/// A daemon whose wall clock is set by a file, and its next hop, which defers one recipient a set
/// number of times.
struct World {
    edge: Edge,
    daemon: Daemon,
    clock: PathBuf,
    configuration: String,
}

impl World {
    fn start(test: &str, times: &str, interval: &str) -> Option<Self> {
        if !met(test, &[Requirement::Program("faketime")]) {
            return None;
        }
        let edge = Edge::answered(&[&format!("rcpt:{LATER}{times}=450 4.2.1 later")]);
        let clock = edge.folder().join("clock");
        fs::write(&clock, "+0").unwrap();
        let interval = format!("_interval = \"{interval}\"");
        let configuration = edge.configuration(ARTICLE).replace("_interval = \"1s\"", &interval);
        let daemon = start(&edge, &clock, &configuration);
        Some(Self { edge, daemon, clock, configuration })
    }

    /// Stops the daemon and starts it with this clock.
    fn restart(self, by: &str) -> Self {
        let Self { edge, daemon, clock, configuration } = self;
        daemon.stop().unwrap();
        fs::write(&clock, by).unwrap();
        let daemon = start(&edge, &clock, &configuration);
        Self { edge, daemon, clock, configuration }
    }

    /// Sends a message that is deferred, and returns its id.
    fn put_off(&self) -> String {
        let id = self.edge.submit(SENDER, &[LATER], CONTENT);
        self.edge.wait_until(|status| status["queue"]["deferred"] == 1);
        id
    }

    /// Sets the wall clock of the daemon. The timestamp of its next line shows the change: a
    /// message for another recipient, which has been relayed when this returns.
    fn set_clock(&self, by: &str) {
        // Renamed, so that no process reads half of the file.
        let next = self.clock.with_extension("next");
        fs::write(&next, by).unwrap();
        fs::rename(next, &self.clock).unwrap();
        let after = self.daemon.line_count();
        self.edge.submit(SENDER, &["other@fabrikam.example"], CONTENT);
        let line = json_line(&self.daemon, after, |line| line["message"] == "attempt");
        let today = json_line(&self.daemon, 0, |_| true)["timestamp"].clone();
        let date = |timestamp: &Value| timestamp.as_str().unwrap()[..10].to_owned();
        assert_ne!(date(&line["timestamp"]), date(&today), "the daemon uses the changed clock");
        self.edge.sink.wait_for(1, PATIENCE).unwrap();
    }
}

#[test]
fn a_clock_change_of_a_day_back_does_not_delay_mail() {
    let Some(world) = World::start("a_clock_change_of_a_day_back_does_not_delay_mail", "*1", "3s")
    else {
        return;
    };
    let id = world.put_off();
    assert_eq!(world.edge.relay(&["queue", "hold", &id]).code, 0);
    world.set_clock(BACK);
    // Changes by an administrator also use the monotonic clock.
    assert_eq!(world.edge.relay(&["queue", "release", &id]).code, 0);
    world.edge.sink.wait_for(2, PATIENCE).unwrap();
    world.edge.wait_until(|status| status["queue"]["queued"] == 0);
}

#[test]
fn a_clock_change_of_a_day_back_while_the_daemon_is_down_does_not_delay_mail() {
    let test = "a_clock_change_of_a_day_back_while_the_daemon_is_down_does_not_delay_mail";
    let Some(mut world) = World::start(test, "*1", "3s") else { return };
    world.put_off();
    world = world.restart(BACK);
    world.edge.sink.wait_for(1, PATIENCE).unwrap();
    world.edge.wait_until(|status| status["queue"]["queued"] == 0);
}

#[test]
fn a_clock_change_of_a_day_forward_makes_no_mail_due_early() {
    let Some(world) =
        World::start("a_clock_change_of_a_day_forward_makes_no_mail_due_early", "", "12h")
    else {
        return;
    };
    let id = world.put_off();
    // The oldest would be claimed first, before the message that shows the clock change.
    world.set_clock(FORWARD);
    let shown = world.edge.relay(&["queue", "show", &id, "--json"]).json();
    assert_eq!(shown["attempts"], 1, "{shown}");
    assert_eq!(world.edge.status()["queue"]["deferred"], 1);
}

/// The daemon, with the wall clock of this file and the machine's monotonic clock.
fn start(edge: &Edge, clock: &Path, configuration: &str) -> Daemon {
    let folders = fs::read_dir("/usr/lib").unwrap().flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let library = libraries.find(|path| path.exists()).unwrap();
    let mut command = Command::new(daemon::binary().unwrap());
    command.env("LD_PRELOAD", library).env("FAKETIME_TIMESTAMP_FILE", clock);
    let settings = ["FAKETIME_NO_CACHE", "DONT_FAKE_MONOTONIC", "NO_FAKE_STAT"];
    command.envs(settings.map(|name| (name, "1")));
    Daemon::start_command(command, None, edge.folder(), configuration).unwrap()
}
