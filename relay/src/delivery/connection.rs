//! Drives one [`Session`] over one TCP connection: bytes, clock and the message.

use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant as TokioInstant, sleep_until, timeout};

use super::Settings;
use crate::limits;
use crate::message::outbound::OutboundFirewall;
use crate::queue::{Answer, Cause, MessageReader, Outcome};
use crate::smtp::client::{Event, Session, Transaction};
use crate::smtp::path::ForwardPath;
use crate::smtp::reply::Enhanced;

/// A connection whose next hop has been greeted.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    session: Session,
    state: State,
    /// Becomes true when an attempt under way is to end.
    cut: watch::Receiver<bool>,
    /// Does the next hop belong to our organization?
    is_internal: bool,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// The next hop still owes a reply.
    Busy,
    Ready,
    Closed(Option<Cause>),
}

impl Connection {
    /// Connects to the first address whose server greets us and takes our EHLO (RFC 5321 section
    /// 5.1: the others are tried in order, whatever is wrong with the first).
    ///
    /// # Errors
    /// What kept the next hop from being used; its messages are deferred.
    pub(crate) async fn open(
        hop: &str,
        addresses: &[SocketAddr],
        settings: &Settings,
        cut: &watch::Receiver<bool>,
    ) -> Result<Self, Cause> {
        let mut causes = Vec::new();
        for &address in addresses {
            match Self::open_one(hop, address, settings, cut).await {
                Ok(connection) => return Ok(connection),
                Err(cause) => causes.push((address, cause)),
            }
        }
        Err(one_cause(causes))
    }

    async fn open_one(
        hop: &str,
        address: SocketAddr,
        settings: &Settings,
        cut: &watch::Receiver<bool>,
    ) -> Result<Self, Cause> {
        let connected = timeout(settings.connect_timeout, TcpStream::connect(address)).await;
        let stream = connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| Cause::Local {
            // X.4.1 of RFC 3463: no answer from host.
            status: Enhanced(4, 4, 1),
            text: format!("cannot connect to {address}: {error}"),
        })?;
        // Commands are small and each waits for its reply.
        let _ = stream.set_nodelay(true);
        let now = Instant::now();
        let mut session = Session::new(hop, &settings.hello_name, settings.timeouts, now);
        if settings.lmtp {
            session = session.speaking_lmtp();
        }
        let mut connection = Self {
            stream,
            session,
            state: State::Busy,
            cut: cut.clone(),
            is_internal: settings.send_organization_headers,
        };
        match connection.ready().await {
            true => Ok(connection),
            false => Err(connection.cause()),
        }
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

    /// Sends one message; one outcome for each recipient. Only when [`Connection::ready`].
    /// Recipients without an outcome, if the session should ever name none, stay pending.
    pub(super) async fn deliver(
        &mut self,
        transaction: Transaction,
        mut message: MessageReader,
    ) -> Vec<Outcome> {
        self.state = State::Busy;
        self.session.begin(transaction, Instant::now());
        loop {
            match self.event().await {
                Event::SendMessage => self.send(&mut message).await,
                // Nothing is left to wait for once the session is closed.
                Event::Done(outcomes) => return outcomes,
                Event::Ready => {}
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
                Event::Ready | Event::SendMessage => {}
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
                    return self.session.end_message(Instant::now());
                }
                Err(error) => return self.session.abort_message(&error.to_string()),
            }
            if self.session.has_event() {
                // The next hop has refused the rest.
                return;
            }
        }
    }

    async fn send_part(&mut self, part: &[u8]) {
        for part in part.chunks(limits::MESSAGE_READ) {
            self.session.send_message(part, Instant::now());
            self.flush().await;
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
                    Event::SendMessage | Event::Done(_) => {}
                }
                return event;
            }
            self.step(&mut &b""[..]).await;
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
        }
    }

    /// Reads or writes something, or lets the deadline pass, or the attempt be cut off.
    async fn step(&mut self, output: &mut &[u8]) {
        let Self { stream, session, cut, .. } = self;
        let may_be_cut_off = !session.awaits_end_of_data();
        let deadline = session.deadline().map(TokioInstant::from_std);
        let (mut reader, mut writer) = stream.split();
        let mut input = [0; limits::CLIENT_READ_OCTETS];
        tokio::select! {
            biased;
            read = reader.read(&mut input) => match read {
                Ok(0) => session.handle_closed("the next hop closed it"),
                Ok(length) => session.handle_bytes(&input[..length], Instant::now()),
                Err(error) => session.handle_closed(&error.to_string()),
            },
            written = writer.write(output), if !output.is_empty() => match written {
                Ok(length) => *output = &output[length..],
                Err(error) => session.handle_closed(&error.to_string()),
            },
            () = until(deadline) => session.handle_timeout(Instant::now()),
            () = cut_off(cut), if may_be_cut_off => session.cut_off(),
        }
    }

    /// A next hop may have closed a connection that nothing was sent on for a while.
    fn notice_close(&mut self) {
        let mut input = [0; limits::CLIENT_READ_OCTETS];
        match self.stream.try_read(&mut input) {
            Ok(0) => self.session.handle_closed("the next hop closed it"),
            Ok(length) => {
                self.session.handle_bytes(&input[..length], Instant::now());
                // Part of a reply would leave us waiting for the rest without a deadline.
                self.session.handle_closed("the next hop spoke out of turn");
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(error) => self.session.handle_closed(&error.to_string()),
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

/// Waits until attempts under way are to end. Never, once nobody is left to say so.
pub(super) async fn cut_off(cut: &mut watch::Receiver<bool>) {
    if cut.wait_for(|&cut| cut).await.is_err() {
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
    let sentence = |(address, cause)| format!("{address}: {}", Answer { hop: None, cause });
    let sentences: Vec<_> = causes.into_iter().map(sentence).collect();
    let mut text = format!("no address of the next hop can be used: {}", sentences.join("; "));
    // Kept for every recipient of every message that waits for the next hop.
    text.truncate(text.floor_char_boundary(limits::ANSWER_OCTETS));
    Cause::Local { status: Enhanced(4, 4, 1), text }
}
