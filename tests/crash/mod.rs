//! SIGKILL to the daemon at random times under load: every message with a 250 must arrive, and no
//! other.
//!
//! In each round a daemon is started on the same queue directory, clients send to it, it relays to
//! a sink, and it is killed. The kill comes at a random time, or when the sink has a message and
//! has not yet replied. Sometimes the next daemon is also killed, during its recovery. After the
//! last round a daemon empties the queue, and [`ledger`] compares. [`client`] is the load.
//!
//! The test runs a few rounds, `cargo xtask soak crash` hundreds.

#![expect(clippy::unwrap_used, reason = "a rig: every failure must end the run")]

mod client;
pub mod ledger;

use std::fmt;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use relay_tests::daemon::{self, Daemon, configuration_head};
use relay_tests::sink::{self, Message, Script};
use rustix::process::{Pid, Signal, kill_process};

use self::ledger::{Arrival, Ledger, Verdict};

/// Clients that send at the same time: some with one connection for each message, some with a
/// reused one.
const CLIENTS: u64 = 6;
/// The load lasts at most this long before the kill.
const LONGEST_LOAD: Duration = Duration::from_millis(900);
/// Longest time before a daemon is killed during its start.
const LONGEST_START: Duration = Duration::from_millis(150);
/// Longest time until the queue is one message shorter.
const PATIENCE: Duration = Duration::from_secs(60);

/// The length of the run, and the seed of its random choices.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub rounds: u32,
    pub seed: u64,
}

/// The results of a run.
#[derive(Debug)]
pub struct Outcome {
    pub plan: Plan,
    /// Kills while the sink had a message without having replied to it.
    pub kills_in_delivery: u32,
    /// Kills of a daemon that was still starting.
    pub kills_in_recovery: u32,
    /// Daemons that found damage in the queue; a kill must not damage the queue.
    pub damages: usize,
    /// Message files that remain when the queue is empty.
    pub files_left: usize,
    pub verdict: Verdict,
    /// From the start of a process to its line with `ready`, sorted.
    pub restarts: Vec<Duration>,
    pub took: Duration,
}

/// The process that the next message at the sink will kill.
#[derive(Default)]
struct Trigger {
    /// The number of messages before the kill, and the process to kill.
    armed: Mutex<Option<(u32, Pid)>>,
    fired: AtomicBool,
}

/// A sink that reports to the ledger, and the listener by which it is stopped.
struct Hop(Arc<TcpListener>);

impl Outcome {
    /// Did the run find no fault?
    pub fn holds(&self) -> bool {
        self.verdict.holds() && self.damages == 0 && self.files_left == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |place: usize| {
            self.restarts.get(place).map_or(0.0, |restart| restart.as_secs_f64() * 1000.0)
        };
        let verdict = &self.verdict;
        writeln!(f, "seed                          {:>8}", self.plan.seed)?;
        writeln!(f, "rounds                        {:>8}", self.plan.rounds)?;
        writeln!(f, "  killed in mid-delivery      {:>8}", self.kills_in_delivery)?;
        writeln!(f, "  killed again in recovery    {:>8}", self.kills_in_recovery)?;
        writeln!(f, "messages                      {:>8}", verdict.messages)?;
        writeln!(f, "  of their own file           {:>8}", verdict.large)?;
        writeln!(f, "250s                          {:>8}", verdict.accepted)?;
        writeln!(f, "end of data without a reply   {:>8}", verdict.unanswered)?;
        writeln!(f, "  of these arrived            {:>8}", verdict.unanswered_arrived)?;
        writeln!(f, "end of data never sent        {:>8}", verdict.not_ended)?;
        writeln!(f, "refused                       {:>8}", verdict.refused)?;
        writeln!(f, "lost                          {:>8}", verdict.lost.len())?;
        writeln!(f, "foreign                       {:>8}", verdict.foreign.len())?;
        writeln!(f, "changed on the way            {:>8}", verdict.changed.len())?;
        writeln!(f, "duplicates                    {:>8}", verdict.duplicates)?;
        writeln!(f, "  not under way at a kill     {:>8}", verdict.forbidden.len())?;
        writeln!(f, "starts that found damage      {:>8}", self.damages)?;
        writeln!(f, "message files left            {:>8}", self.files_left)?;
        writeln!(
            f,
            "restart, median               {:>8.0} ms",
            milliseconds(self.restarts.len() / 2)
        )?;
        let last = self.restarts.len().saturating_sub(1);
        writeln!(f, "restart, longest              {:>8.0} ms", milliseconds(last))?;
        writeln!(f, "all of it                     {:>8.0} s", self.took.as_secs_f64())?;
        let named = [
            ("lost", &verdict.lost),
            ("foreign", &verdict.foreign),
            ("changed", &verdict.changed),
            ("duplicate that no kill explains", &verdict.forbidden),
        ];
        for (what, which) in named {
            for message in which.iter().take(10) {
                writeln!(f, "{what}: {message}")?;
            }
        }
        write!(f, "verdict: {}", if self.holds() { "passed" } else { "FAILED" })
    }
}

/// Runs it. Calls `tell` after each round.
pub fn run(plan: Plan, tell: impl Fn(u32)) -> Outcome {
    let begin = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, daemon::free_port().unwrap()));
    let ledger = Arc::new(Mutex::new(Ledger::default()));
    let trigger = Arc::new(Trigger::default());
    let (hop, address) = Hop::start(&ledger, &trigger);
    let mut random = fastrand::Rng::with_seed(plan.seed);
    let (mut kills_in_delivery, mut kills_in_recovery, mut damages) = (0, 0, 0);
    let mut restarts = Vec::new();
    for round in 0..plan.rounds {
        let configuration = |name: &str| configuration(folder.path(), server, address, name);
        if random.u32(0..8) == 0 {
            let longest = LONGEST_START.as_micros() as u64;
            let moment = Duration::from_micros(random.u64(0..longest));
            // The ledger counts it as a separate daemon: it may have begun to deliver.
            let first = configuration(&format!("edge-{round}-first.test"));
            kills_in_recovery += u32::from(kill_while_it_starts(folder.path(), &first, moment));
        }
        let configuration = configuration(&hostname(round));
        let daemon = start(folder.path(), &configuration, &mut restarts);
        let in_delivery = random.bool().then(|| random.u32(1..150));
        let moment = Duration::from_micros(random.u64(0..LONGEST_LOAD.as_micros() as u64));
        if let Some(messages) = in_delivery {
            trigger.arm(messages, &daemon);
        }
        let load = client::Load::begin(server, &ledger, CLIENTS, random.u64(..));
        match in_delivery {
            None => thread::sleep(moment),
            Some(_) => trigger.wait(LONGEST_LOAD),
        }
        kills_in_delivery += u32::from(trigger.disarm());
        damages += usize::from(has_found_damage(&daemon));
        daemon.kill().unwrap();
        load.end();
        tell(round + 1);
    }

    let configuration = configuration(folder.path(), server, address, &hostname(plan.rounds));
    let daemon = start(folder.path(), &configuration, &mut restarts);
    wait_until_empty(&daemon);
    damages += usize::from(has_found_damage(&daemon));
    assert_eq!(daemon.stop().unwrap().code(), Some(0));
    drop(hop);
    restarts.sort_unstable();
    let verdict = ledger.lock().unwrap().judge();
    Outcome {
        plan,
        kills_in_delivery,
        kills_in_recovery,
        damages,
        files_left: fs::read_dir(folder.path().join("queue/messages")).unwrap().count(),
        verdict,
        restarts,
        took: begin.elapsed(),
    }
}

fn start(folder: &Path, configuration: &str, restarts: &mut Vec<Duration>) -> Daemon {
    let begin = Instant::now();
    let daemon = Daemon::start(None, folder, configuration).unwrap();
    restarts.push(begin.elapsed());
    daemon
}

/// Starts a daemon and kills it at this time. True if it had not ended by itself before.
fn kill_while_it_starts(folder: &Path, configuration: &str, moment: Duration) -> bool {
    let path = folder.join("relay.toml");
    fs::write(&path, configuration).unwrap();
    let mut command = Command::new(daemon::binary().unwrap());
    command.args(["run", "-c"]).arg(path);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    thread::sleep(moment);
    let runs = child.try_wait().unwrap().is_none();
    child.kill().unwrap();
    child.wait().unwrap();
    runs
}

fn has_found_damage(daemon: &Daemon) -> bool {
    let output = daemon.output();
    ["found damage in the queue", "database is damaged", "queued message is lost"]
        .iter()
        .any(|words| output.contains(words))
}

/// Waits as long as the queue becomes shorter.
fn wait_until_empty(daemon: &Daemon) {
    let (mut shortest, mut since) = (u64::MAX, Instant::now());
    loop {
        let status: serde_json::Value = serde_json::from_str(&daemon.status().unwrap()).unwrap();
        let queued = status["queue"]["queued"].as_u64().unwrap();
        if queued == 0 {
            return;
        }
        if queued < shortest {
            (shortest, since) = (queued, Instant::now());
        }
        assert!(since.elapsed() < PATIENCE, "{queued} messages do not leave: {status:#}");
        thread::sleep(Duration::from_millis(50));
    }
}

impl Trigger {
    fn arm(&self, messages: u32, daemon: &Daemon) {
        let process = Pid::from_raw(daemon.id().cast_signed()).unwrap();
        *self.armed.lock().unwrap() = Some((messages, process));
    }

    /// The sink has a message, and its client has no reply yet.
    fn message_arrived(&self) {
        let mut armed = self.armed.lock().unwrap();
        let Some((messages, process)) = &mut *armed else { return };
        *messages -= 1;
        if *messages == 0 {
            // The process has not been waited for, so its id belongs to no other process.
            kill_process(*process, Signal::KILL).unwrap();
            *armed = None;
            self.fired.store(true, Ordering::Release);
        }
    }

    fn wait(&self, most: Duration) {
        let begin = Instant::now();
        while !self.fired.load(Ordering::Acquire) && begin.elapsed() < most {
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// True if it has fired.
    fn disarm(&self) -> bool {
        *self.armed.lock().unwrap() = None;
        self.fired.swap(false, Ordering::AcqRel)
    }
}

impl Hop {
    fn start(ledger: &Arc<Mutex<Ledger>>, trigger: &Arc<Trigger>) -> (Self, SocketAddr) {
        let listener = Arc::new(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let address = listener.local_addr().unwrap();
        let (ledger, trigger) = (Arc::clone(ledger), Arc::clone(trigger));
        let keep = move |message: Message| {
            let arrival = Arrival::of(&message);
            ledger.lock().unwrap().arrived(arrival);
            trigger.message_arrived();
        };
        let serving = Arc::clone(&listener);
        thread::spawn(move || sink::serve(&serving, Script::default(), keep));
        (Self(listener), address)
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        let _ = rustix::net::shutdown(&*self.0, rustix::net::Shutdown::Both);
    }
}

/// The host name of a round's daemon, by which the sink recognizes it.
fn hostname(round: u32) -> String {
    format!("edge-{round}.test")
}

fn configuration(folder: &Path, server: SocketAddr, sink: SocketAddr, name: &str) -> String {
    let head = configuration_head(name, folder, sink);
    format!(
        "{head}[[connector]]\nname = \"Scanners\"\nbindings = [\"{server}\"]\n\
         remote_ip_ranges = [\"127.0.0.0/8\"]\npermission_groups = [\"AnonymousUsers\"]\n\
         grants = {{ anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }}\n\
         tarpit_interval = \"0s\"\n"
    )
}
