//! Plays a dialogue against a session, with a queue in memory and its own clock.

use relay_connector::Connection;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use bytes::Bytes;
use relay_connector::{ConnectorIds, TableMatch};
use relay_mail::envelope::Envelope;
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Reply;
use relay_mail::store_error::{BeginError, StoreError};
use relay_mail::tls::{CertificateRefusal, ClientCertificate, TlsInfo};
use relay_message::finding::{MessageFinding, SenderFinding};
use relay_policy::pressure::{Pressure, PressureLevel, Resource};
use relay_policy::{
    Inquiry, InquiryAnswer, MessageRateFinding, PasswordFinding, Peer, RecipientFinding, Rules,
};
use relay_session::limits::INPUT_OCTETS;
use relay_session::player::{self, World};
use relay_session::{Action, Conditions, HandshakeFailure, MessageBegun, Session};
use relay_users::password::PasswordCheck;

use crate::checks::Checks;
use crate::profile;
use crate::script::{Auth, CLOSED, Event, QueueBehaviour, Recipients, Settings, Turn};

/// The cuts of the client's octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    Lines,
    Octets,
    OneWrite,
}

pub struct Player {
    player: player::Player<Host>,
    /// The session was told of the end of the connection.
    end_is_told: bool,
}

/// The host of a dialogue's session.
struct Host {
    rules: Arc<Rules>,
    sent: Vec<u8>,
    awaits_handshake: bool,
    closed: bool,
    certificate: bool,
    pressure: PressureLevel,
    recipients: Option<Recipients>,
    checks: Checks,
    auth: Option<Auth>,
    /// Messages that were counted against the connector's rate.
    messages: u32,
    queue: Queue,
}

/// A queue in memory.
struct Queue {
    behaviour: QueueBehaviour,
    begun: u64,
    open: Option<(Envelope, Vec<u8>)>,
    kept: Vec<(Envelope, Vec<u8>)>,
}

impl Player {
    pub fn new(settings: &Settings) -> Result<Self, String> {
        let config = profile::configuration(settings, "127.0.0.1:25", Path::new("/"))?;
        let rules =
            config.rules(&mut ConnectorIds::default(), 1).map_err(|error| error.to_string())?;
        let (_, connector) = rules.connectors().next().ok_or("no connector")?;
        let peer = Peer::new(Arc::clone(connector));
        let now = Instant::now();
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, 25));
        let begin = if settings.tls_implicit { Session::encrypted } else { Session::new };
        let session = begin(now, Arc::clone(&rules), peer, Connection::accepted(here, here));
        let host = Host {
            rules,
            sent: Vec::new(),
            awaits_handshake: false,
            closed: false,
            certificate: settings.tls_available && !settings.tls_removed,
            pressure: PressureLevel::Normal,
            recipients: settings.recipients,
            messages: 0,
            checks: settings.checks.clone(),
            auth: settings.auth,
            queue: Queue { behaviour: settings.queue, begun: 0, open: None, kept: Vec::new() },
        };
        let player = player::Player::new(now, session, host);
        Ok(Self { player, end_is_told: false })
    }

    /// The server's output in one turn.
    pub fn play(&mut self, turn: &Turn, pace: Pace) -> Result<Vec<String>, String> {
        if let Some(event) = turn.event.clone() {
            self.event(event)?;
        }
        self.check();
        let client = turn.client.concat();
        let pieces: Vec<&[u8]> = match pace {
            Pace::Lines => turn.client.iter().map(Vec::as_slice).collect(),
            Pace::Octets => client.chunks(1).collect(),
            Pace::OneWrite => vec![&client],
        };
        for piece in pieces {
            // No driver passes more octets than a session reads at a time.
            for piece in piece.chunks(INPUT_OCTETS) {
                let session = self.player.session();
                assert!(session.wants_bytes() || session.is_closed());
                self.player.receive(piece);
                self.check();
            }
        }
        let host = self.player.world();
        let sent =
            String::from_utf8(std::mem::take(&mut host.sent)).map_err(|error| error.to_string())?;
        let mut said: Vec<_> = sent.split_terminator("\r\n").map(str::to_owned).collect();
        if host.closed && !std::mem::replace(&mut self.end_is_told, true) {
            said.push(CLOSED.to_owned());
        }
        Ok(said)
    }

    /// The stored messages, as `Q:` lines.
    pub fn queued_lines(&mut self) -> Vec<String> {
        let kept = self.kept().iter().map(|(envelope, message)| {
            let recipients = envelope.recipients.iter().map(ToString::to_string).collect();
            (envelope.sender.to_string(), recipients, message.clone())
        });
        profile::queued_lines(kept.collect())
    }

    /// The stored messages.
    pub fn kept(&mut self) -> &[(Envelope, Vec<u8>)] {
        &self.player.world().queue.kept
    }

    fn check(&mut self) {
        let host = self.player.world();
        assert!(!host.closed || host.queue.open.is_none(), "a message is left open");
    }

    fn event(&mut self, event: Event) -> Result<(), String> {
        match event {
            Event::BackPressure(level) => self.player.world().pressure = level,
            Event::ClientDisconnects => {
                self.player.happen(|session, _| session.handle_disconnect())
            }
            Event::ClientEnds => self.player.happen(|session, _| session.handle_end_of_input()),
            Event::DaemonStops => {
                self.player.happen(|session, now| session.handle_shutdown(now));
            }
            Event::DaemonWaitsNoLonger => self.player.happen(|session, _| session.handle_cut_off()),
            Event::Pass(time) => self.player.pass(time),
            Event::TlsHandshake(shown) => {
                if !std::mem::take(&mut self.player.world().awaits_handshake) {
                    return Err("the server is not ready for a handshake".to_owned());
                }
                let client = shown.map(|shown| {
                    let verified = || match shown.is_trusted {
                        true => Ok(()),
                        false => Err(CertificateRefusal::Invalid("UnknownIssuer".to_owned())),
                    };
                    ClientCertificate {
                        names: vec![shown.name.clone()],
                        by_partners_ca: verified(),
                        by_fleet_ca: verified(),
                    }
                });
                let tls = TlsInfo { client, ..TlsInfo::new("TLS1.3", "TLS_AES_256_GCM_SHA384") };
                self.player.happen(|session, now| session.handle_tls(now, tls));
            }
        }
        Ok(())
    }
}

impl World for Host {
    fn conditions(&mut self) -> Conditions {
        let queue = match self.queue.behaviour {
            QueueBehaviour::Full => Err(full()),
            _ => Ok(()),
        };
        let pressure = Pressure { level: self.pressure, resource: Some(Resource::DiskUse) };
        Conditions {
            pressure,
            queue,
            certificate: self.certificate,
            seed: Some([0; 32]),
            ..Conditions::default()
        }
    }

    fn observe(&mut self, _: &mut Session, action: &Action) {
        assert!(!self.closed, "{action:?} after Close");
    }

    fn find_out(&mut self, inquiry: Inquiry) -> Option<InquiryAnswer> {
        match &inquiry {
            Inquiry::Message(question) => {
                let found = self.checks.message(question);
                found.map(|found| InquiryAnswer::Message(MessageFinding::Found(found)))
            }
            // Not enough time passes here to retry a message.
            Inquiry::MessageRate { limit, .. } => {
                let is_within = self.messages < *limit;
                self.messages += 1;
                Some(InquiryAnswer::MessageRate(match is_within {
                    true => MessageRateFinding::Within,
                    false => MessageRateFinding::Exceeded,
                }))
            }
            Inquiry::Recipient { .. } => {
                let said = "the dialogue says so".to_owned();
                match self.recipients.expect("a look-up is configured") {
                    Recipients::Known => Some(RecipientFinding::Known),
                    Recipients::Silent => None,
                    Recipients::Unavailable => Some(RecipientFinding::Unavailable(said)),
                    Recipients::Unknown => Some(RecipientFinding::Unknown(said)),
                }
                .map(InquiryAnswer::Recipient)
            }
            Inquiry::Sender(question) => {
                let found = self.checks.sender(question);
                found.map(|found| InquiryAnswer::Sender(SenderFinding::Found(found)))
            }
            Inquiry::Password(check) => self.compare(check),
        }
    }

    /// As the server does with its classifier.
    fn reclassify(&mut self, client: &Connection) -> Result<(Arc<Rules>, Peer), Reply> {
        let client = match self.rules.table.classify(client.local(), client.client()) {
            TableMatch::Connector { connector, .. } => self.rules.connector(connector),
            TableMatch::NoBinding | TableMatch::NoConnector => None,
        };
        client
            .map(|connector| (Arc::clone(&self.rules), Peer::new(Arc::clone(connector))))
            .ok_or_else(|| relay_policy::connect(None).reply)
    }

    fn begin_message(&mut self, envelope: Envelope) -> Option<Result<MessageBegun, BeginError>> {
        assert!(self.queue.open.is_none(), "a message is open already");
        Some(match self.queue.behaviour {
            QueueBehaviour::Silent => return None,
            QueueBehaviour::Filling | QueueBehaviour::Full => Err(full().into()),
            _ => {
                self.queue.begun += 1;
                self.queue.open = Some((envelope, Vec::new()));
                let at = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
                Ok(MessageBegun { id: QueueId::from_u64(self.queue.begun), at })
            }
        })
    }

    fn write(&mut self, octets: Bytes) -> Result<(), StoreError> {
        let (_, message) = self.queue.open.as_mut().expect("a message is open");
        message.extend_from_slice(&octets);
        match self.queue.behaviour {
            QueueBehaviour::Breaking => Err(full()),
            _ => Ok(()),
        }
    }

    fn put_in_front(&mut self, fields: Bytes) {
        let (_, message) = self.queue.open.as_mut().expect("a message is open");
        message.splice(0..0, fields);
    }

    fn commit_message(&mut self) -> Option<Result<(), StoreError>> {
        let message = self.queue.open.take().expect("a message is open");
        Some(match self.queue.behaviour {
            QueueBehaviour::Failing => Err(full()),
            _ => {
                self.queue.kept.push(message);
                Ok(())
            }
        })
    }

    fn abandon_message(&mut self) {
        self.queue.open = None;
    }

    fn shake_hands(&mut self) -> Option<Result<TlsInfo, HandshakeFailure>> {
        self.awaits_handshake = true;
        None
    }

    fn send(&mut self, octets: &[u8]) {
        self.sent.extend_from_slice(octets);
    }

    fn close(&mut self) {
        self.closed = true;
    }
}

impl Host {
    fn compare(&self, check: &PasswordCheck) -> Option<InquiryAnswer> {
        if self.auth == Some(Auth::Unanswered) {
            return None;
        }
        Some(InquiryAnswer::Password(match check.perform() {
            Ok(true) => PasswordFinding::Right,
            Ok(false) => PasswordFinding::Wrong("the password is wrong".to_owned()),
            Err(why) => PasswordFinding::Unavailable(why.to_string()),
        }))
    }
}

fn full() -> StoreError {
    StoreError::Full("the dialogue says so".to_owned())
}
