//! What does a session do, given the octets of its client and the answers of its surroundings?
//!
//! A [`Player`] owns a [`Session`] and the time, passes octets, and performs the session's actions.
//! A [`World`] answers the session's requests: storage, other servers, a TLS handshake.
//! Explanations, the self-test, the dialogues, the fuzz targets and the unit tests all play
//! sessions here, so they all use the same order. Only the server performs actions elsewhere, since
//! it waits for sockets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use relay_connector::connection::Connection;
use relay_mail::envelope::Envelope;
use relay_mail::reply::{Reply, SERVICE_NOT_AVAILABLE};
use relay_mail::store_error::{BeginError, StoreError};
use relay_mail::tls::TlsInfo;

use crate::limits::INPUT_OCTETS;
use crate::timers::Awaited;
use crate::{Action, Conditions, HandshakeFailure, MessageBegun, Session};
use relay_policy::{Decision, Inquiry, InquiryAnswer, Peer, Rules};

/// Octets that a client of [`Player::say`] sends at once. A session accepts more while it may read.
const PACKET_OCTETS: usize = INPUT_OCTETS / 4;

/// The answers to a session's requests. By default the world asks no server, stores nothing, and
/// completes every handshake. `None` is an answer that follows later or never: [`Player::happen`]
/// gives it.
pub trait World {
    /// The conditions when octets of the client arrive.
    fn conditions(&mut self) -> Conditions {
        Conditions::default()
    }

    /// Is the memory for messages on their way in used up?
    fn memory_is_short(&mut self) -> bool {
        false
    }

    /// This action is next.
    fn observe(&mut self, _session: &mut Session, _action: &Action) {}

    /// The answer to a question of the policy.
    fn find_out(&mut self, inquiry: Inquiry) -> Option<InquiryAnswer> {
        Some(inquiry.not_asked())
    }

    /// Begins a message.
    fn begin_message(&mut self, _envelope: Envelope) -> Option<Result<MessageBegun, BeginError>> {
        Some(Err(StoreError::Closed.into()))
    }

    /// Appends octets to the message.
    ///
    /// # Errors
    /// The message cannot be stored.
    fn write(&mut self, _octets: Bytes) -> Result<(), StoreError> {
        Ok(())
    }

    /// Puts fields before the octets of the message.
    fn put_in_front(&mut self, _fields: Bytes) {}

    /// Stores the message.
    fn commit_message(&mut self) -> Option<Result<(), StoreError>> {
        Some(Err(StoreError::Closed))
    }

    /// Lets go of the message.
    fn abandon_message(&mut self) {}

    /// Does a TLS handshake.
    fn shake_hands(&mut self) -> Option<Result<TlsInfo, HandshakeFailure>> {
        Some(Ok(TlsInfo::new("TLS1.3", "none")))
    }

    /// Finds the connector of the client that a proxy names.
    ///
    /// # Errors
    /// The reply for a client that gets no session.
    fn reclassify(&mut self, _connection: &Connection) -> Result<(Arc<Rules>, Peer), Reply> {
        Err(SERVICE_NOT_AVAILABLE)
    }

    /// The client gets these octets.
    fn send(&mut self, _octets: &[u8]) {}

    /// The connection is closed.
    fn close(&mut self) {}
}

/// A session and the world that it takes place in.
///
/// ```
/// use std::time::Instant;
///
/// use relay_connector::Connection;
/// use relay_policy::Peer;
/// use relay_session::Session;
/// use relay_session::player::{Player, World};
///
/// /// A world that stores nothing and keeps the octets that the client gets.
/// #[derive(Default)]
/// struct Client(String);
///
/// impl World for Client {
///     fn send(&mut self, octets: &[u8]) {
///         self.0.push_str(std::str::from_utf8(octets).unwrap());
///     }
/// }
///
/// # use std::sync::Arc;
/// # let text = r#"
/// # hostname = "edge1.contoso.example"
/// # delivery.smart_host = "127.0.0.1:2626"
/// # accepted_domain = [{ name = "contoso.example" }]
/// # [[connector]]
/// # name = "Default Frontend"
/// # bindings = ["0.0.0.0:25"]
/// # remote_ip_ranges = ["0.0.0.0/0"]
/// # permission_groups = ["AnonymousUsers"]
/// # "#;
/// # let config = relay_config::Config::parse(text, "relay.toml").unwrap();
/// # let rules = config.rules(&mut relay_connector::ConnectorIds::default(), 1).unwrap();
/// # let connector = Arc::clone(rules.connectors().next().unwrap().1);
/// let (local, remote) = ("192.0.2.1:25".parse().unwrap(), "203.0.113.9:40000".parse().unwrap());
/// let (now, connection) = (Instant::now(), Connection::accepted(local, remote));
/// let session = Session::new(now, rules, Peer::new(connector), connection);
/// let mut player = Player::new(now, session, Client::default());
/// player.say(b"HELO client.example\r\nRCPT TO:<b@contoso.example>\r\nQUIT\r\n");
/// let codes: Vec<_> = player.world().0.lines().map(|line| &line[..3]).collect();
/// // RCPT before MAIL is out of order.
/// assert_eq!(codes, ["220", "250", "503", "221"]);
/// ```
#[derive(Debug)]
pub struct Player<W> {
    session: Session,
    world: W,
    now: Instant,
}

impl<W: World> Player<W> {
    /// Performs the first actions of the session.
    pub fn new(now: Instant, session: Session, world: W) -> Self {
        let mut player = Self { session, world, now };
        player.perform();
        player
    }

    /// The client sends these octets. It waits for each reply that the tarpit delays, so time
    /// passes; the replies have their reasons if the session was begun with [`Session::explained`].
    /// Octets that the session does not read, because an answer of the world is missing, are lost.
    pub fn say(&mut self, octets: &[u8]) -> Vec<Decision> {
        for packet in octets.chunks(PACKET_OCTETS) {
            if !self.session.wants_bytes() {
                break;
            }
            self.receive(packet);
            self.wait_for_replies();
        }
        self.session.take_answers()
    }

    /// The client sends one packet, and no time passes. Call this only while
    /// [`Session::wants_bytes`].
    pub fn receive(&mut self, packet: &[u8]) {
        if self.session.wants_conditions() {
            self.session.handle_conditions(self.world.conditions());
        }
        self.session.handle_bytes(self.now, packet);
        self.perform();
    }

    /// Another event of the session.
    pub fn happen(&mut self, event: impl FnOnce(&mut Session, Instant)) {
        event(&mut self.session, self.now);
        self.perform();
    }

    /// Time passes, and with it the session's deadlines.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.session.deadline() <= end && !self.session.is_closed() {
            self.expire();
        }
        self.now = end;
    }

    /// Time passes up to the next deadline of the session.
    pub fn expire(&mut self) {
        self.now = self.now.max(self.session.deadline());
        self.session.handle_timeout(self.now);
        self.perform();
    }

    /// The session.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// The replies so far, see [`Session::take_answers`].
    pub fn take_answers(&mut self) -> Vec<Decision> {
        self.session.take_answers()
    }

    /// The world.
    pub const fn world(&mut self) -> &mut W {
        &mut self.world
    }

    /// The current time.
    pub const fn now(&self) -> Instant {
        self.now
    }

    fn wait_for_replies(&mut self) {
        while !self.session.is_closed() && self.session.awaited() == Awaited::Tarpit {
            self.expire();
        }
    }

    fn perform(&mut self) {
        perform(&mut self.session, &mut self.world, self.now);
    }
}

/// Performs all pending actions of the session.
pub(super) fn perform(session: &mut Session, world: &mut impl World, now: Instant) {
    loop {
        while let Some(action) = session.poll_action() {
            world.observe(session, &action);
            perform_one(session, world, now, action);
        }
        let is_short = world.memory_is_short();
        if !session.handle_memory(is_short) {
            break;
        }
    }
}

fn perform_one(session: &mut Session, world: &mut impl World, now: Instant, action: Action) {
    match action {
        Action::AbandonMessage => world.abandon_message(),
        Action::Ask(inquiry) => {
            if let Some(finding) = world.find_out(inquiry) {
                session.handle_finding(now, finding);
            }
        }
        Action::BeginMessage(envelope) => {
            if let Some(begun) = world.begin_message(envelope) {
                session.handle_message_begun(now, begun);
            }
        }
        Action::Close => world.close(),
        Action::CommitMessage => {
            if let Some(stored) = world.commit_message() {
                session.handle_stored(now, stored);
            }
        }
        Action::PutInFront(fields) => world.put_in_front(fields),
        Action::Reclassify(client) => session.handle_client(now, world.reclassify(&client)),
        Action::Send(octets) => world.send(&octets),
        Action::StartTls => match world.shake_hands() {
            Some(Ok(tls)) => session.handle_tls(now, tls),
            Some(Err(failure)) => session.handle_tls_failed(&failure),
            None => {}
        },
        Action::Write(octets) => {
            if let Err(error) = world.write(octets) {
                session.handle_write_failed(&error);
            }
        }
    }
}
