//! Performs what a session asks for: the socket, the clock and the queue on one side, the session
//! on the other. It decides nothing.

use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout, timeout_at};

use crate::connector::ConnectorId;
use crate::limits::CLOSE_WAIT;
use crate::queue::{Incoming, StoreError};
use crate::server::record::Record;
use crate::server::tls::Handshake;
use crate::server::transport::Transport;
use crate::server::{Shared, inquiries};
use crate::smtp::session::{Action, Conditions, MessageBegun, Session};
use crate::users::password;

/// Drives one session to its end.
pub(super) async fn drive(
    session: Session,
    stream: TcpStream,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    mut record: Record,
) {
    let transport = Transport::Plain(stream);
    let connector = record.connector_id();
    let mut driver =
        Driver { session, transport, shared, connector, handshake: None, incoming: None };
    loop {
        while let Some(action) = driver.session.poll_action() {
            driver.perform(action).await;
        }
        record.count(driver.session.summary());
        if driver.session.is_closed() {
            break;
        }
        driver.wait(&mut stop).await;
    }
    record.write(driver.session.peer(), driver.session.summary());
}

struct Driver {
    session: Session,
    transport: Transport,
    shared: Arc<Shared>,
    connector: ConnectorId,
    /// What the session was told of as its certificate, so that a handshake which it has promised
    /// takes place whatever a reload does meanwhile.
    handshake: Option<Arc<Handshake>>,
    /// The message that the session has begun.
    incoming: Option<Incoming>,
}

impl Driver {
    /// Waits for the first of: octets, the deadline, the end of the daemon.
    async fn wait(&mut self, stop: &mut watch::Receiver<bool>) {
        let Self { session, transport, shared, connector, handshake, .. } = self;
        let deadline = session.deadline();
        let wants_bytes = session.wants_bytes();
        let is_told = session.is_shutting_down();
        let read = transport.read(|octets| {
            if session.wants_conditions() {
                *handshake = shared.handshake(*connector);
                let queue = shared.queue.store().accepts();
                let certificate = handshake.is_some();
                let has_nonces = session.peer().connector.auth_mechanism.basic_auth.is_some();
                let seed = has_nonces.then(|| password::random().ok()).flatten();
                session.handle_conditions(Conditions { queue, certificate, seed });
            }
            session.handle_bytes(Instant::now(), octets);
        });
        tokio::select! {
            read = read, if wants_bytes => {
                if !matches!(read, Ok(octets) if octets > 0) {
                    self.session.handle_disconnect();
                }
            }
            () = sleep_until(deadline.into()) => self.session.handle_timeout(Instant::now()),
            Ok(_) = stop.wait_for(|stops| *stops), if !is_told => {
                self.session.handle_shutdown();
            }
        }
    }

    async fn perform(&mut self, action: Action) {
        let deadline = self.session.deadline();
        match action {
            Action::AbandonMessage => self.incoming = None,
            Action::Ask(inquiry) => {
                let message = self.incoming.as_ref();
                let found = inquiries::perform(inquiry, &self.shared, message);
                match timeout_at(deadline.into(), found).await {
                    Ok(finding) => self.session.handle_finding(Instant::now(), finding),
                    Err(_) => self.session.handle_timeout(Instant::now()),
                }
            }
            Action::BeginMessage(envelope) => {
                let begun = self.shared.queue.begin(envelope).map(|incoming| {
                    let id = self.incoming.insert(incoming).id();
                    MessageBegun { id, at: SystemTime::now() }
                });
                self.session.handle_message_begun(Instant::now(), begun);
            }
            Action::Close => self.close().await,
            Action::CommitMessage => {
                // Without a message nothing can have been stored.
                let Some(incoming) = self.incoming.take() else {
                    let stored = Err(StoreError::Closed);
                    return self.session.handle_stored(Instant::now(), stored);
                };
                match timeout_at(deadline.into(), incoming.commit()).await {
                    Ok(stored) => self.session.handle_stored(Instant::now(), stored),
                    Err(_) => self.session.handle_timeout(Instant::now()),
                }
            }
            Action::PutInFront(fields) => {
                if let Some(incoming) = &mut self.incoming {
                    incoming.put_in_front(fields);
                }
            }
            Action::Send(octets) => {
                // A client that does not read its replies is as silent as one that sends nothing.
                match timeout_at(deadline.into(), self.transport.write(&octets)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => self.session.handle_disconnect(),
                }
            }
            Action::StartTls => self.start_tls(deadline).await,
            Action::Write(octets) => {
                if let Some(incoming) = &mut self.incoming
                    && let Err(error) = incoming.write(octets).await
                {
                    self.incoming = None;
                    self.session.handle_write_failed(&error);
                }
            }
        }
    }

    async fn start_tls(&mut self, deadline: Instant) {
        let handshake = async {
            // Where TLS begins with the first octet nothing has been promised yet.
            let handshake = self.handshake.take().or_else(|| self.shared.handshake(self.connector));
            let handshake = handshake.ok_or(io::ErrorKind::Unsupported)?;
            self.transport.start_tls(&handshake).await
        };
        match timeout_at(deadline.into(), handshake).await {
            Ok(Ok(tls)) => self.session.handle_tls(Instant::now(), tls),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                self.session.handle_disconnect();
            }
            Err(_) => self.session.handle_timeout(Instant::now()),
        }
    }

    /// Ends our side, then lets the client end its own for a moment: octets that we have not read
    /// would make the system reset the connection, and the last reply be lost.
    async fn close(&mut self) {
        let linger = async {
            self.transport.close().await?;
            while self.transport.read(|_| {}).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = timeout(CLOSE_WAIT, linger).await;
    }
}
