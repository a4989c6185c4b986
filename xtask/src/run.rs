//! `cargo xtask run`: the daemon in the foreground, a sink as its next hop, and the next commands.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use relay_tests::sink::{self, Script};
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGINT, SIGTERM};

use crate::workspace::Workspace;
use crate::{build_daemon, ebpf, process, setup};

/// The example configuration. Its ports appear a second time here, in the printed commands.
const CONFIGURATION: &str = "deploy/development.toml";
/// Its smart host.
const SINK: &str = "127.0.0.1:2626";

/// Longest time until the daemon must answer on its control socket.
const START: Duration = Duration::from_secs(20);
/// Interval between checks of the daemon and of Ctrl-C.
const PAUSE: Duration = Duration::from_millis(50);

/// The verb.
pub fn run(workspace: &Workspace) -> Result<()> {
    let machine = setup::prepare(workspace)?;
    let object = match &machine.kernel_compiler {
        Some(compiler) => Some(ebpf::build(workspace, compiler)?),
        None => None,
    };
    build_daemon::build(workspace, object.as_deref())?;
    let kernel = object.is_some() && process::is_root();
    if !kernel {
        let why = if object.is_some() {
            "this process is not root"
        } else {
            "the kernel half is not built"
        };
        println!("run: the daemon classifies in user space: {why}");
    }

    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let listener = TcpListener::bind(SINK)
        .with_context(|| format!("the sink cannot listen on {SINK}; is another one running?"))?;
    // The sink ends with this process.
    thread::spawn(move || {
        sink::serve(&listener, Script::default(), |message| print!("{message}"));
    });
    let mut daemon = Command::new(workspace.daemon())
        .args(["run", "-c", CONFIGURATION])
        .current_dir(workspace.root())
        .spawn()
        .context("the daemon does not start")?;
    if wait_until_ready(workspace, &mut daemon, &interrupted)? {
        print_what_to_type(workspace, kernel);
    }
    attend(&mut daemon, &interrupted)
}

/// Asks the daemon for its status until it answers; `false` if it ended or we were interrupted.
fn wait_until_ready(
    workspace: &Workspace,
    daemon: &mut Child,
    interrupted: &AtomicBool,
) -> Result<bool> {
    let deadline = Instant::now() + START;
    while Instant::now() < deadline {
        if interrupted.load(Ordering::Relaxed) || daemon.try_wait()?.is_some() {
            return Ok(false);
        }
        let mut status = Command::new(workspace.daemon());
        status.args(["status", "-c", CONFIGURATION]).current_dir(workspace.root());
        if status.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
            return Ok(true);
        }
        thread::sleep(PAUSE);
    }
    println!("run: the daemon does not answer `relay status` yet; see its log above");
    Ok(true)
}

fn print_what_to_type(workspace: &Workspace, kernel: bool) {
    let daemon = workspace.daemon();
    let daemon = daemon.strip_prefix(workspace.root()).unwrap_or(&daemon).display();
    println!(
        "
run: relay listens on 127.0.0.1:2525; mail that it takes is printed here. In another terminal:
  accepted, for a domain of ours:
    swaks --server 127.0.0.1:2525 --from amy@fabrikam.example --to bob@contoso.example
  refused, since a stranger may not relay:
    swaks --server 127.0.0.1:2525 --from amy@fabrikam.example --to bob@fabrikam.example
  relayed, since 127.0.0.3 is a scanner:
    swaks --server 127.0.0.1:2525 --local-interface 127.0.0.3 --from scan@contoso.example \\
          --to bob@fabrikam.example
  what it counted:
    {daemon} status -c {CONFIGURATION}"
    );
    if kernel {
        println!("  the kernel's table:\n    bpftool map dump name RANGES");
    }
    println!("Ctrl-C ends both.\n");
}

/// Waits for the daemon. Ends it on Ctrl-C: with a signal the first time, at once the second time.
fn attend(daemon: &mut Child, interrupted: &AtomicBool) -> Result<()> {
    let mut asked = false;
    loop {
        if let Some(status) = daemon.try_wait()? {
            ensure!(asked || status.success(), "the daemon ended: {status}");
            return Ok(());
        }
        if interrupted.swap(false, Ordering::Relaxed) {
            let signal = if asked { Signal::KILL } else { Signal::TERM };
            // A terminal's Ctrl-C also reaches the daemon; a signal to this process alone does not.
            if let Some(id) = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw) {
                kill_process(id, signal).context("cannot end the daemon")?;
            }
            asked = true;
        }
        thread::sleep(PAUSE);
    }
}
