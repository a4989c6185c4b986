//! The edge host, its veth pairs and its CPU.
//!
//! With two CPUs, the first runs the edge host: its daemon, its next hop, and its kernel's work for
//! received packets. The second runs client and attacker, and their kernels' work. By default a
//! veth pair lets the sender's CPU do the receiver's work, and a flood would slow down the attacker
//! instead of the edge.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

use relay::daemon::status::DaemonStatus;
use relay_tests::daemon::{Daemon, binary};
use relay_tests::namespace::{Namespace, link};
use relay_tests::sink::{Script, Sink};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::client::{self, Sessions};
use super::forger::{self, Flood, Target};
use super::{Conditions, FRONTEND, Guard, REFUSED, RELAY};
use crate::netstat::tcp_counters;
use crate::setup::pin_directory;

/// The edge's interface to the client, and its address there.
const INSIDE: (&str, Ipv4Addr) = ("edge-in", Ipv4Addr::new(10, 38, 96, 1));
/// The edge's interface to the attacker, and its address there.
const OUTSIDE: (&str, Ipv4Addr) = ("edge-out", Ipv4Addr::new(192, 0, 2, 1));
/// The gateway of the forged sources: the attacker's end, which replies to nothing.
const ATTACKER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// The name of the other end of each veth pair.
const WIRE: &str = "wire0";
/// Hardware address of the edge's outside interface.
const HARDWARE: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
const PORT: u16 = 25;
/// Forged sources: the block that RFC 2544 reserves for benchmarks, 131,072 addresses.
const SOURCES: (Ipv4Addr, u32) = (Ipv4Addr::new(198, 18, 0, 0), 15);

/// All parts of one row.
#[derive(Debug)]
pub(super) struct World {
    // The daemon is dropped first: its guard is on an interface of the edge.
    daemon: Daemon,
    sink: Sink,
    edge: Namespace,
    client: Namespace,
    attacker: Namespace,
    cpus: Option<Cpus>,
    _folder: tempfile::TempDir,
}

impl World {
    pub(super) fn build(conditions: Conditions) -> Self {
        let [edge, client, attacker] =
            ["edge", "client", "attacker"].map(|label| Namespace::new(label).unwrap());
        link((&edge, INSIDE.0), (&client, WIRE)).unwrap();
        link((&edge, OUTSIDE.0), (&attacker, WIRE)).unwrap();
        let hardware = HARDWARE.map(|octet| format!("{octet:02x}")).join(":");
        edge.ip(&["link", "set", OUTSIDE.0, "address", &hardware]).unwrap();
        edge.add_address(INSIDE.0, &format!("{}/24", INSIDE.1)).unwrap();
        client.add_address(WIRE, "10.38.96.15/24").unwrap();
        edge.add_address(OUTSIDE.0, &format!("{}/24", OUTSIDE.1)).unwrap();
        attacker.add_address(WIRE, &format!("{ATTACKER}/24")).unwrap();
        // Without a route for its replies the edge would drop a forged SYN early.
        edge.add_default_route(&ATTACKER.to_string()).unwrap();
        let cookies = if conditions.syncookies { "1" } else { "0" };
        edge.set("net.ipv4.tcp_syncookies", cookies).unwrap();
        // Sessions are many and short; the client must not run out of ports.
        client.set("net.ipv4.ip_local_port_range", "1024 65535").unwrap();

        let cpus = Cpus::available();
        if let Some(cpus) = cpus {
            for (namespace, interface, cpu) in [
                (&edge, INSIDE.0, cpus.edge),
                (&edge, OUTSIDE.0, cpus.edge),
                (&client, WIRE, cpus.world),
                (&attacker, WIRE, cpus.world),
            ] {
                steer(namespace, interface, cpu);
            }
        }
        let folder = tempfile::tempdir().unwrap();
        let (sink, daemon) = on(cpus.map(|cpus| cpus.edge), || {
            let hop = (Ipv4Addr::LOCALHOST, 26).into();
            let sink = Sink::start(Some(&edge), hop, Script::default()).unwrap();
            let configuration = configuration(folder.path(), conditions.guard);
            (sink, Daemon::start(Some(&edge), folder.path(), &configuration).unwrap())
        });
        if let Some(cpus) = cpus
            && conditions.guard != Guard::Absent
        {
            for (interface, _) in [INSIDE, OUTSIDE] {
                poll_on(&edge, interface, cpus.edge);
            }
        }
        Self { daemon, sink, edge, client, attacker, cpus, _folder: folder }
    }

    pub(super) fn cpus(&self) -> Option<Cpus> {
        self.cpus
    }

    /// Floods the edge until `done`.
    pub(super) fn attack(&self, rate: u32, limit: Duration, done: &AtomicBool) -> Flood {
        let target = Target {
            interface: WIRE,
            hardware: HARDWARE,
            server: SocketAddrV4::new(OUTSIDE.1, PORT),
            sources: SOURCES.0,
            prefix: SOURCES.1,
        };
        on(self.cpus.map(|cpus| cpus.world), || {
            self.attacker.enter(|| forger::flood(target, rate, limit, done)).unwrap().unwrap()
        })
    }

    /// Runs sessions from the client's address.
    pub(super) fn sessions(&self, window: Duration, clients: usize) -> Sessions {
        let server = SocketAddr::new(INSIDE.1.into(), PORT);
        on(self.cpus.map(|cpus| cpus.world), || {
            self.client.enter(|| client::sessions(server, window, clients)).unwrap()
        })
    }

    /// Waits for this number of messages at the next hop, and returns the last count.
    pub(super) fn wait_for_messages(&self, count: usize, patience: Duration) -> usize {
        match self.sink.wait_for(count, patience) {
            Ok(messages) => messages.len(),
            Err(_) => self.sink.messages().len(),
        }
    }

    pub(super) fn kernel_counters<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        self.edge.enter(|| tcp_counters(names)).unwrap()
    }

    /// The daemon's status after all work has ended: no session is open, and the edge has received
    /// all packets on its veth pairs.
    pub(super) fn settled_status(&self, deadline: Instant) -> DaemonStatus {
        let syns = |status: &DaemonStatus| -> u64 {
            status.connectors.iter().map(|connector| super::kernel(connector, "syn_seen")).sum()
        };
        let mut before = self.status();
        loop {
            sleep(Duration::from_millis(100));
            let now = self.status();
            if now.sessions == 0 && syns(&now) == syns(&before) || Instant::now() > deadline {
                return now;
            }
            before = now;
        }
    }

    /// Ends the daemon as an administrator would, so that it removes its pins.
    pub(super) fn end(self) {
        let status = self.daemon.stop().unwrap();
        assert!(status.success(), "the daemon ended with {status}");
    }

    fn status(&self) -> DaemonStatus {
        let mut command = Command::new(binary().unwrap());
        command.args(["status", "--json", "-c"]).arg(self.daemon.configuration());
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn configuration(folder: &Path, guard: Guard) -> String {
    let folder = folder.display();
    let interfaces = match guard {
        Guard::Absent => String::new(),
        Guard::Budget | Guard::Refuse => format!("\"{}\", \"{}\"", INSIDE.0, OUTSIDE.0),
    };
    let budget = match guard {
        Guard::Budget => {
            "syn_budget = { rate = \"200/s\", burst = 400 }\n\
             syn_budget_per_source = { rate = \"20/s\", burst = 40 }\n"
        }
        Guard::Absent | Guard::Refuse => "",
    };
    let refused = match guard {
        Guard::Refuse => format!(
            "[[connector]]\nname = \"{REFUSED}\"\nbindings = [\"0.0.0.0:{PORT}\"]\n\
             remote_ip_ranges = [\"{}/{}\"]\nrefuse = true\n",
            SOURCES.0, SOURCES.1
        ),
        Guard::Absent | Guard::Budget => String::new(),
    };
    format!(
        r#"
hostname = "edge1.contoso.example"
[classifier]
mode = "kernel"
interfaces = [{interfaces}]
pin_directory = "{pins}"
[queue]
directory = "{folder}/queue"
[delivery]
smart_host = "127.0.0.1:26"
[control]
socket = "{folder}/control.sock"
[[accepted_domain]]
name = "contoso.example"
[[connector]]
name = "{FRONTEND}"
bindings = ["0.0.0.0:{PORT}"]
remote_ip_ranges = ["0.0.0.0/0"]
permission_groups = ["AnonymousUsers"]
{budget}
[[connector]]
name = "{RELAY}"
bindings = ["0.0.0.0:{PORT}"]
remote_ip_ranges = ["10.38.96.15"]
permission_groups = ["AnonymousUsers"]
grants = {{ anonymous = ["ms-Exch-SMTP-Accept-Any-Recipient"] }}
{refused}"#,
        pins = pin_directory().display()
    )
}

/// The CPUs of the parts.
#[derive(Clone, Copy, Debug)]
pub struct Cpus {
    /// The CPU of the edge host.
    pub edge: usize,
    /// The CPU of client and attacker.
    pub world: usize,
}

/// A CPU's work since the machine started, in clock ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticks {
    idle: u64,
    all: u64,
}

impl Cpus {
    /// The first two CPUs of this process; `None` if there is only one, which all share.
    pub fn available() -> Option<Self> {
        let ours = sched_getaffinity(None).unwrap();
        // The mask of `steer` is one word.
        let mut numbers = (0..32).filter(|number| ours.is_set(*number));
        Some(Self { edge: numbers.next()?, world: numbers.next()? })
    }

    pub(super) fn edge_ticks(self) -> Ticks {
        let name = format!("cpu{} ", self.edge);
        let table = fs::read_to_string("/proc/stat").unwrap();
        let line = table.lines().find_map(|line| line.strip_prefix(&name)).unwrap();
        let ticks: Vec<u64> = line.split_whitespace().map(|field| field.parse().unwrap()).collect();
        // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
        Ticks { idle: ticks[3] + ticks[4], all: ticks[..8].iter().sum() }
    }
}

impl Ticks {
    pub(super) fn busy_since(self, before: Self) -> f64 {
        let (idle, all) = (self.idle - before.idle, self.all - before.all);
        1.0 - idle as f64 / all.max(1) as f64
    }
}

/// Runs `work` on this CPU, with every thread and process that it starts.
fn on<T: Send>(cpu: Option<usize>, work: impl FnOnce() -> T + Send) -> T {
    let thread = || {
        if let Some(cpu) = cpu {
            sched_setaffinity(None, &only(cpu)).unwrap();
        }
        work()
    };
    scope(|scope| match scope.spawn(thread).join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

fn only(cpu: usize) -> CpuSet {
    let mut set = CpuSet::new();
    set.set(cpu);
    set
}

/// Lets this CPU do the kernel's work for packets that an interface receives.
fn steer(namespace: &Namespace, interface: &str, cpu: usize) {
    let mask = 1u32 << cpu;
    write(namespace, interface, "queues/rx-0/rps_cpus", &format!("{mask:x}"));
}

/// Lets this CPU run the guard and the following work for an interface with a guard. A veth
/// interface with a guard is polled, by default on the sender's CPU. The poller has priority over
/// other processes, as the interrupt has without a guard.
fn poll_on(namespace: &Namespace, interface: &str, cpu: usize) {
    write(namespace, interface, "threaded", "1");
    let prefix = format!("napi/{interface}-");
    let mut pinned = 0;
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let id = entry.file_name().to_str().and_then(|name| name.parse().ok());
        let Some(id) = id.and_then(Pid::from_raw) else { continue };
        let name = fs::read_to_string(entry.path().join("comm"));
        if name.is_ok_and(|name| name.starts_with(&prefix)) {
            sched_setaffinity(Some(id), &only(cpu)).unwrap();
            run_before_processes(id);
            pinned += 1;
        }
    }
    assert!(pinned > 0, "no thread polls {interface}");
}

/// Lets a thread run at once, before any other process.
fn run_before_processes(thread: Pid) {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the parameter lives until the call returns, and the call changes no memory of this
    // process.
    let result = unsafe {
        libc::sched_setscheduler(thread.as_raw_nonzero().get(), libc::SCHED_FIFO, &raw const lowest)
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Writes an attribute of an interface. `ip netns exec`, since /sys shows the interfaces of the
/// namespace in which it was mounted.
fn write(namespace: &Namespace, interface: &str, attribute: &str, value: &str) {
    let script = format!("echo {value} > /sys/class/net/{interface}/{attribute}");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace.name(), "sh", "-c", &script]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
}
