//! Drives one [`Session`] over one TCP connection: bytes, TLS, clock and the message.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use relay_mail::outcome::{Answer, Cause, Outcome};
use relay_mail::path::ForwardPath;
use relay_mail::protocol::Protocol;
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Enhanced;
use relay_message::outbound::OutboundFirewall;
use relay_smtp::client::{
    Capabilities, Credentials, Encryption, Event, MailRefusal, Opening, Session, Transaction,
};
use relay_smtp::limits::ANSWER_OCTETS;
use relay_smtp::limits::CLIENT_QUIT_TIMEOUT;
use relay_smtp::limits::CLIENT_REPLY_OCTETS;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant as TokioInstant, sleep_until, timeout};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::{debug, error, info};

use super::patience::Patience;
use super::reach::{Candidate, Unreachable, candidates};
use super::remotes::{Remotes, Slot};
use super::route::Destination;
use super::security::{Security, TlsMode, server_name};
use super::transport::{Moved, Transport};
use super::{Cut, Settings, credentials, remotes};
use crate::causes::in_full;
use crate::limits;
use crate::queue::MessageReader;
use crate::queue::event::Connected;
use crate::tls_failure;

/// Why nothing more comes from a next hop.
const CLOSED: &str = "the next hop closed it";

/// A connection whose next hop has been greeted.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Transport,
    session: Session,
    address: SocketAddr,
    state: State,
    /// The whole of a message has been sent, of the transaction that is under way or was last.
    has_sent: bool,
    handshake: Handshake,
    /// Something has been read since the last handshake.
    heard: bool,
    /// The connection was lost before anything was read on it, or within TLS.
    lost_unheard: bool,
    /// Becomes true when an attempt under way is to end.
    cut: watch::Receiver<Cut>,
    /// Does the next hop belong to our organization?
    is_internal: bool,
    /// What message tracking is told of it.
    connected: Arc<Connected>,
    /// How long the attempt under way may take.
    patience: Option<Patience>,
    /// Its place among the connections to this address.
    _slot: Option<Slot>,
}

/// What is needed to make a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial<'a> {
    pub(super) protocol: Protocol,
    pub(super) security: &'a Security,
    pub(super) settings: &'a Settings,
    /// Becomes true when an attempt under way is to end.
    pub(super) cut: &'a watch::Receiver<Cut>,
    /// Where connections are counted, and for which message this one is made.
    pub(super) counted: Option<(&'a Arc<Remotes>, QueueId)>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The next hop still owes a reply.
    Busy,
    Ready,
    Closed(Option<Cause>),
}

/// The handshake that the session may ask for.
#[derive(Debug)]
enum Handshake {
    /// Not asked for yet.
    With(Option<Arc<ClientConfig>>, ServerName<'static>),
    Done,
    Failed,
}

impl Connection {
    /// Connects to a destination, wherever it is at the moment.
    ///
    /// # Errors
    /// What keeps it from being used.
    pub(crate) async fn to(
        destination: &Destination,
        settings: &Settings,
        cut: &watch::Receiver<Cut>,
    ) -> Result<Self, Cause> {
        let found = candidates(destination, settings).await;
        let found = match found {
            Ok(found) => found,
            Err(Unreachable::Now(cause) | Unreachable::Ever(cause)) => return Err(cause),
            // Connections that are not counted are never too many.
            Err(Unreachable::Full(_)) => return Err(one_cause(Vec::new())),
        };
        let (protocol, security) = (destination.protocol(), destination.security());
        let dial = Dial { protocol, security, settings, cut, counted: None };
        match Self::open(&found, &dial, &mut Vec::new()).await {
            Ok(connection) => Ok(connection),
            Err(Unreachable::Now(cause) | Unreachable::Ever(cause)) => Err(cause),
            Err(Unreachable::Full(_)) => Err(one_cause(Vec::new())),
        }
    }

    /// Connects to the first address whose server greets us and takes our EHLO (RFC 5321 section
    /// 5.1: the others are tried in order, whatever is wrong with the first).
    ///
    /// Addresses that could not be used are added to `failed`, whether or not another could, and
    /// the one that is being tried where this future is dropped.
    ///
    /// # Errors
    /// What kept the next hop from being used; its messages are deferred.
    pub(super) async fn open(
        candidates: &[Candidate],
        dial: &Dial<'_>,
        failed: &mut Vec<SocketAddr>,
    ) -> Result<Self, Unreachable> {
        let Dial { protocol, security, settings, cut, counted } = *dial;
        let credentials = read_credentials(security).await.map_err(Unreachable::Now)?;
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
                let opening = Opening {
                    protocol,
                    hello_name: settings.hello_name.clone(),
                    encryption,
                    credentials: credentials.clone(),
                    credentials_in_clear: auth.is_some_and(|auth| auth.in_clear),
                    plainly: candidate.plainly,
                };
                Self::open_one(candidate, opening, security, settings, cut)
            };
            let opened = match open(security.encryption()).await {
                // RFC 7435: where plain text would have done, TLS that fails is no reason to keep
                // the mail.
                Err((cause, true)) if security.tls == TlsMode::Opportunistic => {
                    let address = candidate.address;
                    let answer = Answer { hop: None, cause };
                    info!(hop = %candidate.server, %address, %answer, "no TLS with this next hop; it gets plain text");
                    open(Encryption::Never).await
                }
                opened => opened,
            };
            match opened {
                Ok(connection) => {
                    failed.pop();
                    return Ok(Self { _slot: slot.map(Slot::serves), ..connection });
                }
                Err((cause, _)) => causes.push((candidate.address, cause)),
            }
        }
        Err(full.map_or_else(|| Unreachable::Now(one_cause(causes)), Unreachable::Full))
    }

    /// An error goes with whether it was TLS that failed.
    async fn open_one(
        candidate: &Candidate,
        opening: Opening,
        security: &Security,
        settings: &Settings,
        cut: &watch::Receiver<Cut>,
    ) -> Result<Self, (Cause, bool)> {
        let address = candidate.address;
        let connected = timeout(settings.connect_timeout, TcpStream::connect(address)).await;
        let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| {
            let text = format!("cannot connect to {address}: {error}");
            // X.4.1 of RFC 3463: no answer from host.
            (Cause::Local { status: Enhanced(4, 4, 1), text }, false)
        })?;
        // Commands are small and each waits for its reply.
        let _ = stream.set_nodelay(true);
        let hop = candidate.server.to_string();
        let session = Session::new(&hop, opening, settings.timeouts, Instant::now());
        let config = settings.handshakes.config(security).cloned();
        let mut connection = Self {
            transport: Transport::Plain(stream),
            session,
            address,
            state: State::Busy,
            has_sent: false,
            handshake: Handshake::With(config, server_name(&candidate.server)),
            heard: false,
            lost_unheard: false,
            cut: cut.clone(),
            is_internal: security.send_organization_headers,
            connected: Arc::new(Connected { address, tls: None }),
            patience: None,
            _slot: None,
        };
        if connection.ready().await {
            let tls = connection.transport.tls();
            debug!(hop, %address, tls = tls.as_deref().unwrap_or("none"), "connected");
            connection.connected = Arc::new(Connected { address, tls });
            return Ok(connection);
        }
        let failed = match connection.handshake {
            Handshake::With(..) => connection.session.balked_at_start_tls(),
            Handshake::Failed => true,
            // In TLS 1.3 our side is done before the server has looked at what we sent.
            Handshake::Done => connection.lost_unheard,
        };
        Err((connection.cause(), failed))
    }

    /// The other end, and the encryption on the way there.
    pub(super) fn connected(&self) -> Arc<Connected> {
        Arc::clone(&self.connected)
    }

    /// Waits until a transaction may begin. False when the connection is of no more use.
    pub(super) async fn ready(&mut self) -> bool {
        if self.state == State::Ready {
            self.notice_close();
        }
        while self.state == State::Busy {
            self.event().await;
        }
        self.state == State::Ready
    }

    /// What the server offers, once it is [`Connection::ready`].
    pub(super) fn capabilities(&self) -> Capabilities {
        self.session.capabilities()
    }

    /// Where the next hop is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why the last transaction ended, where the next hop went away, fell silent or spoke nonsense
    /// before it had the whole message. Then it has taken nothing, and another may.
    pub(super) fn broke_off(&self) -> Option<&Cause> {
        let State::Closed(Some(cause)) = &self.state else { return None };
        let is_break = match cause {
            Cause::Reply { reply, .. } => reply.code == 421,
            // X.4.n and X.5.n of RFC 3463: the network, and the protocol.
            Cause::Local { status, .. } => matches!(status.1, 4 | 5),
        };
        // To whom knows no BDAT, what came behind was no message.
        let has_nothing = !self.has_sent || self.session.was_misled();
        (is_break && has_nothing).then_some(cause)
    }

    /// May the same next hop take the message if it is spoken to plainly?
    pub(super) fn was_misled(&self) -> bool {
        self.session.was_misled()
    }

    /// After how many recipients of the last transaction it broke off, if it did at a RCPT.
    pub(super) fn broke_off_at_recipient(&self) -> Option<usize> {
        self.session.broke_off_at_recipient().filter(|_| !self.session.was_misled())
    }

    /// How the server refused MAIL of the last transaction, if it did.
    pub(super) fn mail_refusal(&self) -> Option<MailRefusal> {
        self.session.mail_refusal()
    }

    /// Sends one message; one outcome for each recipient. Only when [`Connection::ready`].
    /// Recipients without an outcome, if the session should ever name none, stay pending.
    pub(super) async fn deliver(
        &mut self,
        transaction: Transaction,
        mut message: MessageReader,
        patience: &Patience,
    ) -> Vec<Outcome> {
        self.state = State::Busy;
        self.has_sent = false;
        self.patience = Some(patience.clone());
        self.session.begin(transaction, Instant::now());
        loop {
            match self.event().await {
                Event::SendMessage => self.send(&mut message).await,
                Event::Done(outcomes) => {
                    while self.session.is_closed() && !matches!(self.state, State::Closed(_)) {
                        self.event().await;
                    }
                    self.patience = None;
                    return outcomes;
                }
                Event::Ready | Event::StartTls => {}
                // Nothing is left to wait for once the session is closed.
                Event::Closed(_) => return Vec::new(),
            }
        }
    }

    /// Asks whether the server would take mail for this recipient. `None` when the connection was
    /// not [`Connection::ready`].
    pub(crate) async fn ask(&mut self, recipient: ForwardPath) -> Option<Outcome> {
        self.state = State::Busy;
        self.session.ask(recipient, Instant::now());
        loop {
            match self.event().await {
                Event::Done(outcomes) => return outcomes.into_iter().next(),
                Event::Ready | Event::SendMessage | Event::StartTls => {}
                Event::Closed(_) => return None,
            }
        }
    }

    /// Says QUIT and waits a little for the answer.
    pub(crate) async fn quit(mut self) {
        if self.ready().await {
            self.state = State::Busy;
            self.session.quit(Instant::now());
            while self.state == State::Busy {
                self.event().await;
            }
            let _ = timeout(CLIENT_QUIT_TIMEOUT, self.transport.close()).await;
        }
    }

    /// Why the connection has closed.
    pub(super) fn cause(self) -> Cause {
        match self.state {
            State::Closed(Some(cause)) => cause,
            _ => Cause::Local {
                status: Enhanced(4, 4, 2),
                text: "the connection was closed".to_owned(),
            },
        }
    }

    /// Sends the message. Its last piece and what ends it are written together.
    async fn send(&mut self, message: &mut MessageReader) {
        let mut firewall = OutboundFirewall::new(self.is_internal);
        loop {
            match message.next().await {
                Ok(Some(piece)) => {
                    for part in firewall.pass(piece) {
                        self.send_part(&part).await;
                    }
                }
                Ok(None) => {
                    self.send_part(&firewall.finish()).await;
                    self.has_sent = true;
                    return self.session.end_message(Instant::now());
                }
                Err(error) => {
                    error!(%error, "cannot read a queued message");
                    return self.session.abort_message(&error.to_string());
                }
            }
            if self.session.has_event() {
                // The next hop has refused the rest.
                return;
            }
        }
    }

    async fn send_part(&mut self, part: &[u8]) {
        for part in part.chunks(limits::MESSAGE_READ) {
            self.flush().await;
            self.session.send_message(part, Instant::now());
        }
    }

    /// The session's next event, after whatever input and output it takes.
    async fn event(&mut self) -> Event {
        loop {
            self.flush().await;
            if let Some(event) = self.session.poll_event() {
                match &event {
                    Event::Ready => self.state = State::Ready,
                    Event::Closed(cause) => self.state = State::Closed(cause.clone()),
                    Event::StartTls => self.start_tls().await,
                    Event::SendMessage | Event::Done(_) => {}
                }
                return event;
            }
            self.step(&mut &b""[..]).await;
        }
    }

    /// Does the handshake that the session has asked for.
    async fn start_tls(&mut self) {
        let handshake = std::mem::replace(&mut self.handshake, Handshake::Failed);
        let Handshake::With(Some(config), name) = handshake else {
            return self.session.handle_failed_handshake("nothing was loaded to do it with");
        };
        let deadline = self.session.deadline().map(TokioInstant::from_std);
        tokio::select! {
            biased;
            done = self.transport.start_tls(config, name) => match done {
                Ok(()) => {
                    self.handshake = Handshake::Done;
                    self.heard = false;
                    self.session.handle_encrypted(Instant::now());
                }
                Err(error) => self.session.handle_failed_handshake(&tls_failure::reason(&error)),
            },
            () = until(deadline) => self.session.handle_timeout(Instant::now()),
            () = reached(&mut self.cut, Cut::Unsent) => self.session.cut_off(),
        }
    }

    /// Writes what the session wants to say, and reads meanwhile: a next hop that stops reading
    /// may be telling us why.
    async fn flush(&mut self) {
        while let Some(output) = self.session.poll_output() {
            let mut rest = &output[..];
            while !rest.is_empty() && !self.session.is_closed() {
                self.step(&mut rest).await;
            }
            if rest.is_empty() {
                self.session.handle_written();
            }
        }
    }

    /// Reads or writes something, or lets the deadline pass, or the attempt be cut off.
    async fn step(&mut self, output: &mut &[u8]) {
        let Self { transport, session, cut, patience, heard, lost_unheard, .. } = self;
        let is_sent = session.awaits_end_of_data();
        let ends_with = if is_sent { Cut::All } else { Cut::Unsent };
        let deadline = session.deadline().map(TokioInstant::from_std);
        let mut input = [0; limits::CLIENT_READ_OCTETS];
        tokio::select! {
            biased;
            moved = transport.exchange(&mut input, output) => match moved {
                Ok(Moved::Read(0)) => {
                    *lost_unheard |= !*heard;
                    session.handle_closed(CLOSED);
                }
                Ok(Moved::Read(length)) => {
                    *heard = true;
                    session.handle_bytes(&input[..length], Instant::now());
                }
                Ok(Moved::Wrote(length)) => *output = &output[length..],
                Err(error) => {
                    *lost_unheard |= !*heard;
                    session.handle_closed(&why_lost(&error));
                }
            },
            () = until(deadline) => session.handle_timeout(Instant::now()),
            () = reached(cut, ends_with) => session.cut_off(),
            () = run_out(patience), if !is_sent => {
                session.handle_closed("the attempt has taken as long as it may");
            }
        }
        if self.session.is_answered() {
            self.read_the_rest();
        }
    }

    /// Reads what has come behind the result of a message. More than one reply's worth is not
    /// looked at.
    fn read_the_rest(&mut self) {
        let mut input = [0; limits::CLIENT_READ_OCTETS];
        let mut octets = 0;
        while self.session.is_answered() {
            match self.transport.try_read(&mut input) {
                Some(Ok(length)) if length > 0 && octets < CLIENT_REPLY_OCTETS => {
                    octets += length;
                    self.session.handle_bytes(&input[..length], Instant::now());
                }
                // That it has closed is found when the connection is used again.
                _ => self.session.settle(),
            }
        }
    }

    /// A next hop may have closed a connection that nothing was sent on for a while.
    fn notice_close(&mut self) {
        let mut input = [0; limits::CLIENT_READ_OCTETS];
        match self.transport.try_read(&mut input) {
            None => return,
            Some(Ok(0)) => self.session.handle_closed(CLOSED),
            Some(Ok(length)) => {
                self.session.handle_bytes(&input[..length], Instant::now());
                // Part of a reply would leave us waiting for the rest without a deadline.
                self.session.handle_closed("the next hop spoke out of turn");
            }
            Some(Err(error)) => self.session.handle_closed(&why_lost(&error)),
        }
        // The session is closed now, and says so as its next event.
        self.state = State::Busy;
    }
}

/// Why nothing more comes. Most programs that end within TLS do not say so before (close_notify).
fn why_lost(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
        _ => tls_failure::reason(error),
    }
}

/// The credentials of a route that has some.
async fn read_credentials(security: &Security) -> Result<Option<Credentials>, Cause> {
    let Some(auth) = &security.auth else { return Ok(None) };
    let path = auth.credentials.clone();
    let failed = |text| Cause::Local { status: Enhanced(4, 7, 0), text };
    match tokio::task::spawn_blocking(move || credentials::read(&path)).await {
        Ok(Ok(credentials)) => Ok(Some(credentials)),
        Ok(Err(error)) => Err(failed(in_full(&error))),
        Err(error) => Err(failed(error.to_string())),
    }
}

async fn until(deadline: Option<TokioInstant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Waits until the attempt has taken as long as it may.
async fn run_out(patience: &mut Option<Patience>) {
    match patience {
        Some(patience) => patience.ends().await,
        None => std::future::pending().await,
    }
}

/// Waits until this much is cut off, however long that is.
async fn reached(cut: &mut watch::Receiver<Cut>, least: Cut) {
    if cut.wait_for(|&cut| cut >= least).await.is_err() {
        std::future::pending().await
    }
}

/// Waits until it becomes true. Forever, once nobody is left to make it so.
pub(super) async fn told(what: &mut watch::Receiver<bool>) {
    if what.wait_for(|&is_so| is_so).await.is_err() {
        std::future::pending().await
    }
}

/// What is told when no address could be used. A lone one speaks for itself.
fn one_cause(mut causes: Vec<(SocketAddr, Cause)>) -> Cause {
    if causes.len() == 1
        && let Some((_, cause)) = causes.pop()
    {
        return cause;
    }
    let status = common_status(&causes);
    let sentence = |(address, cause)| format!("{address}: {}", Answer { hop: None, cause });
    let sentences: Vec<_> = causes.into_iter().map(sentence).collect();
    let mut text = format!("no address of the next hop can be used: {}", sentences.join("; "));
    // Kept for every recipient of every message that waits for the next hop.
    text.truncate(text.floor_char_boundary(ANSWER_OCTETS));
    Cause::Local { status, text }
}

/// What stands for several causes: a trouble with TLS or AUTH (X.7.n), which is ours to mend, and
/// else what all of them say.
fn common_status(causes: &[(SocketAddr, Cause)]) -> Enhanced {
    let statuses = || {
        causes.iter().filter_map(|(_, cause)| match cause {
            Cause::Local { status, .. } => Some(*status),
            Cause::Reply { .. } => None,
        })
    };
    // X.4.1 of RFC 3463: no answer from host.
    let unreachable = Enhanced(4, 4, 1);
    let security = statuses().find(|Enhanced(_, subject, _)| *subject == 7);
    let first = security.or_else(|| statuses().next()).unwrap_or(unreachable);
    let is_common = statuses().count() == causes.len() && statuses().all(|it| it == first);
    if security.is_some() || is_common { first } else { unreachable }
}
