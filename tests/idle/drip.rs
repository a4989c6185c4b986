//! The attack: clients that send an octet at intervals, complete no command, and reconnect when the
//! daemon ends their connection.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::client::connect;
use super::{DRIPS_PER_SOURCE, FRONTEND};

/// Interval between two octets of one client.
const PAUSE: Duration = Duration::from_millis(50);
/// Pause before a client reconnects.
const AWAY: Duration = Duration::from_millis(200);

/// The results of the attack, by the last reply of each connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drips {
    /// Connections that were ended.
    pub ended: usize,
    /// `421 4.3.2`: refused for the limit of their source.
    pub refused: usize,
    /// `451 4.7.0`: ended by the inactivity timeout.
    pub inactive: usize,
    /// `421 4.4.1`: ended by the connection timeout.
    pub timed_out: usize,
    /// Closed with another reply, or without one.
    pub closed: usize,
}

/// A running attack.
pub struct Attack {
    stop: watch::Sender<bool>,
    clients: JoinSet<Drips>,
}

/// The octets that a client sends.
#[derive(Clone, Copy, Debug)]
enum Dripped {
    /// A command that never ends.
    Command,
    /// A message whose lines end, so that each line counts as activity.
    Message,
}

/// Begins an attack with this number of clients.
pub fn begin(clients: usize, server: SocketAddr) -> Attack {
    let (stop, stopped) = watch::channel(false);
    let mut set = JoinSet::new();
    for number in 0..clients {
        let source = u8::try_from(number / DRIPS_PER_SOURCE + 1).unwrap_or(u8::MAX);
        let from = IpAddr::from([127, FRONTEND, 0, source]);
        let dripped = if number % 2 == 0 { Dripped::Command } else { Dripped::Message };
        let mut stopped = stopped.clone();
        set.spawn(async move {
            let mut drips = Drips::default();
            while !*stopped.borrow() {
                let mut heard = Vec::new();
                tokio::select! {
                    // The last reply says why the connection ended.
                    _ = one(from, server, dripped, &mut heard) => {}
                    _ = stopped.changed() => break,
                }
                drips.count(&heard);
                sleep(AWAY).await;
            }
            drips
        });
    }
    Attack { stop, clients: set }
}

impl Attack {
    /// Ends the attack and returns its results.
    pub async fn end(self) -> Drips {
        self.stop.send_replace(true);
        let mut all = Drips::default();
        for drips in self.clients.join_all().await {
            all.ended += drips.ended;
            all.refused += drips.refused;
            all.inactive += drips.inactive;
            all.timed_out += drips.timed_out;
            all.closed += drips.closed;
        }
        all
    }
}

impl Drips {
    fn count(&mut self, heard: &[u8]) {
        self.ended += 1;
        let text = String::from_utf8_lossy(heard);
        let last = text.lines().last().unwrap_or_default();
        *match last.get(..9) {
            Some("421 4.3.2") => &mut self.refused,
            Some("451 4.7.0") => &mut self.inactive,
            Some("421 4.4.1") => &mut self.timed_out,
            _ => &mut self.closed,
        } += 1;
    }
}

/// One connection, until the server ends it.
async fn one(
    from: IpAddr,
    server: SocketAddr,
    dripped: Dripped,
    heard: &mut Vec<u8>,
) -> io::Result<()> {
    let (mut reader, mut writer) = connect(from, server).await?.into_split();
    let drip = async {
        let (start, drops): (&[u8], &[u8]) = match dripped {
            Dripped::Command => (b"EHLO c\r\n", b"NOOP and so on "),
            Dripped::Message => (
                b"EHLO c\r\nMAIL FROM:<a@b.example>\r\nRCPT TO:<c@contoso.example>\r\nDATA\r\n",
                b"a\r\n",
            ),
        };
        writer.write_all(start).await?;
        for octet in drops.iter().cycle() {
            writer.write_all(&[*octet]).await?;
            sleep(PAUSE).await;
        }
        io::Result::Ok(())
    };
    let listen = async {
        while reader.read_buf(heard).await? > 0 {}
        io::Result::Ok(())
    };
    // A client gets the last reply before its next write fails.
    tokio::select! {
        biased;
        result = listen => result,
        result = drip => result,
    }
}
