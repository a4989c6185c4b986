//! A scripted next hop, and delivery with short waits, for the tests of this crate and of crates
//! that use it.

#![expect(clippy::unwrap_used, reason = "a test that cannot have its queue or next hop has failed")]

mod sink;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use relay_host::back_off::BackOff;
use relay_mail::dsn::MailDsn;
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::path::{Domain, ForwardPath, ReversePath};
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::queue_id::QueueId;
use relay_queue::schedule::Schedule;
use relay_queue::{Queue, StoreSettings};
use relay_smtp::client::Timeouts;

pub use self::sink::{Fault, TestNextHop};

use crate::{ClientHandshakes, DeliverySettings, NextHop, Routes, Security, SmartHosts};

/// A queue that retries deferred mail soon, so that a test can see it arrive.
pub fn open_queue(directory: &Path, lifetime: Duration) -> Queue {
    let mut log = StoreSettings::new(directory);
    log.min_free_octets = 0;
    let second = Duration::from_secs(1);
    let hostname = Domain::parse("edge1.contoso.example").unwrap();
    let schedule =
        Schedule { first: second / 10, longest: second / 5, lifetime, warning: lifetime };
    let settings = relay_queue::QueueSettings { hostname, schedule };
    let (queue, _) = Queue::open(&log, settings).unwrap();
    queue
}

/// Delivery that waits half a second instead of minutes.
pub fn impatient(address: SocketAddr) -> DeliverySettings {
    let second = Duration::from_secs(1);
    let routes = Routes::new(Vec::new(), to_servers(&[address], Security::default()));
    let mut settings = DeliverySettings::new(routes, ClientHandshakes::load([]).unwrap(), "edge1");
    settings.back_off = BackOff { first: second / 10, longest: second / 2 };
    settings.timeouts = every_step(second / 2);
    settings
}

/// Smart hosts, in this order.
pub fn to_servers(addresses: &[SocketAddr], security: Security) -> NextHop {
    let hosts = addresses.iter().map(|address| address.to_string().parse().unwrap()).collect();
    NextHop::SmartHosts(Arc::new(SmartHosts { hosts, protocol: DeliveryProtocol::Smtp, security }))
}

/// The same time for each step of a session.
pub fn every_step(timeout: Duration) -> Timeouts {
    Timeouts {
        greeting: timeout,
        mail: timeout,
        recipient: timeout,
        data_initiation: timeout,
        data_block: timeout,
        data_termination: timeout,
        quit: timeout,
    }
}

/// Delivery that waits a minute at each step, and almost no time after it is told to end.
pub fn patient(address: SocketAddr) -> DeliverySettings {
    let timeouts = every_step(Duration::from_secs(60));
    DeliverySettings { timeouts, drain: Duration::from_millis(100), ..impatient(address) }
}

/// Delivery to the hosts of address literals, at this port.
pub fn by_address(port: u16) -> DeliverySettings {
    let mut settings = patient(SocketAddr::from(([127, 0, 0, 1], port)));
    settings.routes = Routes::new(vec![], NextHop::Exchangers { security: Arc::default() });
    settings.exchangers.port = port;
    settings.exchangers.allow_private_addresses = true;
    settings
}

/// Puts a message into the queue.
pub async fn accept(queue: &Queue, recipients: &[&str], message: &[u8]) -> QueueId {
    accept_from(queue, "<sender@contoso.example>", recipients, message).await
}

/// Puts a message of this sender into the queue.
pub async fn accept_from(queue: &Queue, from: &str, to: &[&str], message: &[u8]) -> QueueId {
    let envelope = Envelope {
        sender: ReversePath::parse(from).unwrap(),
        recipients: to.iter().map(|r| ForwardPath::parse(r).unwrap().into()).collect(),
        body: BodyType::EightBitMime,
        smtputf8: false,
        dsn: MailDsn::default(),
    };
    let mut incoming = queue.begin(envelope).await.unwrap();
    for piece in message.chunks(10_000) {
        incoming.write(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    let id = incoming.id();
    incoming.commit().await.unwrap();
    id
}
