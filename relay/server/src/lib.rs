//! Listens, admits, and drives sessions with octets and a clock.
//!
//! This module decides how many connections there are and when they end with the daemon.
//! [`relay_kernel::classifier`] classifies connections, [`relay_session`] speaks SMTP, and
//! [`relay_queue`] keeps messages.
//!
//! [`listener`] accepts, [`new_connection`] begins a session, [`admission`] counts connections,
//! [`driver`] performs the actions of a session on a [`transport`], and [`inquiries`] answers the
//! inquiries of decisions. [`rates`] counts messages, [`logons`] failed logons, and [`refusals`]
//! decides which refusals are recorded. [`tls`] has the certificates, [`record`] writes the log line
//! of a session, and [`protocol_log`] the lines of verbose connectors.

mod admission;
pub mod back_pressure;
pub mod counts;
mod driver;
mod inquiries;
pub mod kept;
pub mod limits;
mod listen_address;
mod listener;
mod logons;
mod new_connection;
pub mod protocol_log;
mod proxy_header;
mod rates;
pub mod recipients;
mod record;
mod refusals;
pub mod tls;
mod transport;

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::admission::Admission;
use crate::back_pressure::BackPressure;
use crate::counts::Counts;
use crate::inquiries::Asker;
use crate::kept::{Inherited, StoredListeners};
use crate::limits::SESSIONS;
use crate::listener::Listening;
use crate::logons::LogonFailures;
use crate::protocol_log::SessionIds;
use crate::rates::MessageRates;
use crate::recipients::RecipientLookups;
use crate::refusals::RefusalRecorder;
use crate::tls::{CertificateStatus, Handshake, ServerHandshakes, TlsCredentials};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use relay_antispam::Checks;
use relay_connector::{ClientAddress, ConnectorId, Limits, Range, TableMatch};
use relay_kernel::classifier::{Classifier, ConnectorChoice};
use relay_policy::{BackPressureSettings, Inquiry, InquiryAnswer, Rules};
use relay_queue::Queue;
use relay_session::Conditions;
use relay_session::limits::INQUIRY_WAIT;
use relay_tracking::Tracker;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

use relay_explanation::HostState;

pub use self::admission::LimitUse;
pub use self::listen_address::{ListenError, addresses, is_free};

/// The receiving half of the daemon.
pub struct Server {
    shared: Arc<Shared>,
    listeners: Mutex<HashMap<SocketAddr, Listening>>,
    /// Addresses with listeners that the host did not have at the last check.
    absent: Mutex<BTreeSet<SocketAddr>>,
    credentials: Mutex<Option<TlsCredentials>>,
    kept: StoredListeners,
    /// Tells every session that the daemon stops.
    stop: watch::Sender<Stop>,
}

/// The end of the daemon, as sessions see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// The daemon runs.
    No,
    /// End after the message that is being received.
    Gently,
    /// End now.
    AtOnce,
}

/// Addresses that are bound but not listened to yet.
pub struct PreparedServer {
    wanted: Vec<SocketAddr>,
    sockets: Vec<(SocketAddr, TcpListener)>,
}

/// The resources of every connection.
struct Shared {
    classifier: Arc<Classifier>,
    queue: Queue,
    counts: Arc<Counts>,
    tracker: Tracker,
    handshakes: ArcSwap<ServerHandshakes>,
    /// The servers for the checks of foreign mail.
    checks: ArcSwap<Checks>,
    admission: Arc<Admission>,
    back_pressure: Arc<BackPressure>,
    rates: MessageRates,
    logon_failures: LogonFailures,
    /// Decides which refusals are recorded.
    refusals: RefusalRecorder,
    recipients: RecipientLookups,
    session_ids: SessionIds,
    /// A permit for each possible session.
    sessions: Arc<Semaphore>,
}

impl Server {
    /// A server that does not listen yet.
    pub fn new(
        classifier: Arc<Classifier>,
        queue: Queue,
        counts: Arc<Counts>,
        tracker: Tracker,
    ) -> Self {
        let shared = Shared {
            classifier,
            queue,
            counts,
            tracker,
            handshakes: ArcSwap::default(),
            checks: ArcSwap::from_pointee(Checks::disabled()),
            admission: Arc::default(),
            rates: MessageRates::default(),
            logon_failures: LogonFailures::default(),
            refusals: RefusalRecorder::default(),
            recipients: RecipientLookups::default(),
            session_ids: SessionIds::default(),
            back_pressure: Arc::new(BackPressure::new(&BackPressureSettings::default())),
            sessions: Arc::new(Semaphore::new(SESSIONS)),
        };
        let (stop, _) = watch::channel(Stop::No);
        Self {
            shared: Arc::new(shared),
            listeners: Mutex::default(),
            absent: Mutex::default(),
            credentials: Mutex::default(),
            kept: StoredListeners::default(),
            stop,
        }
    }

    /// A server with listeners that the service manager has stored.
    #[must_use]
    pub fn with_listeners(self, inherited: Inherited) -> Self {
        Self { kept: StoredListeners::new(inherited), ..self }
    }

    /// Sets the credentials of handshakes. Encrypted sessions continue unchanged.
    pub fn set_credentials(&self, credentials: TlsCredentials) {
        self.shared.handshakes.store(credentials.handshakes());
        *self.credentials.lock() = Some(credentials);
    }

    /// Loads certificates that have changed on disk. Reads files.
    pub fn renew_credentials(&self) {
        let mut credentials = self.credentials.lock();
        if let Some(credentials) = &mut *credentials
            && credentials.check_for_renewal()
        {
            self.shared.handshakes.store(credentials.handshakes());
        }
    }

    /// The certificates in use.
    pub fn certificates(&self) -> Vec<CertificateStatus> {
        let credentials = self.credentials.lock();
        credentials.as_ref().map(TlsCredentials::status).unwrap_or_default()
    }

    /// Sets the servers for the checks of foreign mail. Without a call there are none.
    pub fn set_checks(&self, checks: Checks) {
        self.shared.checks.store(Arc::new(checks));
    }

    /// Listens on the addresses of these rules, and on no others. Sessions continue. Must be called
    /// within the runtime of the sessions.
    ///
    /// # Errors
    /// An address cannot be listened on. Then nothing has changed.
    pub fn listen(&self, rules: &Rules) -> Result<(), ListenError> {
        self.listen_to(self.prepare(rules)?);
        Ok(())
    }

    /// Binds the addresses of these rules that are not bound yet: the part of [`Server::listen`]
    /// that can fail. Connections to them wait. If the result is dropped, nothing has changed.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub fn prepare(&self, rules: &Rules) -> Result<PreparedServer, ListenError> {
        let listeners = self.listeners.lock();
        let wanted = addresses(rules.table.bindings());
        self.kept.end_others(|address| wanted.contains(address));
        let new: Vec<_> =
            wanted.iter().filter(|address| !listeners.contains_key(address)).copied().collect();
        let sockets = new
            .into_iter()
            .map(|address| match self.kept.take(address) {
                Some(socket) => listener::resume(address, socket),
                None => listener::bind(address, &listeners),
            })
            .collect::<Result<Vec<_>, _>>()?;
        Ok(PreparedServer { wanted, sockets })
    }

    /// Listens on the prepared addresses, and stops listening on addresses that are not needed.
    pub fn listen_to(&self, PreparedServer { wanted, sockets }: PreparedServer) {
        let mut listeners = self.listeners.lock();
        for (address, listening) in listeners.extract_if(|address, _| !wanted.contains(address)) {
            listening.end();
            kept::remove_from_store(address);
            tracing::info!(%address, "no longer listening");
        }
        for (address, socket) in sockets {
            kept::store_listener(address, &socket);
            let listening =
                Listening::begin(socket, Arc::clone(&self.shared), self.stop.subscribe());
            listeners.insert(address, listening);
            tracing::info!(%address, "listening");
        }
        drop(listeners);
        self.check_addresses();
    }

    /// Checks which of our addresses the host has, and logs changes. All addresses stay bound:
    /// connections are served as soon as the address appears.
    pub fn check_addresses(&self) {
        let listening: Vec<_> = {
            let listeners = self.listeners.lock();
            listeners.keys().copied().collect()
        };
        let absent: BTreeSet<_> = listening
            .iter()
            .copied()
            .filter(|&address| !listener::host_has_address(address))
            .collect();
        let mut before = self.absent.lock();
        for address in absent.difference(&before) {
            tracing::warn!(%address, "the host does not have this address now; connections are served when the address appears");
        }
        for address in before.difference(&absent).filter(|address| listening.contains(address)) {
            tracing::info!(%address, "the host has this address now");
        }
        *before = absent;
    }

    /// Addresses that we listen on but the host does not have now.
    pub fn absent_addresses(&self) -> Vec<SocketAddr> {
        self.check_addresses();
        self.absent.lock().iter().copied().collect()
    }

    /// The message tracking log.
    pub fn tracker(&self) -> &Tracker {
        &self.shared.tracker
    }

    /// The levels of back pressure. The caller measures the resources.
    pub fn back_pressure(&self) -> &Arc<BackPressure> {
        &self.shared.back_pressure
    }

    /// The recipients that servers know: the answers of their servers.
    pub fn recipients(&self) -> &RecipientLookups {
        &self.shared.recipients
    }

    /// The number of sessions.
    pub fn sessions(&self) -> u64 {
        self.shared.admission.connections()
    }

    /// Answers an inquiry as for a session of this client. Limits are read but not charged.
    pub async fn find_out(
        &self,
        inquiry: Inquiry,
        connector: ConnectorId,
        client: ClientAddress,
    ) -> InquiryAnswer {
        let unanswered = inquiry.without_answer();
        let asker = Asker { connector, client };
        if let Inquiry::MessageRate { limit, payers } = inquiry {
            return InquiryAnswer::MessageRate(inquiries::peek_rate(
                limit,
                payers,
                asker,
                &self.shared,
            ));
        }
        let found = inquiries::perform(inquiry, asker, &self.shared, None);
        let answer = tokio::time::timeout(INQUIRY_WAIT, found).await;
        answer.unwrap_or(unanswered)
    }

    /// The state of this host for a client that connects now. Admits and releases a connection.
    pub fn host_state(&self, local: SocketAddr, client: ClientAddress) -> HostState {
        let shared = &self.shared;
        // Do not use the classifier, which would count a connection.
        let rules = shared.classifier.rules();
        let chosen = match rules.table.classify(local, client) {
            TableMatch::Connector { connector: id, range } => rules
                .connector(id)
                .map(|connector| ConnectorChoice { id, connector: Arc::clone(connector), range }),
            TableMatch::NoBinding | TableMatch::NoConnector => None,
        };
        let admitted = chosen.as_ref().map(|chosen| shared.admit(chosen, client));
        let connector = chosen.map_or(ConnectorId::NONE, |chosen| chosen.id);
        HostState {
            connection: admitted.and_then(Result::err),
            conditions: Conditions {
                pressure: shared.back_pressure.pressure(),
                queue: shared.back_pressure.queue(),
                certificate: shared.handshake(connector).is_some(),
                logon_is_refused: shared.logon_failures.refuses(Instant::now(), client.ip()),
                seed: None,
            },
            storage: Ok(()),
            memory_is_short: shared
                .queue
                .message_memory()
                .share_of(connector)
                .account()
                .is_used_up(),
        }
    }

    /// The use of the limits that apply to another connection of `client`. `range` is the range of
    /// the connector that contains the client.
    pub fn limits_of(
        &self,
        id: ConnectorId,
        limits: &Limits,
        range: Option<&Range>,
        client: ClientAddress,
    ) -> Vec<LimitUse> {
        self.shared.admission.uses(id, limits, range, client.ip())
    }

    /// Stops listening, tells every session, and waits at most `limit` for their end. Remaining
    /// sessions are told to end, and their unfinished messages are dropped. A message that the
    /// queue is storing may be stored: its session has time until the runtime ends.
    pub async fn drain(&self, limit: Duration) {
        let listeners = std::mem::take(&mut *self.listeners.lock());
        for listening in listeners.into_values() {
            match kept::are_kept() {
                true => listening.stop_accepting(),
                false => listening.end(),
            }
        }
        self.stop.send_replace(Stop::Gently);
        if self.ended_within(limit).await {
            return;
        }
        tracing::warn!(sessions = self.sessions(), "sessions did not end in time; closing them");
        self.stop.send_replace(Stop::AtOnce);
        if !self.ended_within(limits::SESSION_CUT_OFF).await {
            tracing::warn!(
                sessions = self.sessions(),
                "closing the connections of remaining sessions"
            );
        }
    }

    /// Do all sessions end within `limit`?
    async fn ended_within(&self, limit: Duration) -> bool {
        let all = u32::try_from(SESSIONS).unwrap_or(u32::MAX);
        tokio::time::timeout(limit, self.shared.sessions.acquire_many(all)).await.is_ok()
    }
}

impl Shared {
    fn handshake(&self, connector: ConnectorId) -> Option<Arc<Handshake>> {
        self.handshakes.load().get(&connector).cloned()
    }
}
