//! A running server: its readiness, its memory, its end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Longest time until a server greets.
const START: Duration = Duration::from_secs(40);
/// Longest time for an orderly end.
const STOP: Duration = Duration::from_secs(30);

/// A running server. Dropping it kills the server and all its child processes.
pub struct Running {
    pub address: SocketAddr,
    /// Time from its start to its greeting.
    pub greeted_after: Duration,
    child: Child,
    /// The child is `unshare`, which waits for the first process of a process namespace.
    in_namespace: bool,
}

impl Running {
    /// Waits for its greeting.
    pub fn begin(child: Child, address: SocketAddr) -> Result<Self> {
        let begun = Instant::now();
        let greeted_after = Duration::ZERO;
        let mut running = Self { address, greeted_after, child, in_namespace: false };
        running.wait(|| greets(address))?;
        running.greeted_after = begun.elapsed();
        Ok(running)
    }

    /// The same for a server that a script in a process namespace starts. Its start is the time
    /// when the script wrote the file `started`; it is ready when the file `held` also exists.
    pub fn begin_in_namespace(
        child: Child,
        address: SocketAddr,
        started: &Path,
        held: Option<&Path>,
    ) -> Result<Self> {
        let greeted_after = Duration::ZERO;
        let mut running = Self { address, greeted_after, child, in_namespace: true };
        running.wait(|| greets(address))?;
        let begun = fs::metadata(started)?.modified()?;
        running.greeted_after = begun.elapsed().unwrap_or_default();
        if let Some(held) = held {
            running.wait(|| held.exists())?;
        }
        Ok(running)
    }

    fn wait(&mut self, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + START;
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} before it was ready");
            }
            if Instant::now() > deadline {
                bail!("the server was not ready in time");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Octets of memory of all its processes: their proportional shares.
    pub fn memory(&self) -> u64 {
        let mut octets = 0;
        for process in descendants(self.child.id()) {
            // A process that has ended has no memory.
            let Ok(text) = fs::read_to_string(format!("/proc/{process}/smaps_rollup")) else {
                continue;
            };
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
            let kibibytes =
                line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
            octets += kibibytes.unwrap_or(0) * 1024;
        }
        octets
    }

    /// Requests its end, and waits for it.
    pub fn stop(mut self) -> Result<()> {
        if let Some(process) = self.first_process() {
            let _ = kill_process(process, Signal::TERM);
        }
        let deadline = Instant::now() + STOP;
        while Instant::now() < deadline {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("the server did not end in time after the request")
    }

    fn first_process(&self) -> Option<Pid> {
        let child = self.child.id();
        let process = match self.in_namespace {
            true => children(child).first().copied()?,
            false => child,
        };
        Pid::from_raw(i32::try_from(process).ok()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // When the first process of its namespace ends, the kernel kills all others.
        match self.first_process() {
            Some(process) => drop(kill_process(process, Signal::KILL)),
            None => drop(self.child.kill()),
        }
        let _ = self.child.wait();
    }
}

fn greets(address: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect(address) else { return false };
    let _ = stream.set_read_timeout(Some(START));
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).is_ok() && line.starts_with("220")
}

/// A process and all its descendants.
fn descendants(process: u32) -> Vec<u32> {
    let mut found = vec![process];
    let mut next = 0;
    while let Some(&process) = found.get(next) {
        found.extend(children(process));
        next += 1;
    }
    found
}

fn children(process: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{process}/task"));
    let of = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("children")).ok();
    let lists = threads.into_iter().flatten().filter_map(|thread| of(thread.ok()?));
    lists
        .flat_map(|list| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// The last lines of a server's log, to find out why it does not work.
pub fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}
