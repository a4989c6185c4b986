//! AUTH in the dialogue (RFC 4954 section 4): the command, the lines of its exchange, its end.
//!
//! It begins between messages and returns there. [`relay_smtp::sasl`] interprets the messages of
//! the exchange; [`relay_policy`] decides about its outcome.

use std::sync::Arc;

use crate::hello::Hello;
use crate::state::{Authenticating, Effect, Ready, SessionState};
use crate::{Context, Session};
use relay_mail::reply;
use relay_policy::{self, DecisionOrInquiry, PasswordFinding};
use relay_smtp::command::{
    AuthCommand, Command, CommandError, Response, SaslMessage, Verb, begins_chunk,
};
use relay_smtp::sasl::{ClaimedIdentity, Mechanism, SaslExchange, SaslStep};

impl Session {
    /// A line while an exchange is under way.
    pub(super) fn response(&mut self, line: &[u8]) {
        match Response::parse(line) {
            Ok(response) => self.apply(Command::Response(response)),
            // No response, but BDAT of a client that ignores replies: its chunk follows.
            Err(_) if begins_chunk(line) => {
                self.end_exchange();
                self.refuse_chunk_command();
            }
            Err(error) => {
                self.end_exchange();
                self.fault(Verb::Auth, error.reply(), &error);
            }
        }
    }

    /// A running exchange has failed; any other state stays.
    pub(super) fn end_exchange(&mut self) {
        self.state = match self.state.take() {
            SessionState::Authenticating(state) => SessionState::Ready(Ready::new(state.hello)),
            other => other,
        };
    }
}

impl SessionState {
    pub(super) fn auth(self, auth: AuthCommand, context: &Context) -> (Self, Effect) {
        let ready = match self {
            Self::Ready(ready) => ready,
            Self::Connected(_) => return (self, Effect::out_of_order(reply::HELLO_FIRST)),
            _ => return (self, Effect::out_of_order(reply::BAD_SEQUENCE)),
        };
        // RFC 4954 section 4: no more than once.
        if context.peer.user.is_some() {
            return (Self::Ready(ready), Effect::out_of_order(reply::BAD_SEQUENCE));
        }
        let decision = relay_policy::auth(&context.rules, &context.peer, &auth.mechanism);
        let mechanism = Mechanism::of_name(&auth.mechanism);
        let (Some(mechanism), true) = (mechanism, decision.reply.is_positive()) else {
            return (Self::Ready(ready), Effect::Decided(decision));
        };
        if context.conditions.logon_is_refused {
            return (Self::Ready(ready), Effect::Decided(relay_policy::logon_refused()));
        }
        let (exchange, challenge) = SaslExchange::begin(mechanism);
        match &auth.initial {
            None => (authenticating(ready.hello, exchange), challenged(challenge)),
            Some(message) => {
                let step = exchange.step(
                    &message.0,
                    &context.rules.users,
                    context.conditions.seed.as_ref(),
                );
                advance(ready.hello, step, Command::Auth(auth), context, Self::ready)
            }
        }
    }

    /// A line of the exchange.
    pub(super) fn respond(self, response: Response, context: &Context) -> (Self, Effect) {
        let Authenticating { hello, exchange } = match self {
            Self::Authenticating(state) => state,
            // Elsewhere no line is taken for one.
            _ => return (self, Effect::out_of_order(reply::BAD_SEQUENCE)),
        };
        let Response::Message(SaslMessage(message)) = &response else {
            let cancelled = reply::AUTHENTICATION_CANCELLED;
            let refusal = relay_policy::malformed(cancelled, &"the client cancelled the exchange");
            return (Self::ready(hello), Effect::Decided(refusal));
        };
        let step = exchange.step(message, &context.rules.users, context.conditions.seed.as_ref());
        let again = |hello| authenticating(hello, exchange);
        advance(hello, step, Command::Response(response), context, again)
    }

    fn ready(hello: Hello) -> Self {
        Self::Ready(Ready::new(hello))
    }
}

fn authenticating(hello: Hello, exchange: SaslExchange) -> SessionState {
    SessionState::Authenticating(Authenticating { hello, exchange })
}

fn challenged(challenge: Vec<u8>) -> Effect {
    Effect::Reply(reply::CHALLENGE.with_text(SaslMessage(challenge).encoded()))
}

/// Handles a message. While a password is compared, the session stays in the state before it, which
/// `again` makes.
fn advance(
    hello: Hello,
    step: SaslStep,
    command: Command,
    context: &Context,
    again: impl FnOnce(Hello) -> SessionState,
) -> (SessionState, Effect) {
    let end = |claim: ClaimedIdentity, decision: relay_policy::Decision| match claim.user {
        Some(user) if decision.reply.is_positive() => Effect::Authenticated(decision, user),
        _ => Effect::Decided(decision),
    };
    let effect = match step {
        SaslStep::Challenge(exchange, challenge) => {
            return (authenticating(hello, exchange), challenged(challenge));
        }
        SaslStep::Compare(claim, check) => {
            match relay_policy::password(&context.peer, &claim, &check, &context.findings) {
                DecisionOrInquiry::Needs(inquiry) => {
                    return (again(hello), Effect::Ask(inquiry, Box::new(command)));
                }
                DecisionOrInquiry::Decided(decision) => end(claim, decision),
            }
        }
        SaslStep::Proven(user) => {
            let claim =
                ClaimedIdentity { name: Some(user.name.clone()), user: Some(Arc::clone(&user)) };
            let decision = relay_policy::logon(&context.peer, &claim, &PasswordFinding::Right);
            end(claim, decision)
        }
        SaslStep::Unproven(claim, why) => {
            let proof = PasswordFinding::Wrong(why.to_owned());
            let decision = relay_policy::logon(&context.peer, &claim, &proof);
            end(claim, decision)
        }
        SaslStep::Unavailable(why) => {
            let proof = PasswordFinding::Unavailable(why.to_owned());
            let unknown = ClaimedIdentity { name: None, user: None };
            end(unknown.clone(), relay_policy::logon(&context.peer, &unknown, &proof))
        }
        SaslStep::Malformed(why) => {
            let error = CommandError::Sasl(why);
            Effect::Decided(relay_policy::malformed(error.reply(), &error))
        }
    };
    (SessionState::ready(hello), effect)
}
