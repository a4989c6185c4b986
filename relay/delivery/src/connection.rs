//! What does a [`ClientSession`] read, write and wait for on its TCP connection?
//!
//! [`opening`] opens the connection. [`causes`] describes failures.

mod causes;
mod opening;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::Cut;
use crate::patience::Patience;
use crate::remotes::Slot;
use crate::transport::{ClientStream, Moved};
use relay_mail::outcome::{Cause, Outcome};
use relay_mail::path::ForwardPath;
use relay_mail::reply::Enhanced;
use relay_message::outbound::Audience;
use relay_message::outbound::OutboundFirewall;
use relay_queue::MessageReader;
use relay_queue::event::NextHopConnection;
use relay_queue::limits::MESSAGE_READ;
use relay_smtp::client::{Capabilities, ClientEvent, ClientSession, MailRefusal, Transaction};
use relay_smtp::limits::CLIENT_QUIT_TIMEOUT;
use relay_smtp::limits::CLIENT_REPLY_OCTETS;
use relay_tls::tls_failure;
use tokio::sync::watch;
use tokio::time::{Instant as TokioInstant, sleep_until, timeout};
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tracing::error;

use self::causes::{CLOSED, why_lost};
pub(super) use self::opening::Dial;
use crate::limits;

/// A connection whose next hop has been greeted.
#[derive(Debug)]
pub struct HopConnection {
    transport: ClientStream,
    session: ClientSession,
    address: SocketAddr,
    state: State,
    /// All of the message of the current or last transaction was sent.
    has_sent: bool,
    handshake: Handshake,
    /// Something has been read since the last handshake.
    heard: bool,
    /// The connection was lost before anything was received on it, or within TLS.
    lost_unheard: bool,
    /// Becomes true when a running attempt must end.
    cut: watch::Receiver<Cut>,
    audience: Audience,
    /// The facts for message tracking.
    connected: Arc<NextHopConnection>,
    /// The time limit of the running attempt.
    patience: Option<Patience>,
    /// Its slot among the connections to this address.
    _slot: Option<Slot>,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The next hop still owes a reply.
    Busy,
    Ready,
    Closed(Option<Cause>),
}

/// The handshake for STARTTLS.
#[derive(Debug)]
enum Handshake {
    /// Not requested yet.
    With(Option<Arc<ClientConfig>>, ServerName<'static>),
    Done,
    Failed,
}

impl HopConnection {
    /// The other end, and the encryption on the way there.
    pub(super) fn connected(&self) -> Arc<NextHopConnection> {
        Arc::clone(&self.connected)
    }

    /// Waits until a transaction may begin. False if the connection cannot be used any more.
    pub(super) async fn ready(&mut self) -> bool {
        if self.state == State::Ready {
            self.notice_close();
        }
        while self.state == State::Busy {
            self.event().await;
        }
        self.state == State::Ready
    }

    /// The extensions of the server, once the connection is [`HopConnection::ready`].
    pub(super) fn capabilities(&self) -> Capabilities {
        self.session.capabilities()
    }

    /// Where the next hop is.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Why the last transaction ended, if the next hop disconnected, fell silent or violated the
    /// protocol before it had the whole message. Then it has not accepted the message, and another
    /// server may.
    pub(super) fn disconnected_early(&self) -> Option<&Cause> {
        let State::Closed(Some(cause)) = &self.state else { return None };
        let is_break = match cause {
            Cause::Reply { reply, .. } => reply.code == 421,
            // X.4.n and X.5.n of RFC 3463: the network, and the protocol.
            Cause::Local { status, .. } => matches!(status.1, 4 | 5),
        };
        // A server without BDAT did not read the chunks as a message.
        let has_nothing = !self.has_sent || self.session.was_misled();
        (is_break && has_nothing).then_some(cause)
    }

    /// May the same next hop accept the message if no extension is used?
    pub(super) fn broke_on_pipelining(&self) -> bool {
        self.session.was_misled()
    }

    /// After how many recipients of the last transaction it disconnected, if it did at a RCPT.
    pub(super) fn broke_off_at_recipient(&self) -> Option<usize> {
        self.session.broke_off_at_recipient().filter(|_| !self.session.was_misled())
    }

    /// How the server refused MAIL of the last transaction, if it did.
    pub(super) fn mail_refusal(&self) -> Option<MailRefusal> {
        self.session.mail_refusal()
    }

    /// Sends one message; returns one outcome for each recipient. Call it only when
    /// [`HopConnection::ready`]. Recipients without an outcome stay pending.
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
                ClientEvent::SendMessage => self.send(&mut message).await,
                ClientEvent::Done(outcomes) => {
                    while self.session.is_closed() && !matches!(self.state, State::Closed(_)) {
                        self.event().await;
                    }
                    self.patience = None;
                    return outcomes;
                }
                ClientEvent::Ready | ClientEvent::StartTls => {}
                // A closed session has no further events.
                ClientEvent::Closed(_) => return Vec::new(),
            }
        }
    }

    /// Asks whether the server would accept mail for this recipient. `None` if the connection was
    /// not [`HopConnection::ready`].
    pub async fn verify_recipient(&mut self, recipient: ForwardPath) -> Option<Outcome> {
        self.state = State::Busy;
        self.session.ask(recipient, Instant::now());
        loop {
            match self.event().await {
                ClientEvent::Done(outcomes) => return outcomes.into_iter().next(),
                ClientEvent::Ready | ClientEvent::SendMessage | ClientEvent::StartTls => {}
                ClientEvent::Closed(_) => return None,
            }
        }
    }

    /// Says QUIT and waits a little for the answer.
    pub async fn quit(mut self) {
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

    /// Sends the message. Its last piece and its end are written together.
    async fn send(&mut self, message: &mut MessageReader) {
        let mut firewall = OutboundFirewall::new(self.audience);
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
        for part in part.chunks(MESSAGE_READ) {
            self.flush().await;
            self.session.send_message(part, Instant::now());
        }
    }

    /// The session's next event, after the input and output that it needs.
    async fn event(&mut self) -> ClientEvent {
        loop {
            self.flush().await;
            if let Some(event) = self.session.poll_event() {
                match &event {
                    ClientEvent::Ready => self.state = State::Ready,
                    ClientEvent::Closed(cause) => self.state = State::Closed(cause.clone()),
                    ClientEvent::StartTls => self.start_tls().await,
                    ClientEvent::SendMessage | ClientEvent::Done(_) => {}
                }
                return event;
            }
            self.step(&mut &b""[..]).await;
        }
    }

    /// Performs the handshake that the session has requested.
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

    /// Writes the output of the session, and reads meanwhile: a next hop that stops reading may be
    /// sending the reason.
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

    /// Reads or writes, or returns when the deadline passes or the attempt is cut off.
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
                session.handle_closed("the attempt has reached its time limit");
            }
        }
        if self.session.is_answered() {
            self.read_the_rest();
        }
    }

    /// Reads the octets after the result of a message. More than the size of one reply is ignored.
    fn read_the_rest(&mut self) {
        let mut input = [0; limits::CLIENT_READ_OCTETS];
        let mut octets = 0;
        while self.session.is_answered() {
            match self.transport.try_read(&mut input) {
                Some(Ok(length)) if length > 0 && octets < CLIENT_REPLY_OCTETS => {
                    octets += length;
                    self.session.handle_bytes(&input[..length], Instant::now());
                }
                // The next use of the connection notices that it has closed.
                _ => self.session.accept_result(),
            }
        }
    }

    /// A next hop may have closed a connection that was idle for a while.
    fn notice_close(&mut self) {
        let mut input = [0; limits::CLIENT_READ_OCTETS];
        match self.transport.try_read(&mut input) {
            None => return,
            Some(Ok(0)) => self.session.handle_closed(CLOSED),
            Some(Ok(length)) => {
                self.session.handle_bytes(&input[..length], Instant::now());
                // After a part of a reply we would wait for the rest without a deadline.
                self.session.handle_closed("the next hop spoke out of turn");
            }
            Some(Err(error)) => self.session.handle_closed(&why_lost(&error)),
        }
        // The session is closed now, and says so as its next event.
        self.state = State::Busy;
    }
}

async fn until(deadline: Option<TokioInstant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Waits until the attempt has reached its time limit.
async fn run_out(patience: &mut Option<Patience>) {
    match patience {
        Some(patience) => patience.wait_for_deadline().await,
        None => std::future::pending().await,
    }
}

/// Waits until this much is cut off, however long that is.
async fn reached(cut: &mut watch::Receiver<Cut>, least: Cut) {
    if cut.wait_for(|&cut| cut >= least).await.is_err() {
        std::future::pending().await
    }
}

/// Waits until the value becomes true; forever if its sender is gone.
pub(super) async fn until_true(what: &mut watch::Receiver<bool>) {
    if what.wait_for(|&is_so| is_so).await.is_err() {
        std::future::pending().await
    }
}
