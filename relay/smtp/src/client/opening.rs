//! From the greeting to the first transaction: EHLO, STARTTLS (RFC 3207), EHLO again, AUTH.

use std::time::Instant;

use crate::client::auth::ClientSaslExchange;
use crate::client::ending::{local, truncate_text};
use crate::client::{
    Capabilities, ClientEvent, ClientSession, NextHopCredentials, ReplyParser, State,
};
use relay_mail::outcome::AnsweredCommand;
use relay_mail::outcome::Cause;
use relay_mail::protocol::DeliveryProtocol;
use relay_mail::reply::{Enhanced, Reply};

/// The steps before a transaction may begin.
#[derive(Clone, Debug)]
pub struct ClientOpening {
    /// The protocol of the next hop.
    pub protocol: DeliveryProtocol,
    /// Our name in EHLO.
    pub hello_name: String,
    /// When the connection is encrypted.
    pub encryption: NextHopTls,
    /// Our credentials for the next hop.
    pub credentials: Option<NextHopCredentials>,
    /// The credentials may be said without encryption.
    pub credentials_in_clear: bool,
    /// One command at a time and no chunks, even if offered: see [`ClientSession::was_misled`].
    pub use_basic_smtp: bool,
}

/// When a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextHopTls {
    /// Never.
    Never,
    /// Where STARTTLS is offered and not refused.
    WhereOffered,
    /// Always, by STARTTLS, or the next hop is not used.
    Always,
    /// From the first octet, before the greeting (RFC 8314 section 3).
    Implicit,
}

/// The command that greets a server of SMTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HelloVerb {
    Ehlo,
    /// After a refusal of EHLO.
    Helo,
}

/// The current step of the opening.
#[derive(Debug)]
pub(super) enum Stage {
    Greeting,
    Hello(HelloVerb),
    /// The reply to STARTTLS is awaited.
    StartTls,
    /// The driver does the handshake.
    Handshake,
    Auth(ClientSaslExchange),
}

impl ClientOpening {
    /// EHLO only.
    pub fn plain_text(hello_name: impl Into<String>) -> Self {
        Self {
            protocol: DeliveryProtocol::Smtp,
            hello_name: hello_name.into(),
            encryption: NextHopTls::Never,
            credentials: None,
            credentials_in_clear: false,
            use_basic_smtp: false,
        }
    }
}

impl Stage {
    /// The current step, for the sentence that a report quotes.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Greeting => "before the greeting",
            Self::Hello(_) => "after EHLO or HELO",
            Self::StartTls => "after STARTTLS",
            Self::Handshake => "in the TLS handshake",
            Self::Auth(_) => "after AUTH",
        }
    }
}

impl Stage {
    /// The command whose reply is awaited.
    pub(super) const fn last_command(&self) -> AnsweredCommand {
        match self {
            Self::Greeting => AnsweredCommand::Connection,
            Self::Hello(_) => AnsweredCommand::Hello,
            Self::StartTls | Self::Handshake => AnsweredCommand::StartTls,
            Self::Auth(_) => AnsweredCommand::Auth,
        }
    }
}

impl ClientSession {
    /// The handshake of [`ClientEvent::StartTls`] is complete. Everything received before it is
    /// discarded (RFC 3207 section 4.2), and EHLO is sent again. With implicit TLS nothing was
    /// received, and the next hop sends its greeting first.
    pub fn handle_encrypted(&mut self, now: Instant) {
        if matches!(self.state, State::Opening(Stage::Handshake)) {
            self.encrypted = true;
            self.capabilities = Capabilities::default();
            self.parser = ReplyParser::default();
            match self.opening.encryption {
                NextHopTls::Implicit => self.wait(Stage::Greeting, now),
                _ => self.hello(HelloVerb::Ehlo, now),
            }
        }
    }

    /// The handshake of [`ClientEvent::StartTls`] has failed. The connection cannot be used any
    /// more.
    pub fn handle_failed_handshake(&mut self, reason: &str) {
        // X.7.5 of RFC 3463: cryptographic failure.
        let text = format!("the TLS handshake with the next hop failed: {reason}");
        self.fail(local(Enhanced(4, 7, 5), text));
    }

    /// No plain text may be read any more: the next hop has agreed to TLS. Octets after its 220 may
    /// come from an attacker.
    pub(super) fn refuse_plain_text(&mut self) {
        let text = "plain text behind the reply to STARTTLS";
        self.fail(local(Enhanced(4, 7, 0), text));
    }

    pub(super) fn handle_opening(&mut self, stage: Stage, reply: Reply, now: Instant) {
        match stage {
            Stage::Greeting if reply.code == 220 => self.hello(HelloVerb::Ehlo, now),
            Stage::Hello(HelloVerb::Ehlo) if reply.code == 250 => {
                self.capabilities = Capabilities::parse(&reply.text);
                if self.opening.use_basic_smtp {
                    self.capabilities.pipelining = false;
                    self.capabilities.chunking = false;
                }
                self.start_tls(now);
            }
            Stage::Hello(HelloVerb::Helo) if reply.code == 250 => self.start_tls(now),
            // RFC 5321 section 3.2: a server without EHLO may know HELO.
            Stage::Hello(HelloVerb::Ehlo)
                if reply.code / 100 == 5 && self.opening.protocol == DeliveryProtocol::Smtp =>
            {
                self.hello(HelloVerb::Helo, now);
            }
            Stage::StartTls if reply.code == 220 => {
                self.wait(Stage::Handshake, now);
                self.events.push_back(ClientEvent::StartTls);
            }
            Stage::StartTls
                if matches!(reply.code / 100, 4 | 5)
                    && self.opening.encryption == NextHopTls::WhereOffered =>
            {
                self.authenticate(now);
            }
            Stage::StartTls if reply.is_positive() => {
                self.balked_at_start_tls = true;
                let text = format!("the next hop replied {reply} to STARTTLS");
                self.close(Some(local(Enhanced(4, 5, 0), text)));
            }
            Stage::Auth(_) if reply.code == 235 => self.become_ready(),
            Stage::Auth(mut exchange) if reply.code == 334 => match exchange.answer() {
                Some(line) => {
                    self.say(&line);
                    self.wait(Stage::Auth(exchange), now);
                }
                None => {
                    let text = "the next hop asks for more responses than the AUTH mechanism has";
                    self.close(Some(local(Enhanced(4, 5, 0), text)));
                }
            },
            stage => self.close_with(stage.last_command(), reply),
        }
    }

    fn start_tls(&mut self, now: Instant) {
        match self.opening.encryption {
            _ if self.encrypted => self.authenticate(now),
            NextHopTls::Never => self.authenticate(now),
            _ if self.capabilities.starttls => {
                self.say("STARTTLS");
                self.wait(Stage::StartTls, now);
            }
            NextHopTls::WhereOffered => self.authenticate(now),
            NextHopTls::Always | NextHopTls::Implicit => {
                // X.7.4 of RFC 3463: security features not supported.
                let text = "the next hop does not offer STARTTLS, which its route requires";
                self.close(Some(local(Enhanced(4, 7, 4), text)));
            }
        }
    }

    fn authenticate(&mut self, now: Instant) {
        let Some(credentials) = self.opening.credentials.take() else {
            return self.become_ready();
        };
        if !self.encrypted && !self.opening.credentials_in_clear {
            let text = "the connection is not encrypted, so the credentials are not sent";
            return self.close(Some(local(Enhanced(4, 7, 4), text)));
        }
        match ClientSaslExchange::begin(credentials, &self.capabilities) {
            Some((exchange, line)) => {
                self.say(&line);
                self.wait(Stage::Auth(exchange), now);
            }
            None => {
                let text = "the next hop offers no AUTH mechanism for the credentials";
                self.close(Some(local(Enhanced(4, 7, 4), text)));
            }
        }
    }

    fn hello(&mut self, tried: HelloVerb, now: Instant) {
        let verb = match (self.opening.protocol, tried) {
            (DeliveryProtocol::Lmtp, _) => "LHLO",
            (DeliveryProtocol::Smtp, HelloVerb::Helo) => "HELO",
            (DeliveryProtocol::Smtp, HelloVerb::Ehlo) => "EHLO",
        };
        let line = format!("{verb} {}", self.opening.hello_name);
        self.say(&line);
        self.wait(Stage::Hello(tried), now);
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn wait(&mut self, stage: Stage, now: Instant) {
        self.deadline = Some(now + self.timeouts.greeting);
        self.state = State::Opening(stage);
    }

    fn close_with(&mut self, to: AnsweredCommand, mut reply: Reply) {
        truncate_text(&mut reply);
        self.close(Some(Cause::Reply { reply, to: Some(to) }));
    }
}
