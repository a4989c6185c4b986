//! From the greeting to the first transaction: EHLO, STARTTLS (RFC 3207), EHLO again, AUTH.

use std::time::Instant;

use crate::client::auth::Exchange;
use crate::client::{
    Capabilities, Credentials, Event, ReplyParser, Session, State, local, shorten,
};
use relay_mail::outcome::Asked;
use relay_mail::outcome::Cause;
use relay_mail::protocol::Protocol;
use relay_mail::reply::{Enhanced, Reply};

/// What is done before a transaction may begin.
#[derive(Clone, Debug)]
pub struct Opening {
    /// What the next hop speaks.
    pub protocol: Protocol,
    /// What we call ourselves in EHLO.
    pub hello_name: String,
    /// When the connection is encrypted.
    pub encryption: Encryption,
    /// Who we are for the next hop.
    pub credentials: Option<Credentials>,
    /// The credentials may be said without encryption.
    pub credentials_in_clear: bool,
    /// One command at a time and no chunks, whatever is offered: see [`Session::was_misled`].
    pub plainly: bool,
}

/// When a connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    /// Never.
    Never,
    /// Where STARTTLS is offered and not refused.
    WhereOffered,
    /// Always, by STARTTLS, or the next hop is not used.
    Always,
    /// From the first octet, before the greeting (RFC 8314 section 3).
    Implicit,
}

/// How far the opening has come.
#[derive(Debug)]
pub(super) enum Stage {
    Greeting,
    Hello {
        /// EHLO was refused and HELO is tried.
        helo: bool,
    },
    /// The reply to STARTTLS is awaited.
    StartTls,
    /// The driver does the handshake.
    Handshake,
    Auth(Exchange),
}

impl Opening {
    /// EHLO and nothing else.
    pub fn plain(hello_name: impl Into<String>) -> Self {
        Self {
            protocol: Protocol::Smtp,
            hello_name: hello_name.into(),
            encryption: Encryption::Never,
            credentials: None,
            credentials_in_clear: false,
            plainly: false,
        }
    }
}

impl Stage {
    /// Where the session stands, for the sentence that a report quotes.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Greeting => "before the greeting",
            Self::Hello { .. } => "after EHLO or HELO",
            Self::StartTls => "after STARTTLS",
            Self::Handshake => "in the TLS handshake",
            Self::Auth(_) => "after AUTH",
        }
    }
}

impl Stage {
    /// What a reply is to.
    pub(super) const fn asked(&self) -> Asked {
        match self {
            Self::Greeting => Asked::Connection,
            Self::Hello { .. } => Asked::Hello,
            Self::StartTls | Self::Handshake => Asked::StartTls,
            Self::Auth(_) => Asked::Auth,
        }
    }
}

impl Session {
    /// The handshake that [`Event::StartTls`] asked for is done. What was said before it is
    /// forgotten (RFC 3207 section 4.2), and EHLO is said again. With implicit TLS nothing was said,
    /// and the next hop speaks first.
    pub fn handle_encrypted(&mut self, now: Instant) {
        if matches!(self.state, State::Opening(Stage::Handshake)) {
            self.encrypted = true;
            self.capabilities = Capabilities::default();
            self.parser = ReplyParser::default();
            match self.opening.encryption {
                Encryption::Implicit => self.wait(Stage::Greeting, now),
                _ => self.hello(false, now),
            }
        }
    }

    /// The handshake that [`Event::StartTls`] asked for has failed. The connection is of no more use.
    pub fn handle_failed_handshake(&mut self, reason: &str) {
        // X.7.5 of RFC 3463: cryptographic failure.
        let text = format!("the TLS handshake with the next hop failed: {reason}");
        self.fail(local(Enhanced(4, 7, 5), text));
    }

    /// Nothing may be read any more in plain text: the next hop has agreed to TLS. Whatever came
    /// behind its 220 came from who knows whom.
    pub(super) fn refuse_plain_text(&mut self) {
        let text = "plain text behind the reply to STARTTLS";
        self.fail(local(Enhanced(4, 7, 0), text));
    }

    pub(super) fn handle_opening(&mut self, stage: Stage, reply: Reply, now: Instant) {
        match stage {
            Stage::Greeting if reply.code == 220 => self.hello(false, now),
            Stage::Hello { helo: false } if reply.code == 250 => {
                self.capabilities = Capabilities::parse(&reply.text);
                if self.opening.plainly {
                    self.capabilities.pipelining = false;
                    self.capabilities.chunking = false;
                }
                self.start_tls(now);
            }
            Stage::Hello { helo: true } if reply.code == 250 => self.start_tls(now),
            // RFC 5321 section 3.2: a server that does not know EHLO may know HELO.
            Stage::Hello { helo: false }
                if reply.code / 100 == 5 && self.opening.protocol == Protocol::Smtp =>
            {
                self.hello(true, now);
            }
            Stage::StartTls if reply.code == 220 => {
                self.wait(Stage::Handshake, now);
                self.events.push_back(Event::StartTls);
            }
            Stage::StartTls
                if matches!(reply.code / 100, 4 | 5)
                    && self.opening.encryption == Encryption::WhereOffered =>
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
                    let text = "the next hop asks for more than AUTH has to say";
                    self.close(Some(local(Enhanced(4, 5, 0), text)));
                }
            },
            stage => self.close_with(stage.asked(), reply),
        }
    }

    fn start_tls(&mut self, now: Instant) {
        match self.opening.encryption {
            _ if self.encrypted => self.authenticate(now),
            Encryption::Never => self.authenticate(now),
            _ if self.capabilities.starttls => {
                self.say("STARTTLS");
                self.wait(Stage::StartTls, now);
            }
            Encryption::WhereOffered => self.authenticate(now),
            Encryption::Always | Encryption::Implicit => {
                // X.7.4 of RFC 3463: security features not supported.
                let text = "the next hop does not offer STARTTLS, without which it is not used";
                self.close(Some(local(Enhanced(4, 7, 4), text)));
            }
        }
    }

    fn authenticate(&mut self, now: Instant) {
        let Some(credentials) = self.opening.credentials.take() else {
            return self.become_ready();
        };
        if !self.encrypted && !self.opening.credentials_in_clear {
            let text = "the connection is not encrypted, so the credentials are not said";
            return self.close(Some(local(Enhanced(4, 7, 4), text)));
        }
        match Exchange::begin(credentials, &self.capabilities) {
            Some((exchange, line)) => {
                self.say(&line);
                self.wait(Stage::Auth(exchange), now);
            }
            None => {
                let text = "the next hop offers no AUTH that the credentials are for";
                self.close(Some(local(Enhanced(4, 7, 4), text)));
            }
        }
    }

    fn hello(&mut self, helo: bool, now: Instant) {
        let verb = match self.opening.protocol {
            Protocol::Lmtp => "LHLO",
            Protocol::Smtp if helo => "HELO",
            Protocol::Smtp => "EHLO",
        };
        let line = format!("{verb} {}", self.opening.hello_name);
        self.say(&line);
        self.wait(Stage::Hello { helo }, now);
    }

    fn say(&mut self, line: &str) {
        self.output.extend_from_slice(line.as_bytes());
        self.output.extend_from_slice(b"\r\n");
    }

    fn wait(&mut self, stage: Stage, now: Instant) {
        self.deadline = Some(now + self.timeouts.greeting);
        self.state = State::Opening(stage);
    }

    fn close_with(&mut self, to: Asked, mut reply: Reply) {
        shorten(&mut reply);
        self.close(Some(Cause::Reply { reply, to: Some(to) }));
    }
}
