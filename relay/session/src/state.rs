//! Which command is legal in which state, and what is its effect?
//!
//! Each state owns its data: an envelope cannot be used before MAIL, nor used twice, since a
//! command consumes the state. Refusals come before changes. The whole table, every command in
//! every state, is in tests/transitions.snap.

mod message;
mod recipients;

use std::net::SocketAddr;
use std::sync::Arc;

use crate::hello::{Hello, HelloKind};
use crate::reception::{MessageInput, Reception, WaitingForStore};
use crate::state::recipients::EnvelopeRecipients;
use crate::{Conditions, Context};
use relay_connector::Connection;
use relay_mail::dsn::Addressee;
use relay_mail::envelope::Envelope;
use relay_mail::heap::HeapOctets;
use relay_mail::hello::HelloName;
use relay_mail::reply::{self, Reply};
use relay_message::finding::SenderFinding;
use relay_policy::{self, Decision, DecisionOrInquiry, Inquiry};
use relay_smtp::command::{Command, Mail, XClient};
use relay_smtp::sasl::SaslExchange;
use relay_users::User;

pub(super) use crate::state::message::Skipping;

/// The state of the dialogue.
#[derive(Debug)]
pub(super) enum SessionState {
    /// After AUTH, before its end.
    Authenticating(Authenticating),
    /// After a chunk that was not the last.
    Chunking(Reception),
    /// Nothing more will happen.
    Closed,
    /// Before HELO or EHLO.
    Connected(ConnectedState),
    /// After MAIL, before the first accepted RCPT.
    Mail(MailGiven),
    /// Between messages.
    Ready(Ready),
    /// After 354, or within a chunk.
    Receiving(Reception),
    /// At least one recipient is accepted.
    Recipients(EnvelopeRecipients),
    /// After XCLIENT, before it is known whose connector this is.
    Reclassifying(Connection),
    /// After the end of data, while another server is asked about the message.
    Screening(Screening),
    /// Within a chunk that is refused.
    Skipping(Skipping),
    /// After 220 to STARTTLS, before the handshake is complete.
    StartingTls,
    /// After DATA or the first BDAT, before the queue has begun the message.
    WaitingForQueue(WaitingForQueue),
    /// After the end of data, before its reply.
    WaitingForStore(WaitingForStore),
}

/// Nothing is known of the client but its address.
#[derive(Debug)]
pub(super) struct ConnectedState;

/// After AUTH, before its end: every line is a message of the exchange.
#[derive(Debug)]
pub(super) struct Authenticating {
    pub(super) hello: Hello,
    pub(super) exchange: SaslExchange,
}

/// The message is in the queue, and another server is asked about it.
#[derive(Debug)]
pub(super) struct Screening {
    pub(super) waiting: WaitingForStore,
    /// The decision of everything else.
    pub(super) allowed: Decision,
}

#[derive(Debug)]
pub(super) struct Ready {
    pub(super) hello: Hello,
    /// A MAIL or a chunk was refused. The RCPT, DATA and BDAT that a pipelining client sent after
    /// it get their usual replies, but are no errors of the client.
    transaction_refused: bool,
}

#[derive(Debug)]
pub(super) struct MailGiven {
    hello: Hello,
    mail: Mail,
    /// The same for DATA and BDAT after a RCPT that was refused.
    recipient_refused: bool,
}

impl MailGiven {
    /// Octets that it points to.
    pub(super) fn octets(&self) -> usize {
        self.mail.heap_octets()
    }
}

/// The envelope is with the queue.
#[derive(Debug)]
pub(super) struct WaitingForQueue {
    hello: Hello,
    smtputf8: bool,
    pub(super) input: MessageInput,
}

/// The effect of a command besides the change of state.
#[derive(Debug)]
pub(super) enum Effect {
    /// The command needs this answer first. The state does not change.
    Ask(Inquiry, Box<Command>),
    /// The client has proved to be this user.
    Authenticated(Decision, Arc<User>),
    /// XCLIENT: the session is that of another client, on this connection.
    BecomeClient(XClient, Connection),
    BeginMessage(Envelope),
    /// The decision says what follows beside its reply.
    Decided(Decision),
    /// Octets of the client come next; it is answered after them.
    Nothing,
    Quit,
    /// A reply for which no rule was asked.
    Reply(Reply),
    StartTls(Decision),
}

impl Effect {
    /// The command is not legal in this state.
    pub(super) fn out_of_order(reply: Reply) -> Self {
        Self::Decided(relay_policy::out_of_order(reply))
    }
}

impl SessionState {
    /// The state at the beginning, and again after a TLS handshake.
    pub(super) fn connected() -> Self {
        Self::Connected(ConnectedState)
    }

    /// The client may have sent more chunks of a message that was refused.
    pub(super) fn expect_more_chunks(&mut self) {
        if let Self::Ready(ready) = self {
            ready.transaction_refused = true;
        }
    }

    /// Moves the state out. The state left behind exists only until the next one is set.
    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::Closed)
    }

    /// The effect of a command in this state.
    pub(super) fn apply(self, command: Command, context: &Context) -> (Self, Effect) {
        match command {
            Command::Helo(name) => self.hello(name, HelloKind::Helo, context),
            Command::Ehlo(name) => self.hello(name, HelloKind::Ehlo, context),
            Command::StartTls => self.start_tls(context),
            Command::Auth(auth) => self.auth(auth, context),
            Command::Response(response) => self.respond(response, context),
            Command::Mail(mail) => self.mail(mail, context),
            Command::Rcpt(recipient) => self.rcpt(recipient, context),
            Command::Data => self.data(),
            Command::Bdat(chunk) => self.bdat(chunk, context),
            Command::Rset => (self.reset(), Effect::Reply(reply::RESETTING)),
            Command::Noop => (self, Effect::Reply(reply::NOOP_OK)),
            Command::Vrfy => (self, Effect::Reply(reply::CANNOT_VERIFY)),
            Command::Help => (self, Effect::Reply(reply::HELP)),
            Command::Quit => (self, Effect::Quit),
            Command::XClient(told) => match self {
                Self::Connected(_) | Self::Ready(_) => {
                    let connection = told_connection(&context.connection, &told);
                    (Self::Reclassifying(connection), Effect::BecomeClient(told, connection))
                }
                _ => (self, Effect::out_of_order(reply::BAD_SEQUENCE)),
            },
        }
    }

    /// The client's name, if it has introduced itself.
    pub(super) fn hello_name(&self) -> Option<String> {
        match self {
            Self::Ready(state) => Some(state.hello.name.as_str().to_owned()),
            _ => None,
        }
    }

    /// RFC 5321 section 4.1.4: HELO and EHLO may be repeated, and then end a transaction.
    fn hello(self, name: HelloName, kind: HelloKind, context: &Context) -> (Self, Effect) {
        let name = context.told_hello.clone().unwrap_or(name);
        let decision = match kind {
            HelloKind::Ehlo => relay_policy::ehlo(
                &context.rules,
                &context.peer,
                context.connection.client(),
                &name,
            ),
            HelloKind::Helo => {
                relay_policy::helo(&context.peer, context.connection.client(), &name)
            }
        };
        if !decision.reply.is_positive() {
            return (self, Effect::Decided(decision));
        }
        (Self::Ready(Ready::new(Hello { name, kind })), Effect::Decided(decision))
    }

    fn start_tls(self, context: &Context) -> (Self, Effect) {
        match self {
            Self::Connected(_) => (self, Effect::out_of_order(reply::HELLO_FIRST)),
            Self::Ready(_) => {
                let decision = relay_policy::start_tls(&context.peer);
                if !decision.reply.is_positive() {
                    (self, Effect::Decided(decision))
                } else if !context.conditions.certificate {
                    (self, Effect::Decided(relay_policy::no_certificate()))
                } else {
                    (Self::StartingTls, Effect::StartTls(decision))
                }
            }
            _ => (self, Effect::out_of_order(reply::BAD_SEQUENCE)),
        }
    }

    fn mail(self, mut mail: Mail, context: &Context) -> (Self, Effect) {
        match self {
            Self::Ready(Ready { hello, transaction_refused }) => {
                let client = context.client(&hello);
                let Conditions { pressure, queue, .. } = &context.conditions;
                let (rules, peer, findings) = (&context.rules, &context.peer, &context.findings);
                let host = (*pressure, queue.as_ref().err());
                let begun =
                    relay_policy::begin_transaction(rules, peer, &client, &mail, host, findings);
                let effect = match begun {
                    DecisionOrInquiry::Decided(mut decision) if decision.reply.is_positive() => {
                        let found = match &context.findings.sender {
                            Some(SenderFinding::Found(found)) => Some(found),
                            Some(SenderFinding::NotAsked) | None => None,
                        };
                        let Mail { sender, dsn, .. } = &mut mail;
                        relay_policy::limit_ret(peer, sender, found, dsn, &mut decision);
                        let given = MailGiven { hello, mail, recipient_refused: false };
                        return (Self::Mail(given), Effect::Decided(decision));
                    }
                    DecisionOrInquiry::Needs(inquiry) => {
                        let state = Self::Ready(Ready { hello, transaction_refused });
                        return (state, Effect::Ask(inquiry, Box::new(Command::Mail(mail))));
                    }
                    DecisionOrInquiry::Decided(decision) => Effect::Decided(decision),
                };
                (Self::Ready(Ready::after_refusal(hello)), effect)
            }
            Self::Chunking(_) | Self::Mail(_) | Self::Recipients(_) => {
                (self, Effect::out_of_order(reply::SENDER_ALREADY_SPECIFIED))
            }
            _ => (self, Effect::out_of_order(reply::HELLO_FIRST)),
        }
    }

    fn rcpt(self, mut recipient: Addressee, context: &Context) -> (Self, Effect) {
        let (mail, so_far, octets) = match &self {
            Self::Mail(state) => (&state.mail, 0, 0),
            Self::Recipients(state) => (&state.mail, state.accepted, state.list_octets()),
            Self::Ready(ready) => {
                let effect = ready.without_sender();
                return (self, effect);
            }
            Self::Chunking(_) => return (self, Effect::out_of_order(reply::BAD_SEQUENCE)),
            _ => return (self, Effect::out_of_order(reply::HELLO_FIRST)),
        };
        if let Some(refusal) = relay_policy::needs_smtputf8(recipient.is_ascii(), mail.smtputf8) {
            return (self.without(), Effect::Decided(refusal));
        }
        let (rules, peer, findings) = (&context.rules, &context.peer, &context.findings);
        match relay_policy::rcpt(rules, peer, &recipient.path, so_far, findings) {
            DecisionOrInquiry::Needs(inquiry) => {
                (self, Effect::Ask(inquiry, Box::new(Command::Rcpt(recipient))))
            }
            DecisionOrInquiry::Decided(mut decision) => {
                if decision.reply.is_positive()
                    && let Some(refusal) =
                        relay_policy::rcpt_over_memory_share(context.memory_is_short, octets)
                {
                    decision = refusal;
                }
                let is_accepted = decision.reply.is_positive();
                if is_accepted {
                    let (found, dsn) = (context.sender.as_ref(), &mut recipient.dsn);
                    relay_policy::limit_notify(peer, &mail.sender, found, dsn, &mut decision);
                }
                let state = match is_accepted {
                    true => self.with(rules.addressed(recipient)),
                    false => self.without(),
                };
                (state, Effect::Decided(decision))
            }
        }
    }

    /// After an accepted RCPT.
    fn with(self, recipient: Addressee) -> Self {
        match self {
            Self::Mail(MailGiven { hello, mail, .. }) => {
                Self::Recipients(EnvelopeRecipients::new(hello, mail, recipient))
            }
            Self::Recipients(mut state) => {
                state.add(recipient);
                Self::Recipients(state)
            }
            other => other,
        }
    }

    /// After a refused RCPT.
    fn without(self) -> Self {
        match self {
            Self::Mail(state) => Self::Mail(MailGiven { recipient_refused: true, ..state }),
            other => other,
        }
    }

    fn reset(self) -> Self {
        match self {
            Self::Chunking(reception) => Self::Ready(Ready::new(reception.hello().clone())),
            Self::Mail(MailGiven { hello, .. })
            | Self::Ready(Ready { hello, .. })
            | Self::Recipients(EnvelopeRecipients { hello, .. }) => Self::Ready(Ready::new(hello)),
            _ => self,
        }
    }
}

/// The connection as XCLIENT states it. Without an address in XCLIENT, the client is the one of the
/// connection so far; a port says nothing without its address.
fn told_connection(connection: &Connection, told: &XClient) -> Connection {
    match told.address {
        Some(address) => connection.through_proxy(SocketAddr::new(address, told.port.unwrap_or(0))),
        None => *connection,
    }
}

impl Ready {
    pub(super) fn new(hello: Hello) -> Self {
        Self { hello, transaction_refused: false }
    }

    /// After a MAIL or a chunk that was refused.
    pub(super) fn after_refusal(hello: Hello) -> Self {
        Self { hello, transaction_refused: true }
    }

    /// RCPT, DATA or BDAT without MAIL.
    fn without_sender(&self) -> Effect {
        match self.transaction_refused {
            true => Effect::Reply(reply::NEED_MAIL),
            false => Effect::out_of_order(reply::NEED_MAIL),
        }
    }
}

impl WaitingForStore {
    /// The message has its reply.
    pub(super) fn end(self) -> SessionState {
        SessionState::Ready(Ready::new(self.hello))
    }
}
