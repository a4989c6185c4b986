//! A new connection: its connector, its slot, and the beginning of its session. Behind a proxy, the
//! address that the proxy states counts.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use crate::admission::{AdmissionRefusal, ConnectionPermit};
use crate::limits::PROXY_HEADER_WAIT;
use crate::record::Record;
use crate::refusals::RefusalEndpoints;
use crate::{Shared, Stop, driver};
use relay_connector::ConnectorId;
use relay_kernel::classifier::{Classification, ConnectorChoice};
use relay_mail::reply::Reply;
use relay_policy::{self, Decision};
use relay_session::Session;
use relay_smtp::limits::PROXY_HEADER_OCTETS;
use relay_smtp::proxy::{ProxyError, ProxyHeader, ProxyReader};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::timeout;

/// Why the header of a proxy is missing.
#[derive(Debug, thiserror::Error)]
enum HeaderError {
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// As a health check does.
    #[error("the connection ended before its first octet")]
    Probe,
    #[error("the proxy did not send its header in time")]
    Timeout,
    #[error("the connection of the proxy failed: {0}")]
    Io(#[from] io::Error),
}

/// Begins the session of a connection, or refuses the connection.
pub(super) fn welcome(
    stream: TcpStream,
    remote: SocketAddr,
    shared: &Arc<Shared>,
    stop: &watch::Receiver<Stop>,
    permit: OwnedSemaphorePermit,
) {
    // This fails if the peer has disconnected already.
    let Ok(local) = stream.local_addr() else { return };
    if shared.classifier.rules().proxies.sends_header(remote.ip()) {
        tokio::spawn(behind_proxy(stream, local, remote, Arc::clone(shared), stop.clone(), permit));
        return;
    }
    let classification = shared.classifier.classify(stream.as_fd(), local, remote);
    shared.counts.classified(&classification);
    begin(stream, classification, local, remote, None, shared, stop.clone(), permit);
}

/// Reads the header of a proxy, and continues with the client that the proxy states. The kernel's
/// tag is about the proxy, so the daemon's table decides.
async fn behind_proxy(
    mut stream: TcpStream,
    local: SocketAddr,
    proxy: SocketAddr,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<Stop>,
    permit: OwnedSemaphorePermit,
) {
    let header = tokio::select! {
        header = timeout(PROXY_HEADER_WAIT, read_header(&mut stream)) => header,
        Ok(_) = stop.wait_for(|stop| *stop > Stop::No) => return,
    };
    let header = match header.unwrap_or(Err(HeaderError::Timeout)) {
        Ok(header) => header,
        Err(HeaderError::Probe) => {
            tracing::debug!(%proxy, %local, "health check of a proxy");
            return shared.counts.probe(ConnectorId::NONE);
        }
        Err(error) => {
            tracing::warn!(%proxy, %local, %error, "closing a connection from a proxy");
            return shared.counts.connection_refused(ConnectorId::NONE);
        }
    };
    let (remote, proxy) = match header {
        ProxyHeader::Client(client) => (client, Some(proxy)),
        ProxyHeader::Own => (proxy, None),
    };
    let classification = shared.classifier.classify_told(local, remote);
    shared.counts.classified(&classification);
    begin(stream, classification, local, remote, proxy, &shared, stop, permit);
}

async fn read_header(stream: &mut TcpStream) -> Result<ProxyHeader, HeaderError> {
    let mut reader = ProxyReader::default();
    let mut octets = [0; PROXY_HEADER_OCTETS];
    loop {
        let wanted = reader.wants().min(octets.len());
        let read = stream.read(&mut octets[..wanted]).await;
        let is_over = !matches!(read, Ok(octets) if octets > 0);
        if is_over && reader.is_empty() {
            return Err(HeaderError::Probe);
        }
        let read = read?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        if let Some(header) = reader.take(&octets[..read])? {
            return Ok(header);
        }
    }
}

/// A slot for the connection; if there is none, the client has been told.
fn place(
    stream: &TcpStream,
    classification: &Classification,
    local: SocketAddr,
    remote: SocketAddr,
    proxy: Option<SocketAddr>,
    shared: &Shared,
) -> Option<ConnectionPermit> {
    let ends = RefusalEndpoints { local, remote, proxy };
    let Some(chosen) = &classification.connector else {
        let decision = relay_policy::connect(None);
        record_refused(classification, ends, &decision, shared);
        turn_away(stream, &decision.reply, ConnectorId::NONE, shared);
        return None;
    };
    let decision = match admit(chosen, remote, shared) {
        Ok(place) => return Some(place),
        Err(decision) => decision,
    };
    record_refused(classification, ends, &decision, shared);
    if is_implicit(classification, local) {
        // Clients do not read plain text there.
        shared.counts.connection_refused(chosen.id);
    } else {
        let has_codes = chosen.connector.extensions.enhanced_status_codes_enabled;
        turn_away(stream, &decision.reply.with_codes(has_codes), chosen.id, shared);
    }
    None
}

/// A slot for one more connection, or its refusal.
pub(super) fn admit(
    chosen: &ConnectorChoice,
    remote: SocketAddr,
    shared: &Shared,
) -> Result<ConnectionPermit, Decision> {
    if let Some(refusal) = relay_policy::connect_under_pressure(shared.back_pressure.pressure()) {
        return Err(refusal);
    }
    let (limits, range) = (&chosen.connector.limits, chosen.range());
    let admitted = shared.admission.admit(chosen.id, limits, range, remote.ip());
    admitted.map_err(AdmissionRefusal::decision)
}

/// Records a connection that was refused before its session.
pub(super) fn record_refused(
    classification: &Classification,
    ends: RefusalEndpoints,
    decision: &Decision,
    shared: &Shared,
) {
    shared.refusals.record_connection(&shared.tracker, classification, ends, decision);
}

/// Does TLS begin with the first octet?
fn is_implicit(classification: &Classification, local: SocketAddr) -> bool {
    let binding = classification.rules.table.binding_of(local);
    let connector = classification.connector.as_ref().map(|chosen| &chosen.connector);
    binding
        .zip(connector)
        .is_some_and(|(binding, connector)| connector.encryption.is_implicit_on(binding))
}

/// Begins the session of an admitted connection, with the resources that it keeps until its end.
#[expect(clippy::too_many_arguments, reason = "each is another thing about one connection")]
fn begin(
    stream: TcpStream,
    classification: Classification,
    local: SocketAddr,
    remote: SocketAddr,
    proxy: Option<SocketAddr>,
    shared: &Arc<Shared>,
    stop: watch::Receiver<Stop>,
    permit: OwnedSemaphorePermit,
) {
    let Some(place) = place(&stream, &classification, local, remote, proxy, shared) else { return };
    let Some(chosen) = &classification.connector else { return };
    // A reply is written as a whole; to wait for more would only delay the client.
    let _ = stream.set_nodelay(true);
    let peer = relay_policy::Peer::new(Arc::clone(&chosen.connector));
    let rules = Arc::clone(&classification.rules);
    let begin = if is_implicit(&classification, local) { Session::encrypted } else { Session::new };
    let session = begin(Instant::now(), rules, peer, local.ip(), remote.ip());
    let log = shared.session_ids.next();
    let mut record =
        Record::new(classification, local, remote, proxy, log, Arc::clone(&shared.counts));
    if proxy.is_none() && shared.classifier.rules().proxies.sends_header(remote.ip()) {
        record.expect_probe();
    }
    let shared = Arc::clone(shared);
    tokio::spawn(driver::drive(session, stream, shared, stop, record, place, permit));
}

/// Sends one reply and ends. The send buffer of a new connection accepts a line at once; a client
/// whose buffer does not gets no reply.
fn turn_away(stream: &TcpStream, reply: &Reply, id: ConnectorId, shared: &Shared) {
    shared.counts.connection_refused(id);
    let mut octets = Vec::new();
    reply.encode(&mut octets);
    let _ = stream.try_write(&octets);
}
