//! Assignment of CPUs: the server has every CPU but the last, generator and sink have the last.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The CPUs of the server, and the CPU of generator and sink.
pub struct Shares {
    pub server: Vec<usize>,
    pub world: usize,
}

/// Decided once, before any thread is pinned; `None` if there is only one CPU.
pub fn shares() -> Option<&'static Shares> {
    static SHARES: OnceLock<Option<Shares>> = OnceLock::new();
    let decide = || {
        let all = sched_getaffinity(None).ok()?;
        let mut server: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&cpu| all.is_set(cpu)).collect();
        let world = server.pop()?;
        (!server.is_empty()).then_some(Shares { server, world })
    };
    SHARES.get_or_init(decide).as_ref()
}

/// Pins the calling thread to the CPU of generator and sink.
pub fn of_the_world() {
    if let Some(Shares { world, .. }) = shares() {
        pin(&[*world]);
    }
}

/// Pins the calling thread to the CPUs of the server.
pub fn of_the_servers() {
    if let Some(Shares { server, .. }) = shares() {
        pin(server);
    }
}

/// If pinning is not permitted, the thread uses all CPUs.
fn pin(cpus: &[usize]) {
    let mut wanted = CpuSet::new();
    cpus.iter().for_each(|&cpu| wanted.set(cpu));
    let _ = sched_setaffinity(None, &wanted);
}

/// A command that runs on the CPUs of the server. The kernel kills it when our thread ends, so no
/// process outlives the benchmark.
pub fn of_the_server(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if let Some(Shares { server, .. }) = shares() {
        let list: Vec<_> = server.iter().map(ToString::to_string).collect();
        command.args(["taskset", "--cpu-list", &list.join(",")]);
    }
    command.arg(program);
    command
}
