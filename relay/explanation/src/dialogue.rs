//! What does the client of a question send, and which replies does its session give?

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Instant, UNIX_EPOCH};

use bytes::Bytes;
use relay_connector::{ClientAddress, Connection, SizeEnabled};
use relay_mail::envelope::Envelope;
use relay_mail::queue_id::QueueId;
use relay_mail::reply::QUEUED;
use relay_mail::store_error::{BeginError, StoreError};
use relay_mail::tls::{ClientCertificate, TlsInfo};
use relay_smtp::command::SaslMessage;

use crate::{ExplainedCommand, HostState, Question};
use relay_policy::{Decision, Inquiry, InquiryAnswer, Peer, Rules};
use relay_session::player::{Player, World};
use relay_session::{Conditions, HandshakeFailure, MessageBegun, Opening, Session};

/// The password of the client; it is never compared.
const PASSWORD: &str = "password";

/// A session and its results so far.
pub(super) struct Dialogue<'a> {
    player: Player<Imagined<'a>>,
    steps: Vec<ExplainedCommand>,
}

/// A host that stores nothing, asks other servers through `find_out`, and completes every handshake
/// for which it has a certificate.
struct Imagined<'a> {
    host: &'a HostState,
    certificate: Option<ClientCertificate>,
    find_out: &'a mut dyn FnMut(Inquiry) -> InquiryAnswer,
}

impl<'a> Dialogue<'a> {
    /// The client connects.
    pub(super) fn begin(
        now: Instant,
        rules: &Arc<Rules>,
        peer: Peer,
        question: &Question,
        host: &'a HostState,
        find_out: &'a mut dyn FnMut(Inquiry) -> InquiryAnswer,
    ) -> Self {
        let connector = Arc::clone(&peer.connector);
        let binding = rules.table.binding_of(question.local);
        let is_implicit = binding.is_some_and(|it| connector.encryption.is_implicit_on(it));
        let opening = if is_implicit { Opening::Tls } else { Opening::Plain };
        let remote = SocketAddr::new(question.remote.ip(), 0);
        let connection = Connection::accepted(question.local, remote);
        let session = Session::explained(now, Arc::clone(rules), peer, connection, opening);
        let world = Imagined { host, certificate: question.client_certificate.clone(), find_out };
        let mut player = Player::new(now, session, world);
        let mut greeting = player.take_answers();
        if greeting.is_empty() {
            // The connection is closed without a reply, since its client waits for a handshake.
            let greeted = relay_policy::connect(Some(&connector));
            greeting.push(match greeted.reply.is_positive() {
                true => relay_policy::no_certificate(),
                false => greeted,
            });
        }
        let steps = greeting.into_iter().map(ExplainedCommand::greeting).collect();
        Self { player, steps }
    }

    /// Plays the dialogue, up to the command after which the result is certain. Would every
    /// recipient be accepted, and the message after that?
    pub(super) fn is_accepted(&mut self, question: &Question) -> bool {
        self.is_introduced(question)
            && self.is_logged_on(question)
            && self.is_sender_accepted(question)
            && self.is_message_accepted(question)
    }

    /// The steps, and the final identity of the client.
    pub(super) fn end(self) -> (Vec<ExplainedCommand>, Option<Peer>) {
        (self.steps, Some(self.player.session().peer().clone()))
    }

    /// EHLO, STARTTLS, and EHLO again, since TLS makes the session discard the first one (RFC 3207
    /// section 4.2).
    fn is_introduced(&mut self, question: &Question) -> bool {
        if self.player.session().is_closed() {
            return false;
        }
        let ehlo = match &question.helo {
            Some(name) => format!("EHLO {}", name.as_str()),
            None => format!("EHLO {}", address_literal(question.remote)),
        };
        // Where TLS begins with the first octet it has begun.
        let starts_tls = question.tls && !self.player.session().peer().tls;
        self.say(&ehlo, question.helo.is_none())
            && (!starts_tls || self.say("STARTTLS", false) && self.say(&ehlo, true))
    }

    fn is_logged_on(&mut self, question: &Question) -> bool {
        let Some(name) = &question.auth else { return true };
        let message = SaslMessage(format!("\0{name}\0{PASSWORD}").into_bytes()).encoded();
        self.say_as("AUTH PLAIN", &format!("AUTH PLAIN {message}\r\n"), false)
    }

    fn is_sender_accepted(&mut self, question: &Question) -> bool {
        // A client that was not offered SIZE does not use it.
        let size_enabled = self.player.session().peer().connector.extensions.size_enabled;
        let is_told = size_enabled != SizeEnabled::Disabled;
        let size = question.size.filter(|_| is_told);
        let size = size.map(|size| format!(" SIZE={size}")).unwrap_or_default();
        let smtputf8 = if question.smtputf8 { " SMTPUTF8" } else { "" };
        self.say(&format!("MAIL FROM:<{}>{size}{smtputf8}", question.sender), false)
    }

    fn is_message_accepted(&mut self, question: &Question) -> bool {
        let mut accepted = 0;
        for recipient in &question.recipients {
            if self.player.session().is_closed() {
                return false;
            }
            accepted += usize::from(self.say(&format!("RCPT TO:<{recipient}>"), false));
        }
        if accepted == 0 || self.player.session().is_closed() || !self.say("DATA", true) {
            return false;
        }
        let header = question.header_section();
        let mut early = self.player.say(header.as_bytes());
        if let Some(size) = question.size {
            self.player.happen(|session, _| session.imagine_message(size));
        }
        let checks_message = self.player.session().peer().connector.antispam.checks_message();
        let is_implied = question.size.is_none() && !checks_message;
        early.extend(self.player.say(b".\r\n"));
        self.note("(end of data)", early, is_implied) && accepted == question.recipients.len()
    }

    /// Sends a line; true when its replies are positive.
    fn say(&mut self, command: &str, is_implied: bool) -> bool {
        self.say_as(command, &format!("{command}\r\n"), is_implied)
    }

    /// Sends octets, and notes the replies to them under another name.
    fn say_as(&mut self, command: &str, octets: &str, is_implied: bool) -> bool {
        let answers = self.player.say(octets.as_bytes());
        self.note(command, answers, is_implied)
    }

    fn note(&mut self, command: &str, answers: Vec<Decision>, is_implied: bool) -> bool {
        let passes = !answers.is_empty() && answers.iter().all(|it| it.reply.is_positive());
        for (number, mut decision) in answers.into_iter().enumerate() {
            // There is no message, so it has no name in the queue either.
            if decision.reply.text.ends_with(&*QUEUED.text) {
                decision.reply.text = QUEUED.text;
            }
            let command = if number == 0 { command.to_owned() } else { String::new() };
            self.steps.push(ExplainedCommand {
                command,
                decision,
                is_implied: is_implied && passes,
            });
        }
        passes
    }
}

/// The name of a client that has no domain name (RFC 5321 section 4.1.4). Whether a client has a
/// domain name is not known without `helo`, and a connector may require one.
fn address_literal(client: ClientAddress) -> String {
    match client.ip() {
        IpAddr::V4(address) => format!("[{address}]"),
        IpAddr::V6(address) => format!("[IPv6:{address}]"),
    }
}

impl World for Imagined<'_> {
    fn conditions(&mut self) -> Conditions {
        self.host.conditions.clone()
    }

    fn memory_is_short(&mut self) -> bool {
        self.host.memory_is_short
    }

    /// There is no message for an inquiry at another server, and no password.
    fn find_out(&mut self, inquiry: Inquiry) -> Option<InquiryAnswer> {
        Some(match inquiry {
            Inquiry::Message(_) | Inquiry::Password(_) => inquiry.not_asked(),
            _ => (self.find_out)(inquiry),
        })
    }

    fn begin_message(&mut self, _: Envelope) -> Option<Result<MessageBegun, BeginError>> {
        let begun = MessageBegun { id: QueueId::from_u64(0), at: UNIX_EPOCH };
        Some(self.host.storage.clone().map(|()| begun).map_err(BeginError::from))
    }

    fn write(&mut self, _: Bytes) -> Result<(), StoreError> {
        Ok(())
    }

    fn commit_message(&mut self) -> Option<Result<(), StoreError>> {
        Some(Ok(()))
    }

    fn shake_hands(&mut self) -> Option<Result<TlsInfo, HandshakeFailure>> {
        let tls = TlsInfo { client: self.certificate.clone(), ..TlsInfo::new("TLS1.3", "none") };
        let has_certificate = self.host.conditions.certificate;
        Some(has_certificate.then_some(tls).ok_or(HandshakeFailure::NoCertificate))
    }
}
