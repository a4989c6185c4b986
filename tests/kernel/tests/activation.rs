//! Listeners that another process opened, in its own control group: socket activation.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use relay_kernel_tests::setup::{load, publish};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use rustix::stdio::dup2_stdin;

use crate::can_load;

/// A process in its own control group. Dropping it ends the process and removes the group.
struct Helper {
    process: Child,
    group: PathBuf,
}

#[test]
fn a_connection_to_a_listener_of_another_control_group_is_tagged() {
    if !can_load("a_connection_to_a_listener_of_another_control_group_is_tagged") {
        return;
    }
    let mut kernel = load();
    let group = kernel.cgroup.join(format!("relay-activation-{}", std::process::id()));
    let (_helper, listener) = Helper::listening(group);
    let address = listener.local_addr().unwrap();
    let rules = publish(
        &mut kernel,
        &format!(
            "[[connector]]\nname = \"Activated\"\nbindings = [\"{address}\"]\n\
             remote_ip_ranges = [\"127.0.0.0/8\"]\npermission_groups = [\"AnonymousUsers\"]\n"
        ),
        2,
    );
    let client = TcpStream::connect(address).unwrap();
    let (accepted, _) = listener.accept().unwrap();
    let tag = kernel.tags.read(accepted.as_fd()).unwrap().expect("a tag");
    let (id, connector) = rules.connectors().next().unwrap();
    assert_eq!((tag.generation, tag.connector, tag.range), (2, id.0, 0));
    assert_eq!(connector.name, "Activated");
    drop(client);
}

impl Helper {
    /// Starts a process that joins a new control group and then listens. Takes over its listener,
    /// as a daemon takes those of systemd.
    fn listening(group: PathBuf) -> (Self, TcpListener) {
        fs::create_dir(&group).unwrap();
        let members = OpenOptions::new().write(true).open(group.join("cgroup.procs")).unwrap();
        let mut command = Command::new("sleep");
        command.arg("60").stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated
        // unless one of them fails, which ends the test.
        unsafe { command.pre_exec(move || listen_in_group(&members)) };
        let process = command.spawn().unwrap();
        let helper = Self { process, group };
        let id = i32::try_from(helper.process.id()).ok().and_then(Pid::from_raw).unwrap();
        let handle = pidfd_open(id, PidfdFlags::empty()).unwrap();
        let listener = pidfd_getfd(handle, 0, PidfdGetfdFlags::empty()).unwrap();
        (helper, listener.into())
    }
}

/// A socket belongs to the control group of the process that creates it.
fn listen_in_group(mut members: &File) -> io::Result<()> {
    // Zero stands for the process that writes it.
    members.write_all(b"0")?;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    dup2_stdin(&listener)?;
    Ok(())
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        // The kernel needs a moment until the group has no member.
        let deadline = Instant::now() + Duration::from_secs(5);
        while fs::remove_dir(&self.group).is_err() && Instant::now() < deadline {
            sleep(Duration::from_millis(10));
        }
        if self.group.exists() {
            eprintln!("the control group {} could not be removed", self.group.display());
        }
    }
}
