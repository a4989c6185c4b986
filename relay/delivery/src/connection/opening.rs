//! At which address of a next hop, and with which encryption, is a connection opened?

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::connection::causes::one_cause;
use crate::connection::{Handshake, HopConnection, State};
use crate::reach::{Candidate, Unreachable, candidates};
use crate::remotes::{Remotes, Slot};
use crate::route::Destination;
use crate::security::{Security, TlsMode, server_name};
use crate::transport::ClientStream;
use crate::{Cut, DeliverySettings, credentials, remotes};
use relay_host::error_chain::error_chain;
use relay_mail::outcome::{Cause, OutcomeReason};
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Enhanced;
use relay_queue::event::NextHopConnection;
use relay_smtp::client::{ClientOpening, ClientSession, NextHopCredentials, NextHopTls};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{debug, info};

/// The inputs for opening a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial<'a> {
    pub(crate) protocol: DeliveryProtocol,
    pub(crate) security: &'a Security,
    pub(crate) settings: &'a DeliverySettings,
    /// Becomes true when a running attempt must end.
    pub(crate) cut: &'a watch::Receiver<Cut>,
    /// The count of connections, and the message for which this one is opened.
    pub(crate) counted: Option<(&'a Arc<Remotes>, QueueId)>,
}

/// Why one address could not be used.
#[derive(Debug)]
struct Unopened {
    cause: Cause,
    failed: Failed,
}

/// The failed step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failed {
    /// The handshake, or STARTTLS before it.
    Tls,
    /// Another step, which would fail in plain text too.
    Other,
}

impl HopConnection {
    /// Connects to the servers that a destination has at the moment.
    ///
    /// # Errors
    /// The reason why none of them can be used.
    pub async fn to(
        destination: &Destination,
        settings: &DeliverySettings,
        cut: &watch::Receiver<Cut>,
    ) -> Result<Self, Cause> {
        let found = candidates(destination, settings).await;
        let found = match found {
            Ok(found) => found,
            Err(Unreachable::Temporary(cause) | Unreachable::Permanent(cause)) => {
                return Err(cause);
            }
            // Connections that are not counted are never too many.
            Err(Unreachable::AddressBusy(_)) => return Err(one_cause(Vec::new())),
        };
        let (protocol, security) = (destination.protocol(), destination.security());
        let dial = Dial { protocol, security, settings, cut, counted: None };
        match Self::open(&found, &dial, &mut Vec::new()).await {
            Ok(connection) => Ok(connection),
            Err(Unreachable::Temporary(cause) | Unreachable::Permanent(cause)) => Err(cause),
            Err(Unreachable::AddressBusy(_)) => Err(one_cause(Vec::new())),
        }
    }

    /// Connects to the first address whose server sends its greeting and accepts our EHLO (RFC 5321
    /// section 5.1: the others are tried in order after any failure of the first).
    ///
    /// Addresses that could not be used are added to `failed`, even if another could be used. If
    /// this future is dropped, the address that is being tried is added too.
    ///
    /// # Errors
    /// The reason why the next hop cannot be used; its messages are deferred.
    pub(crate) async fn open(
        candidates: &[Candidate],
        dial: &Dial<'_>,
        failed: &mut Vec<SocketAddr>,
    ) -> Result<Self, Unreachable> {
        let Dial { protocol, security, settings, cut, counted } = *dial;
        let credentials = read_credentials(security).await.map_err(Unreachable::Temporary)?;
        let mut causes = Vec::new();
        let mut full = None;
        for candidate in candidates {
            let slot = match counted {
                None => None,
                Some((remotes, id)) => match remotes.slot(candidate.address, id) {
                    Some(slot) => Some(slot),
                    None => {
                        full.get_or_insert(remotes::key(candidate.address));
                        continue;
                    }
                },
            };
            failed.push(candidate.address);
            let open = |encryption| {
                let auth = security.auth.as_ref();
                let opening = ClientOpening {
                    protocol,
                    hello_name: settings.hello_name.clone(),
                    encryption,
                    credentials: credentials.clone(),
                    credentials_in_clear: auth.is_some_and(|auth| auth.in_clear),
                    use_basic_smtp: candidate.use_basic_smtp,
                };
                Self::open_one(candidate, opening, security, settings, cut)
            };
            let opened = match open(security.encryption()).await {
                // RFC 7435: if plain text is allowed, a failure of TLS is no reason to keep the
                // mail.
                Err(Unopened { cause, failed: Failed::Tls })
                    if security.tls == TlsMode::Opportunistic =>
                {
                    let address = candidate.address;
                    let answer = OutcomeReason { hop: None, cause };
                    info!(hop = %candidate.server, %address, %answer, "TLS failed with this next hop; sending in plain text");
                    open(NextHopTls::Never).await
                }
                opened => opened,
            };
            match opened {
                Ok(connection) => {
                    failed.pop();
                    return Ok(Self { _slot: slot.map(Slot::serves), ..connection });
                }
                Err(Unopened { cause, .. }) => causes.push((candidate.address, cause)),
            }
        }
        Err(full
            .map_or_else(|| Unreachable::Temporary(one_cause(causes)), Unreachable::AddressBusy))
    }

    /// Connects to one address and waits until a transaction may begin.
    async fn open_one(
        candidate: &Candidate,
        opening: ClientOpening,
        security: &Security,
        settings: &DeliverySettings,
        cut: &watch::Receiver<Cut>,
    ) -> Result<Self, Unopened> {
        let address = candidate.address;
        let connected = timeout(settings.connect_timeout, TcpStream::connect(address)).await;
        let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| {
            let text = format!("cannot connect to {address}: {error}");
            // X.4.1 of RFC 3463: no answer from host.
            let cause = Cause::Local { status: Enhanced(4, 4, 1), text };
            Unopened { cause, failed: Failed::Other }
        })?;
        // Commands are small, and each waits for its reply.
        let _ = stream.set_nodelay(true);
        let hop = candidate.server.to_string();
        let session = ClientSession::new(&hop, opening, settings.timeouts, Instant::now());
        let config = settings.handshakes.config(security).cloned();
        let mut connection = Self {
            transport: ClientStream::Plain(stream),
            session,
            address,
            state: State::Busy,
            has_sent: false,
            handshake: Handshake::With(config, server_name(&candidate.server)),
            heard: false,
            lost_unheard: false,
            cut: cut.clone(),
            audience: security.audience(),
            connected: Arc::new(NextHopConnection { address, tls: None }),
            patience: None,
            _slot: None,
        };
        if connection.ready().await {
            let tls = connection.transport.tls();
            debug!(hop, %address, tls = tls.as_deref().unwrap_or("none"), "connected");
            connection.connected = Arc::new(NextHopConnection { address, tls });
            return Ok(connection);
        }
        let is_tls = match connection.handshake {
            Handshake::With(..) => connection.session.failed_at_start_tls(),
            Handshake::Failed => true,
            // In TLS 1.3 our side is done before the server has examined our last message.
            Handshake::Done => connection.lost_unheard,
        };
        let failed = if is_tls { Failed::Tls } else { Failed::Other };
        Err(Unopened { cause: connection.cause(), failed })
    }
}

/// The credentials of a route that has some.
async fn read_credentials(security: &Security) -> Result<Option<NextHopCredentials>, Cause> {
    let Some(auth) = &security.auth else { return Ok(None) };
    let path = auth.credentials.clone();
    let failed = |text| Cause::Local { status: Enhanced(4, 7, 0), text };
    match tokio::task::spawn_blocking(move || credentials::read(&path)).await {
        Ok(Ok(credentials)) => Ok(Some(credentials)),
        Ok(Err(error)) => Err(failed(error_chain(&error))),
        Err(error) => Err(failed(error.to_string())),
    }
}
