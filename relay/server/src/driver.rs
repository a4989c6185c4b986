//! Performs the actions of a session: the socket, the clock and the queue are on one side, the
//! session on the other. The driver decides nothing.

use std::io;
use std::mem;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use crate::admission::ConnectionPermit;
use crate::limits::{CLOSE_WAIT, TLS_SESSION_OCTETS};
use crate::record::{Keeping, Record};
use crate::tls::{Handshake, handshake_failure};
use crate::transport::ServerStream;
use crate::{Shared, Stop, inquiries};
use bytes::Bytes;
use relay_connector::Connection;
use relay_mail::store_error::StoreError;
use relay_policy::{self, Peer};
use relay_queue::Incoming;
use relay_queue::memory::MemoryAccount;
use relay_session::{Action, Conditions, MessageBegun, Session};
use relay_tracking::Happening;
use relay_tracking::event::Confirmation;
use relay_users::password;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout, timeout_at};

/// Drives one session to its end, and keeps its admission until then.
///
/// Returns a future instead of being an `async fn`: the compiler would store the arguments twice,
/// and every idle connection would need more memory.
pub(super) fn drive(
    session: Session,
    stream: TcpStream,
    shared: Arc<Shared>,
    stop: watch::Receiver<Stop>,
    record: Record,
    place: ConnectionPermit,
    permit: impl Send,
) -> impl Future<Output = ()> + Send {
    let mut driver = Driver {
        session,
        transport: ServerStream::Plain(stream),
        memory: shared.queue.message_memory().share_of(record.connector_id()).account(),
        handshake: None,
        incoming: None,
        unsent: Bytes::new(),
        shared,
        stop,
        record,
        place,
    };
    async move {
        driver.run().await;
        drop(permit);
    }
}

struct Driver {
    session: Session,
    transport: ServerStream,
    shared: Arc<Shared>,
    /// The certificate that the session knows, so that a promised handshake succeeds even after a
    /// reload.
    handshake: Option<Arc<Handshake>>,
    /// The message that is being received.
    incoming: Option<Incoming>,
    /// Replies that wait for the replies right after them: RFC 2920 section 3.2 recommends one send
    /// for the replies to a group of commands, and DATA begins a message between them.
    unsent: Bytes,
    /// Octets of the client that the session keeps.
    memory: MemoryAccount,
    /// Tells when the daemon stops.
    stop: watch::Receiver<Stop>,
    record: Record,
    /// Counts of the connection.
    place: ConnectionPermit,
}

impl Driver {
    async fn run(&mut self) {
        self.record.write_connected(self.session.connection());
        loop {
            while let Some(action) = self.session.poll_action() {
                self.record.write_protocol(&mut self.session);
                self.record.write_refused(&mut self.session, &self.shared);
                self.meter();
                // Send waiting replies before waiting for octets.
                if !matches!(action, Action::Send(_) | Action::BeginMessage(_)) {
                    self.send().await;
                }
                self.perform(action).await;
            }
            if !self.unsent.is_empty() {
                self.send().await;
                // The result may be another action.
                continue;
            }
            self.record.write_protocol(&mut self.session);
            self.record.write_refused(&mut self.session, &self.shared);
            self.meter();
            if self.session.handle_memory(self.memory.is_used_up()) {
                continue;
            }
            let failures = self.record.count(self.session.summary());
            self.count_logon_failures(failures);
            if self.session.is_closed() {
                break;
            }
            self.wait().await;
        }
        self.record.write(&self.session);
    }

    fn count_logon_failures(&self, failures: u32) {
        let client = self.session.connection().client();
        for _ in 0..failures {
            if self.shared.logon_failures.failed(Instant::now(), client.ip()) {
                let connector = &self.session.peer().connector.name;
                tracing::warn!(
                    remote = %client,
                    connector,
                    "too many failed logons: further logons from this source are deferred"
                );
            }
        }
    }

    /// Charges the memory that the session keeps now to the budget.
    fn meter(&mut self) {
        let tls = if self.transport.is_tls() { TLS_SESSION_OCTETS } else { 0 };
        self.memory.set(self.session.held_octets() + self.unsent.len() as u64 + tls);
    }

    /// Waits for the first of these: octets, the deadline, the end of the daemon.
    async fn wait(&mut self) {
        let Self { session, transport, shared, handshake, stop, record, .. } = self;
        let deadline = session.deadline();
        let wants_bytes = session.wants_bytes();
        let awaited = if session.is_shutting_down() { Stop::AtOnce } else { Stop::Gently };
        let is_cut_off = session.is_cut_off();
        let read = transport.read(|octets| {
            if session.wants_conditions() {
                *handshake = shared.handshake(record.connector_id());
                let has_nonces = session.peer().connector.auth_mechanism.basic_auth.is_some();
                let client = session.connection().client().ip();
                session.handle_conditions(Conditions {
                    pressure: shared.back_pressure.pressure(),
                    queue: shared.back_pressure.queue(),
                    certificate: handshake.is_some(),
                    logon_is_refused: has_nonces
                        && shared.logon_failures.refuses(Instant::now(), client),
                    seed: has_nonces.then(|| password::random().ok()).flatten(),
                });
            }
            session.handle_bytes(Instant::now(), octets);
        });
        tokio::select! {
            read = read, if wants_bytes => match read {
                Ok(octets) if octets > 0 => {}
                Ok(_) => self.session.handle_end_of_input(),
                // TLS without a close_notify. The octets before it are complete, and a message
                // without its end is not kept.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    self.session.handle_end_of_input();
                }
                Err(_) => self.session.handle_disconnect(),
            },
            () = sleep_until(deadline.into()) => self.session.handle_timeout(Instant::now()),
            Ok(_) = stop.wait_for(|stop| *stop >= awaited), if !is_cut_off => match awaited {
                Stop::AtOnce => self.session.handle_cut_off(),
                Stop::No | Stop::Gently => self.session.handle_shutdown(Instant::now()),
            },
        }
    }

    /// The session continues for another client, which needs its own slot.
    fn reclassify(&mut self, connection: &Connection) {
        let classification = self.shared.classifier.classify_told(connection);
        self.shared.counts.classified(&classification);
        let client = match &classification.connector {
            None => Err(relay_policy::connect(None)),
            Some(chosen) => self.shared.admit(chosen, connection.client()).map(|place| {
                self.place = place;
                let peer = Peer::new(Arc::clone(&chosen.connector));
                (Arc::clone(&classification.rules), peer)
            }),
        };
        let client = client.map_err(|decision| {
            self.shared.record_refused(&classification, connection, &decision);
            decision.reply
        });
        self.record.become_client(classification);
        let memory = self.shared.queue.message_memory();
        self.memory = memory.share_of(self.record.connector_id()).account();
        if client.is_ok() {
            self.record.write_connected(connection);
        }
        self.session.handle_client(Instant::now(), client);
    }

    /// Large futures are boxed: a future is as large as the largest future that it awaits, and an
    /// idle session keeps that memory.
    async fn perform(&mut self, action: Action) {
        let deadline = self.session.deadline();
        match action {
            Action::AbandonMessage => self.incoming = None,
            Action::Ask(inquiry) => {
                let message = self.incoming.as_ref();
                let found = inquiries::perform(
                    inquiry,
                    self.record.asker(&self.session),
                    &self.shared,
                    message,
                );
                match timeout_at(deadline.into(), Box::pin(found)).await {
                    Ok(finding) => self.session.handle_finding(Instant::now(), finding),
                    Err(_) => self.session.handle_timeout(Instant::now()),
                }
            }
            Action::BeginMessage(envelope) => {
                let begun = self.shared.queue.begin_for(envelope, self.memory.another_account());
                let begun = Box::pin(begun).await.map(|incoming| {
                    let id = self.incoming.insert(incoming).id();
                    MessageBegun { id, at: SystemTime::now() }
                });
                self.session.handle_message_begun(Instant::now(), begun);
            }
            Action::Close => Box::pin(self.close()).await,
            Action::CommitMessage => Box::pin(self.commit(deadline)).await,
            Action::PutInFront(fields) => {
                if let Some(incoming) = &mut self.incoming {
                    incoming.put_in_front(fields);
                }
            }
            Action::Send(octets) => {
                self.unsent = match self.unsent.is_empty() {
                    true => octets,
                    false => [&self.unsent[..], &octets].concat().into(),
                };
            }
            Action::Reclassify(connection) => self.reclassify(&connection),
            Action::StartTls => Box::pin(self.start_tls(deadline)).await,
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

    /// Sends the waiting replies.
    async fn send(&mut self) {
        let octets = mem::take(&mut self.unsent);
        if octets.is_empty() {
            return;
        }
        let deadline = self.session.send_deadline();
        match timeout_at(deadline.into(), self.transport.write(&octets)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => self.session.handle_disconnect(),
            Err(_) => self.session.handle_unread(),
        }
    }

    /// Commits the message, and reports it after it is stored, or may be stored.
    async fn commit(&mut self, deadline: Instant) {
        // Without a message nothing can be stored.
        let Some(incoming) = self.incoming.take() else {
            return self.session.handle_stored(Instant::now(), Err(StoreError::Closed));
        };
        let keeping = Keeping::of(&incoming);
        match timeout_at(deadline.into(), incoming.commit()).await {
            Ok(stored) => {
                let is_kept = stored.is_ok();
                self.session.handle_stored(Instant::now(), stored);
                if is_kept {
                    self.track(keeping, Confirmation::Sent);
                }
            }
            Err(_) => {
                self.session.handle_timeout(Instant::now());
                self.track(keeping, Confirmation::TooLate);
            }
        }
    }

    fn track(&mut self, keeping: Keeping, confirmation: Confirmation) {
        // The session must forget the events, even if nothing records them.
        let decisions = self.session.take_decisions();
        let Self { shared, session, record, .. } = self;
        record.write_changes(keeping.id, &decisions.changes, session.connection());
        shared.tracker.tell(keeping.id, || {
            Happening::Received(Box::new(record.receipt(session, decisions, keeping, confirmation)))
        });
    }

    async fn start_tls(&mut self, deadline: Instant) {
        let handshake = async {
            // With implicit TLS nothing has been promised yet.
            let handshake =
                self.handshake.take().or_else(|| self.shared.handshake(self.record.connector_id()));
            let handshake = handshake.ok_or(io::ErrorKind::Unsupported)?;
            self.transport.start_tls(&handshake).await
        };
        match timeout_at(deadline.into(), handshake).await {
            Ok(Ok(tls)) => self.session.handle_tls(Instant::now(), tls),
            Ok(Err(error)) => {
                self.session.handle_tls_failed(&handshake_failure(&error));
            }
            Err(_) => self.session.handle_timeout(Instant::now()),
        }
    }

    /// Ends our side, then waits shortly for the client's end: unread octets would make the system
    /// reset the connection, and the last reply would be lost.
    async fn close(&mut self) {
        let linger = async {
            self.transport.close().await?;
            while self.transport.read(|_| {}).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = timeout(CLOSE_WAIT, linger).await;
    }
}
