//! The daemon under test: started with a configuration, observed, and always ended.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal, kill_process};

use crate::namespace::Namespace;

/// Names a daemon to test instead of this checkout's.
pub const BINARY: &str = "RELAY_BINARY";

/// Longest time of a daemon from its start to its line with `ready`, self-test included.
const START: Duration = Duration::from_secs(20);
/// Longest time of a daemon to end on request.
const STOP: Duration = Duration::from_secs(20);
/// Longest time to end if no test checks the end.
const DROP: Duration = Duration::from_secs(3);

/// A running daemon. Dropping it ends it: first by a request, so that it removes its pins from
/// bpffs, then by a kill.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    configuration: PathBuf,
    output: Arc<Lines>,
}

/// The daemon's output so far, line by line.
#[derive(Debug, Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    changed: Condvar,
}

impl Daemon {
    /// Writes `configuration` into `folder` and starts this checkout's daemon with it, in a
    /// namespace or in ours. Returns when the daemon prints `ready`.
    pub fn start(place: Option<&Namespace>, folder: &Path, configuration: &str) -> Result<Self> {
        Self::start_program(binary()?, place, folder, configuration)
    }

    /// The same with another program.
    pub fn start_program(
        program: &Path,
        place: Option<&Namespace>,
        folder: &Path,
        configuration: &str,
    ) -> Result<Self> {
        Self::start_command(Command::new(program), place, folder, configuration)
    }

    /// The same with a command, to which `run -c` and the configuration are added: for a daemon
    /// that runs as another user.
    pub fn start_command(
        mut command: Command,
        place: Option<&Namespace>,
        folder: &Path,
        configuration: &str,
    ) -> Result<Self> {
        let path = folder.join("relay.toml");
        fs::write(&path, configuration)?;
        command.args(["run", "-c"]).arg(&path);
        let daemon = Self::spawn(&mut command, place, path)?;
        daemon.wait_for_line("ready", START)?;
        Ok(daemon)
    }

    fn spawn(command: &mut Command, place: Option<&Namespace>, path: PathBuf) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = match place {
            Some(namespace) => namespace.spawn(command)?,
            None => command
                .spawn()
                .with_context(|| format!("cannot start {}", command.get_program().display()))?,
        };
        let output = Arc::new(Lines::default());
        if let Some(stdout) = child.stdout.take() {
            output.follow(stdout);
        }
        if let Some(stderr) = child.stderr.take() {
            output.follow(stderr);
        }
        Ok(Self { child, configuration: path, output })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Octets in a line of `/proc/PID/status`, such as `RssAnon`, the memory that the process
    /// shares with no other.
    pub fn memory(&self, line: &str) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let kilobytes = status.lines().find_map(|it| it.strip_prefix(line)?.strip_prefix(':'));
        let kilobytes = kilobytes.and_then(|rest| rest.trim().strip_suffix(" kB"));
        let kilobytes: u64 = kilobytes.with_context(|| format!("no {line}"))?.parse()?;
        Ok(kilobytes * 1024)
    }

    /// The output of `relay status --json`.
    pub fn status(&self) -> Result<String> {
        let mut command = Command::new(binary()?);
        command.args(["status", "--json", "-c"]).arg(&self.configuration);
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The path of its configuration.
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// The output so far, of both streams.
    pub fn output(&self) -> String {
        self.output.lines.lock().join("\n")
    }

    /// The number of lines so far: a start for [`Self::wait_for`].
    pub fn line_count(&self) -> usize {
        self.output.lines.lock().len()
    }

    /// Waits until the daemon prints a line that contains `needle`, and returns the first such
    /// line.
    pub fn wait_for_line(&self, needle: &str, patience: Duration) -> Result<String> {
        self.wait_for(0, patience, |line| line.contains(needle).then(|| line.to_owned()))
            .with_context(|| format!("waited for `{needle}`"))
    }

    /// Waits until `wanted` returns a value for a line, after the first `after` lines.
    pub fn wait_for<T>(
        &self,
        after: usize,
        patience: Duration,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Result<T> {
        let deadline = Instant::now() + patience;
        let mut lines = self.output.lines.lock();
        loop {
            if let Some(found) = lines.iter().skip(after).find_map(|line| wanted(line)) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // Both streams are closed: the daemon has ended, and no more lines follow.
            if left.is_zero() || Arc::strong_count(&self.output) == 1 {
                let why = if left.is_zero() { "in time" } else { "before it ended" };
                bail!(
                    "the daemon did not print the expected line {why}; it printed:\n{}",
                    lines.join("\n")
                );
            }
            let slice = left.min(Duration::from_millis(50));
            self.output.changed.wait_for(&mut lines, slice);
        }
    }

    /// Replaces the configuration and requests a reload.
    pub fn reload(&self, configuration: &str) -> Result<()> {
        fs::write(&self.configuration, configuration)?;
        self.signal(Signal::HUP)
    }

    /// Requests the end of the daemon and waits; fails if it does not end in time.
    pub fn stop(self) -> Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        self.wait()
    }

    /// Waits for it to end; fails if it does not end in time.
    pub fn wait(mut self) -> Result<ExitStatus> {
        self.wait_at_most(STOP)
    }

    /// Kills it at once, as a power failure would, without an orderly stop.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn wait_at_most(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the daemon did not end within {patience:?}; it printed:\n{}", self.output());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or_else(|| anyhow!("{} is no process id", self.child.id()))?;
        // It is our child and was not waited for, so the id cannot be another process's.
        kill_process(id, signal).context("the daemon has ended")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // If it was stopped or killed, it has been waited for: its id may belong to another
        // process.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let ended = self.signal(Signal::TERM).and_then(|()| self.wait_at_most(DROP));
        if ended.is_err() {
            // An error says that it had already ended by itself.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Lines {
    /// Reads to the end of `source` in a thread, so that the daemon never waits for a reader.
    fn follow(self: &Arc<Self>, source: impl Read + Send + 'static) {
        let lines = Arc::clone(self);
        thread::spawn(move || {
            let mut source = BufReader::new(source);
            let mut line = Vec::new();
            while source.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                lines.lines.lock().push(text);
                lines.changed.notify_all();
                line.clear();
            }
        });
    }
}

/// Back pressure that begins only on a full disk: the disk use of this machine must not decide a
/// test's result, except in tests of back pressure.
pub const ROOMY: &str = "[back_pressure]\ndisk_use = { low_to_medium = 99, medium_to_high = 100, \
                         high_to_medium = 98, medium_to_low = 97 }\n";

/// The beginning of a rig's configuration: the daemon classifies by itself, has its files in
/// `folder`, relays to `next_hop`, and has generous limits.
pub fn configuration_head(hostname: &str, folder: &Path, next_hop: SocketAddr) -> String {
    let folder = folder.display();
    format!(
        "hostname = \"{hostname}\"\n[classifier]\nmode = \"userspace\"\n\
         [queue]\ndirectory = \"{folder}/queue\"\n[delivery]\nsmart_host = \"{next_hop}\"\n\
         [control]\nsocket = \"{folder}/control.sock\"\n[log]\nformat = \"json\"\n{ROOMY}\
         [[accepted_domain]]\nname = \"contoso.example\"\n"
    )
}

/// The daemon of this checkout, built once per process in the profile of the running test, since
/// `cargo test` does not build the programs of other packages.
pub fn binary() -> Result<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow!("{error}"))
}

fn build() -> Result<PathBuf> {
    if let Some(binary) = env::var_os(BINARY) {
        return Ok(binary.into());
    }
    let cargo = env::var_os("CARGO").context("not run by cargo; set RELAY_BINARY")?;
    let test = env::current_exe()?;
    let profile = test.parent().and_then(Path::parent).context("a test has a folder")?;
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--package", "relay", "--bin", "relay"]);
    if profile.ends_with("release") {
        command.arg("--release");
    }
    ensure!(command.status()?.success(), "the daemon does not build");
    Ok(profile.join("relay"))
}

/// A port that was free a moment ago. It is below the range from which clients get their ports. No
/// port is returned twice in one process.
pub fn free_port() -> Result<u16> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const PORTS: Range<u32> = 10_000..32_000;
    // Test programs that run at the same time begin at different ports.
    let first = process::id().wrapping_mul(97);
    for _ in PORTS {
        let number = first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = u16::try_from(PORTS.start + number % (PORTS.end - PORTS.start))?;
        if TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port from {} to {} is free", PORTS.start, PORTS.end);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    fn shell(script: &str) -> Daemon {
        Daemon::spawn(Command::new("sh").args(["-c", script]), None, PathBuf::new()).unwrap()
    }

    #[test]
    fn waits_for_a_line_and_returns_it() {
        let daemon = shell("echo starting; echo now ready >&2; exec sleep 60");
        assert_eq!(daemon.wait_for_line("ready", PATIENCE).unwrap(), "now ready");
        daemon.wait_for_line("starting", PATIENCE).unwrap();
    }

    #[test]
    fn a_daemon_that_ends_early_is_an_error_with_its_output() {
        let start = Instant::now();
        let error = shell("echo no such interface; exit 2").wait_for_line("ready", PATIENCE);
        let error = format!("{:#}", error.expect_err("the daemon never became ready"));
        assert!(error.contains("before it ended"), "{error}");
        assert!(error.contains("no such interface"), "{error}");
        assert!(start.elapsed() < PATIENCE);
    }

    #[test]
    fn a_silent_daemon_is_an_error_in_time() {
        let daemon = shell("exec sleep 60");
        let error = daemon.wait_for_line("ready", Duration::from_millis(20)).expect_err("silent");
        assert!(format!("{error:#}").contains("in time"), "{error:#}");
    }

    #[test]
    fn stop_requests_the_end_and_returns_the_status() {
        let daemon = shell("trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done");
        daemon.wait_for_line("ready", PATIENCE).unwrap();
        assert_eq!(daemon.stop().unwrap().code(), Some(7));
    }

    #[test]
    fn a_dropped_daemon_has_ended() {
        let daemon = shell("echo ready; exec sleep 60");
        let process = PathBuf::from(format!("/proc/{}", daemon.id()));
        assert!(process.exists());
        drop(daemon);
        assert!(!process.exists());
    }

    #[test]
    fn a_dropped_daemon_gets_a_request_before_it_is_killed() {
        let folder = tempfile::tempdir().unwrap();
        let trace = folder.path().join("asked");
        let script = "trap 'echo yes >\"$0\"; exit' TERM; echo ready; while :; do sleep 0.01; done";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(&trace);
        let daemon = Daemon::spawn(&mut command, None, PathBuf::new()).unwrap();
        daemon.wait_for_line("ready", PATIENCE).unwrap();
        drop(daemon);
        assert_eq!(fs::read_to_string(&trace).unwrap(), "yes\n");
    }

    #[test]
    fn a_program_gets_its_configuration() {
        let folder = tempfile::tempdir().unwrap();
        // `echo` prints the arguments `run -c …/ready/relay.toml`: it is ready at once.
        let folder = folder.path().join("ready");
        fs::create_dir(&folder).unwrap();
        let daemon = Daemon::start_program(Path::new("echo"), None, &folder, "key = 1\n").unwrap();
        assert_eq!(daemon.output(), format!("run -c {}", daemon.configuration().display()));
        assert_eq!(fs::read_to_string(daemon.configuration()).unwrap(), "key = 1\n");
    }
}
