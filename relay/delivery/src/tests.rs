//! The driver against scripted next hops on loopback.

mod addresses;
mod arriving;
mod attacks;
mod breaking_off;
mod delays;
mod endings;
mod limited;
mod maildirs;
mod other_servers;
mod passing_faults;
mod pinned;
mod resuming;
mod routes;
mod tls;
mod too_many_recipients;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::connection::{Dial, HopConnection};
use crate::reach::{Candidate, Unreachable};
use crate::*;
use relay_mail::outcome::Cause;
use relay_mail::path::Domain;
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::queue_id::QueueId;
use relay_queue::Counters;
use relay_queue::schedule::Schedule;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_rustls::rustls::ServerConfig;

use crate::testing::*;

const ONE: &str = "<one@fabrikam.example>";

/// Connects to the first of these that can be used.
async fn connect(
    candidates: &[Candidate],
    security: &Security,
    settings: &DeliverySettings,
) -> Result<HopConnection, Cause> {
    let (_keep, cut) = watch::channel(Cut::Nothing);
    let dial =
        Dial { protocol: DeliveryProtocol::Smtp, security, settings, cut: &cut, counted: None };
    HopConnection::open(candidates, &dial, &mut Vec::new()).await.map_err(|unreachable| {
        let Unreachable::Temporary(cause) = unreachable else { panic!("{unreachable:?}") };
        cause
    })
}

/// A queue, its delivery, and the way to end it.
struct Daemon {
    queue: Queue,
    stop: watch::Sender<bool>,
    delivery: JoinHandle<()>,
    _directory: TempDir,
}

impl Daemon {
    fn start(address: SocketAddr) -> Self {
        Self::start_with(address, |_| {})
    }

    fn start_with(address: SocketAddr, change: impl FnOnce(&mut DeliverySettings)) -> Self {
        let directory = TempDir::new().unwrap();
        let queue = open_queue(directory.path(), Duration::from_secs(60));
        let mut settings = impatient(address);
        change(&mut settings);
        let (stop, stopped) = watch::channel(false);
        let delivery = tokio::spawn(run(queue.clone(), settings, stopped));
        Self { queue, stop, delivery, _directory: directory }
    }

    async fn accept(&self, recipients: &[&str], message: &[u8]) -> QueueId {
        accept(&self.queue, recipients, message).await
    }

    /// Waits until every message has been delivered or reported, and ends the delivery, so that the
    /// last attempt is counted too.
    async fn finish(self) -> Counters {
        let begin = Instant::now();
        while self.queue.counters().lengths.queued > 0 {
            let counters = self.queue.counters();
            assert!(begin.elapsed() < Duration::from_secs(60), "not empty: {counters:?}");
            sleep(Duration::from_millis(10)).await;
        }
        let queue = self.queue.clone();
        self.stop().await;
        queue.counters()
    }

    async fn stop(self) {
        self.stop.send(true).unwrap();
        self.delivery.await.unwrap();
    }
}
