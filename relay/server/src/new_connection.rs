//! What happens between `accept` and the greeting: the connector, the permit, the session.
//!
//! If the other end is a proxy, its header comes first, and the client is the one that it states.

use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use crate::proxy_header::{self, ProxyHeaderError};
use crate::record::Record;
use crate::{Shared, Stop, driver};
use relay_connector::{Connection, ConnectorId};
use relay_kernel::classifier::Classification;
use relay_mail::reply::Reply;
use relay_policy::Peer;
use relay_session::Session;
use relay_smtp::proxy::ProxyHeader;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};

/// A connection that was accepted, and what its session needs of the daemon.
pub(super) struct NewConnection {
    pub(super) stream: TcpStream,
    pub(super) shared: Arc<Shared>,
    pub(super) stop: watch::Receiver<Stop>,
    /// One of the daemon's connections.
    pub(super) permit: OwnedSemaphorePermit,
}

/// Whose connection is it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionOwner {
    /// A client's, perhaps behind a proxy.
    Client,
    /// A proxy's own: it may be a health check.
    Proxy,
}

impl NewConnection {
    /// Begins the session of the connection, or refuses it.
    pub(super) fn start(self, remote: SocketAddr) {
        // This fails if the peer has disconnected already.
        let Ok(local) = self.stream.local_addr() else { return };
        let connection = Connection::accepted(local, remote);
        if self.is_from_proxy(&connection) {
            tokio::spawn(self.behind_proxy(connection));
            return;
        }
        let classification = self.shared.classifier.classify(self.stream.as_fd(), &connection);
        self.begin(connection, classification, ConnectionOwner::Client);
    }

    /// Reads the header of a proxy, and continues with the client that it states. The kernel's tag is
    /// about the proxy, so the daemon's table decides; about the proxy itself the tag decides.
    async fn behind_proxy(mut self, connection: Connection) {
        let header = tokio::select! {
            header = proxy_header::read(&mut self.stream) => header,
            Ok(_) = self.stop.wait_for(|stop| *stop > Stop::No) => return,
        };
        let (proxy, local) = (connection.remote(), connection.local());
        let client = match header {
            Ok(ProxyHeader::Client(client)) => Some(client),
            Ok(ProxyHeader::Own) => None,
            Err(ProxyHeaderError::Probe) => {
                tracing::debug!(%proxy, %local, "health check of a proxy");
                return self.shared.counts.probe(ConnectorId::NONE);
            }
            Err(error) => {
                let Shared { refusals, tracker, counts, .. } = &*self.shared;
                refusals.record_proxy_header(tracker, &connection, &error);
                return counts.connection_refused(ConnectorId::NONE);
            }
        };
        match client {
            Some(client) => {
                let connection = connection.through_proxy(client);
                let classification = self.shared.classifier.classify_told(&connection);
                self.begin(connection, classification, ConnectionOwner::Client);
            }
            None => {
                let classifier = &self.shared.classifier;
                let classification = classifier.classify(self.stream.as_fd(), &connection);
                self.begin(connection, classification, ConnectionOwner::Proxy);
            }
        }
    }

    /// Begins the session, if the connector has room for it.
    fn begin(self, connection: Connection, classification: Classification, owner: ConnectionOwner) {
        let Self { stream, shared, stop, permit } = self;
        shared.counts.classified(&classification);
        let admitted = match &classification.connector {
            None => Err(relay_policy::connect(None)),
            Some(chosen) => {
                let permit = shared.admit(chosen, connection.client());
                permit.map(|permit| (Arc::clone(&chosen.connector), permit))
            }
        };
        let is_implicit = is_implicit(&classification, connection.local());
        let (connector, connection_permit) = match admitted {
            Ok(admitted) => admitted,
            Err(decision) => {
                shared.record_refused(&classification, &connection, &decision);
                let chosen = classification.connector.as_ref();
                shared.counts.connection_refused(chosen.map_or(ConnectorId::NONE, |it| it.id));
                // A client that begins with TLS does not read plain text.
                if !is_implicit {
                    let has_codes = chosen.is_none_or(|chosen| {
                        chosen.connector.extensions.enhanced_status_codes_enabled
                    });
                    refuse(&stream, &decision.reply.with_enhanced_codes(has_codes));
                }
                return;
            }
        };
        // Each reply is written as a whole. To wait for more octets would only delay it.
        let _ = stream.set_nodelay(true);
        let rules = Arc::clone(&classification.rules);
        let begin = if is_implicit { Session::encrypted } else { Session::new };
        let session = begin(Instant::now(), rules, Peer::new(connector), connection);
        let log = shared.session_ids.next();
        let mut record = Record::new(classification, log, Arc::clone(&shared.counts));
        if owner == ConnectionOwner::Proxy {
            record.expect_probe();
        }
        let driven =
            driver::drive(session, stream, shared, stop, record, connection_permit, permit);
        tokio::spawn(driven);
    }

    fn is_from_proxy(&self, connection: &Connection) -> bool {
        self.shared.classifier.rules().proxies.sends_header(connection.client())
    }
}

/// Does TLS begin there with the first octet?
fn is_implicit(classification: &Classification, local: SocketAddr) -> bool {
    let binding = classification.rules.table.binding_of(local);
    let connector = classification.connector.as_ref().map(|chosen| &chosen.connector);
    binding
        .zip(connector)
        .is_some_and(|(binding, connector)| connector.encryption.is_implicit_on(binding))
}

/// Sends one reply before the connection is closed. The send buffer of a new connection has room for
/// a line; if it has none, the client gets no reply.
fn refuse(stream: &TcpStream, reply: &Reply) {
    let mut octets = Vec::new();
    reply.encode(&mut octets);
    let _ = stream.try_write(&octets);
}
