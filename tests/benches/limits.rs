//! `cargo xtask bench limits`: the cost of limits that are not reached.
//!
//! One daemon has two connectors: one with every optional limit off, the other with all of them on
//! and far above the load. The same sessions use each in turn, with one message each. The benchmark
//! compares the daemon's own processor time, which other work on the machine disturbs least.

#![expect(clippy::unwrap_used, reason = "a rig: every failure must end the run")]

#[expect(dead_code, reason = "the rig of idle sessions uses more of it")]
#[path = "../idle/client.rs"]
mod client;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use relay_tests::daemon::{self, Daemon, configuration_head};
use relay_tests::sink::{Script, Sink};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Pairs of turns, one for each connector.
const ROUNDS: usize = 40;
/// Sessions of a turn.
const SESSIONS: usize = 400;
/// Clients at the same time, each with its own address.
const CLIENTS: u8 = 4;
/// Messages accepted in a turn are delivered before the next turn begins.
const DELIVERY: Duration = Duration::from_millis(500);

/// The connectors by the second octet of a client's address.
const OFF: u8 = 1;
const FAR: u8 = 2;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink::on_loopback(Script::default()).unwrap();
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, daemon::free_port().unwrap()));
    let text = configuration(folder.path(), server, sink.address());
    let daemon = Daemon::start(None, folder.path(), &text).unwrap();
    println!("{}, {ROUNDS} rounds of {SESSIONS} sessions", daemon::binary().unwrap().display());
    let (mut off, mut far) = (Vec::new(), Vec::new());
    Runtime::new().unwrap().block_on(async {
        // One-time initialization happens before the first round.
        turn(OFF, server, &daemon).await;
        turn(FAR, server, &daemon).await;
        for round in 0..ROUNDS {
            // The order alternates.
            if round % 2 == 0 {
                off.push(turn(OFF, server, &daemon).await);
                far.push(turn(FAR, server, &daemon).await);
            } else {
                far.push(turn(FAR, server, &daemon).await);
                off.push(turn(OFF, server, &daemon).await);
            }
        }
    });
    let mut ratios: Vec<_> = off.iter().zip(&far).map(|(off, far)| far / off).collect();
    println!("limits off       {:>8.1} µs of the daemon's time for each session", median(&mut off));
    println!("limits far away  {:>8.1} µs", median(&mut far));
    let middle = median(&mut ratios);
    let (low, high) = (ratios[ROUNDS / 4], ratios[ROUNDS * 3 / 4]);
    println!("  ratio          {middle:>8.3}, half of the rounds between {low:.3} and {high:.3}");
}

/// One turn: microseconds of the daemon's time on the processor for each session.
async fn turn(connector: u8, server: SocketAddr, daemon: &Daemon) -> f64 {
    let before = processor_time(daemon.id());
    let mut clients = JoinSet::new();
    for client in 1..=CLIENTS {
        let from = IpAddr::from([127, connector, 0, client]);
        clients.spawn(async move {
            for _ in 0..SESSIONS / usize::from(CLIENTS) {
                client::whole_session(from, server).await.unwrap();
            }
        });
    }
    clients.join_all().await;
    sleep(DELIVERY).await;
    (processor_time(daemon.id()) - before) / SESSIONS as f64
}

/// Microseconds that the threads of a process have run.
fn processor_time(process: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    let nanoseconds = threads.map(|thread| {
        let text = fs::read_to_string(thread.unwrap().path().join("schedstat"));
        // A thread may end meanwhile.
        let text = text.unwrap_or_default();
        text.split(' ').next().and_then(|ran| ran.parse::<f64>().ok()).unwrap_or_default()
    });
    nanoseconds.sum::<f64>() / 1000.0
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn configuration(folder: &Path, server: SocketAddr, sink: SocketAddr) -> String {
    let connector = |name: &str, number: u8, limits: &str| {
        format!(
            "[[connector]]\nname = \"{name}\"\nbindings = [\"{server}\"]\n\
             remote_ip_ranges = [\"127.{number}.0.0/16\"]\npermission_groups = [\"AnonymousUsers\"]\n\
             grants = {{ anonymous = [\"ms-Exch-SMTP-Accept-Any-Recipient\"] }}\n{limits}\n"
        )
    };
    let off = "max_inbound_connection = \"unlimited\"\n\
               max_inbound_connection_per_source = \"unlimited\"\n\
               max_inbound_connection_percentage_per_source = 100\n\
               max_protocol_errors = \"unlimited\"\nmax_local_hop_count = 0\n\
               message_rate_limit = \"unlimited\"\nmessage_rate_source = \"None\"\n";
    let far = "max_inbound_connection = 10000\nmax_inbound_connection_per_source = 10000\n\
               max_inbound_connection_percentage_per_source = 50\nmax_protocol_errors = 1000\n\
               max_local_hop_count = 10\nmessage_rate_limit = 1000000\n\
               message_rate_source = \"IPAddress\"\n";
    let head = configuration_head("edge.test", folder, sink);
    head + &connector("Limits off", OFF, off) + &connector("Limits far away", FAR, far)
}
