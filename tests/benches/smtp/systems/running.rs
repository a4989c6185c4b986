//! A server while it runs: when it is ready, what memory it has, how it ends.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long a server may take until it greets.
const START: Duration = Duration::from_secs(40);
/// How long it may take to end in order.
const STOP: Duration = Duration::from_secs(30);

/// A server that runs. Dropping it kills it and all that it started.
pub struct Running {
    pub address: SocketAddr,
    /// From its start to its greeting.
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

    /// The same for a server that a script in a process namespace starts: it began when the script
    /// wrote the file `started`, and it is ready when the file `held` is there too.
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
                bail!("it ended with {status} before it was ready");
            }
            if Instant::now() > deadline {
                bail!("it was not ready in time");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// Octets of memory of all its processes: their proportional shares.
    pub fn memory(&self) -> u64 {
        let mut octets = 0;
        for process in descendants(self.child.id()) {
            // One that has ended has no memory.
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

    /// Asks it to end, and waits until it has.
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
        bail!("it did not end in time when it was asked to")
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
        // With the first process of its namespace every other one is killed.
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

/// A process and all that it and they started.
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

/// The last lines of a server's log, for who has to know why it does not work.
pub fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("; ")
}
