//! Network namespaces and the veth pairs between them: a small Internet for one test.
//!
//! Names are unique to the process, so tests can run at the same time. A separate thread enters
//! only the network namespace. `/sys/fs/bpf` and the rest of the file system do not change, which
//! `ip netns exec` does not guarantee.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The directory where `ip netns` stores the namespaces' names.
const FOLDER: &str = "/run/netns";
/// The prefix of all our names; the process id and a number follow.
const PREFIX: &str = "relay-";

/// A network namespace with its loopback up. Dropping it removes its name; the namespace ends with
/// the last process in it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Creates a namespace. `label` explains its purpose in `ip netns list`.
    pub fn new(label: &str) -> Result<Self> {
        static SWEEP: Once = Once::new();
        static NUMBER: AtomicU32 = AtomicU32::new(0);

        SWEEP.call_once(sweep);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}-{label}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The name in `ip netns list`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `ip` on this namespace: `["address", "show"]`.
    pub fn ip(&self, arguments: &[&str]) -> Result<String> {
        ip(&[&["-netns", self.name.as_str()], arguments].concat())
    }

    /// Gives `interface` an address such as `10.38.96.1/24` or `fd38::1/64`, usable at once.
    pub fn add_address(&self, interface: &str, address: &str) -> Result<()> {
        let mut arguments = vec!["address", "add", address, "dev", interface];
        if address.contains(':') {
            // No other host is on our veth pairs, so duplicate address detection is not needed.
            arguments.push("nodad");
        }
        self.ip(&arguments).map(drop)
    }

    /// Sends all packets that are not for a neighbour to `gateway`.
    pub fn add_default_route(&self, gateway: &str) -> Result<()> {
        self.ip(&["route", "add", "default", "via", gateway]).map(drop)
    }

    /// Writes a network setting with its `sysctl` name: `net.ipv4.tcp_syncookies`.
    pub fn set(&self, setting: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(setting.replace('.', "/"));
        self.enter(|| fs::write(&path, value))?
            .with_context(|| format!("cannot set {setting} to {value}"))
    }

    /// Runs `work` in a thread inside the namespace. Sockets that it creates stay in the namespace,
    /// even if other threads use them later.
    ///
    /// # Panics
    ///
    /// If `work` does.
    pub fn enter<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let path = Path::new(FOLDER).join(&self.name);
        let file = File::open(&path).with_context(|| format!("{} is gone", path.display()))?;
        let thread = |file: File| -> Result<T> {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .context("cannot enter the network namespace")?;
            Ok(work())
        };
        thread::scope(|scope| match scope.spawn(|| thread(file)).join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    }

    /// Starts a program inside the namespace; it inherits the namespace from the thread.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let program = command.get_program().to_owned();
        self.enter(|| command.spawn())?
            .with_context(|| format!("cannot start {} in {}", program.display(), self.name))
    }

    /// Runs a program inside the namespace to its end and returns its output.
    pub fn output(&self, command: &mut Command) -> Result<Output> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Ok(self.spawn(command)?.wait_with_output()?)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(error) = ip(&["netns", "delete", &self.name]) {
            eprintln!("the namespace {} was left behind: {error:#}", self.name);
        }
    }
}

/// Creates a veth pair between two namespaces; each end gets its interface's name and is up.
pub fn link(left: (&Namespace, &str), right: (&Namespace, &str)) -> Result<()> {
    let (left, left_interface) = left;
    let (right, right_interface) = right;
    // Both ends are created in their namespaces, so no name on the host can collide.
    left.ip(&[
        "link",
        "add",
        left_interface,
        "type",
        "veth",
        "peer",
        "name",
        right_interface,
        "netns",
        &right.name,
    ])?;
    left.ip(&["link", "set", left_interface, "up"])?;
    right.ip(&["link", "set", right_interface, "up"])?;
    Ok(())
}

/// Whether this machine permits network namespaces.
pub fn are_allowed() -> bool {
    Namespace::new("probe").and_then(|namespace| namespace.enter(|| ())).is_ok()
}

/// Removes namespaces of processes that no longer live.
fn sweep() {
    let Ok(entries) = fs::read_dir(FOLDER) else { return };
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy().into_owned();
        if owner(&name).is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists())
            // Another process may do this at the same time; only the result matters.
            && let Err(error) = ip(&["netns", "delete", &name])
            && Path::new(FOLDER).join(&name).exists()
        {
            eprintln!("the stale namespace {name} could not be removed: {error:#}");
        }
    }
}

/// The process that created the namespace of this name, if a test of ours did.
fn owner(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?.split('-').next()?.parse().ok()
}

fn ip(arguments: &[&str]) -> Result<String> {
    let output = Command::new("ip").args(arguments).stdin(Stdio::null()).output();
    let output = output.context("cannot start ip; the package iproute2 has it")?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("ip {}: {}", arguments.join(" "), errors.trim());
    }
    let text = String::from_utf8(output.stdout).context("ip printed something else than text")?;
    ensure!(!text.contains('\0'), "ip printed a NUL");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};

    use super::*;
    use crate::requirements::{self, Requirement};

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(owner("relay-4711-0-edge"), Some(4711));
        assert_eq!(owner("relay-demo"), None);
        assert_eq!(owner("other-4711-0"), None);
    }

    #[test]
    fn two_namespaces_connect_over_their_veth_pair_in_both_families() {
        let test = "two_namespaces_connect_over_their_veth_pair_in_both_families";
        if !requirements::met(test, &[Requirement::NetworkNamespaces]) {
            return;
        }
        let server = Namespace::new("server").unwrap();
        let client = Namespace::new("client").unwrap();
        link((&server, "uplink"), (&client, "uplink")).unwrap();
        for (server_address, client_address) in
            [("10.38.96.1/24", "10.38.96.15/24"), ("fd38::1/64", "fd38::15/64")]
        {
            server.add_address("uplink", server_address).unwrap();
            client.add_address("uplink", client_address).unwrap();
        }
        for (listen, from) in [("10.38.96.1:2525", "10.38.96.15"), ("[fd38::1]:2525", "fd38::15")] {
            let address: SocketAddr = listen.parse().unwrap();
            let listener = server.enter(|| TcpListener::bind(address)).unwrap().unwrap();
            let mut stream = client.enter(|| TcpStream::connect(address)).unwrap().unwrap();
            let (mut accepted, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip().to_string(), from);
            stream.write_all(b"x").unwrap();
            accepted.read_exact(&mut [0]).unwrap();
        }
    }

    #[test]
    fn a_program_inside_sees_only_its_network_but_the_same_files() {
        let test = "a_program_inside_sees_only_its_network_but_the_same_files";
        if !requirements::met(test, &[Requirement::NetworkNamespaces]) {
            return;
        }
        let namespace = Namespace::new("inside").unwrap();
        let output = namespace.output(Command::new("ip").args(["-brief", "link"])).unwrap();
        let links = String::from_utf8(output.stdout).unwrap();
        assert_eq!(links.lines().count(), 1, "{links}");
        let outside = fs::read_link("/proc/self/ns/mnt").unwrap();
        let inside = namespace.enter(|| fs::read_link("/proc/thread-self/ns/mnt")).unwrap();
        assert_eq!(inside.unwrap(), outside);
    }

    #[test]
    fn a_setting_applies_to_its_namespace_only() {
        let test = "a_setting_applies_to_its_namespace_only";
        if !requirements::met(test, &[Requirement::NetworkNamespaces]) {
            return;
        }
        let (changed, other) =
            (Namespace::new("changed").unwrap(), Namespace::new("other").unwrap());
        changed.set("net.ipv4.tcp_syncookies", "2").unwrap();
        let read = || fs::read_to_string("/proc/sys/net/ipv4/tcp_syncookies").unwrap();
        assert_eq!(changed.enter(read).unwrap().trim(), "2");
        assert_ne!(other.enter(read).unwrap().trim(), "2");
    }

    #[test]
    fn names_of_ended_processes_are_removed() {
        if !requirements::met(
            "names_of_ended_processes_are_removed",
            &[Requirement::NetworkNamespaces],
        ) {
            return;
        }
        let namespace = Namespace::new("short-lived").unwrap();
        let path = Path::new(FOLDER).join(namespace.name());
        assert!(path.exists());
        drop(namespace);
        assert!(!path.exists());

        // The ended process cannot have removed it, so the next sweep must.
        let mut ended = Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        let stale = format!("{PREFIX}{}-0-stale", ended.id());
        ip(&["netns", "add", &stale]).unwrap();
        sweep();
        assert!(!Path::new(FOLDER).join(&stale).exists());
    }
}
