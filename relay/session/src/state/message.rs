//! DATA and BDAT: where may a message begin or continue, and in which form does it arrive?

use crate::reception::{MessageInput, Reception};
use crate::state::{Effect, EnvelopeRecipients, MailGiven, Ready, SessionState, WaitingForQueue};
use crate::{Context, MessageBegun};
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::reply;
use relay_policy::{self, Decision};
use relay_smtp::command::{Chunk, Mail};

/// The octets of a refused chunk are read nevertheless (RFC 3030 section 2): otherwise they would
/// be read as commands. Then the client gets the reply.
#[derive(Debug)]
pub(crate) struct Skipping {
    /// Of the whole chunk.
    pub(crate) octets: u64,
    pub(crate) remaining: u64,
    pub(crate) then: Box<(SessionState, Effect)>,
}

impl SessionState {
    pub(super) fn data(self) -> (Self, Effect) {
        match self {
            Self::Recipients(EnvelopeRecipients { ref mail, .. })
                if mail.body == Some(BodyType::BinaryMime) =>
            {
                (self, Effect::out_of_order(reply::BINARYMIME_NEEDS_BDAT))
            }
            Self::Recipients(state) => state.begin(MessageInput::Data),
            Self::Chunking(_) => (self, Effect::out_of_order(reply::BAD_SEQUENCE)),
            _ => {
                let effect = self.without_recipients();
                (self, effect)
            }
        }
    }

    pub(super) fn bdat(self, chunk: Chunk, context: &Context) -> (Self, Effect) {
        let peer = &context.peer;
        match self {
            Self::Recipients(state) => {
                let decision = relay_policy::chunk(peer, 0, chunk.octets);
                if !decision.reply.is_positive() {
                    let next = Self::Ready(Ready::after_refusal(state.hello));
                    return next.after_skipping(chunk, Effect::Decided(decision));
                }
                let binary = state.mail.body == Some(BodyType::BinaryMime);
                state.begin(MessageInput::Chunks { first: chunk, binary })
            }
            Self::Chunking(mut reception) => {
                let decision = relay_policy::chunk(peer, reception.size(), chunk.octets);
                if !decision.reply.is_positive() {
                    let next = Self::Ready(Ready::after_refusal(reception.hello().clone()));
                    return next.after_skipping(chunk, Effect::Decided(decision));
                }
                reception.begin_chunk(chunk);
                (Self::Receiving(reception), Effect::Nothing)
            }
            _ => {
                let effect = self.without_recipients();
                self.after_skipping(chunk, effect)
            }
        }
    }

    /// DATA or BDAT where there are no recipients.
    fn without_recipients(&self) -> Effect {
        match self {
            Self::Mail(MailGiven { recipient_refused: true, .. }) => {
                Effect::Reply(reply::NEED_RECIPIENT)
            }
            Self::Mail(_) => Effect::out_of_order(reply::NEED_RECIPIENT),
            Self::Ready(ready) => ready.without_sender(),
            _ => Effect::out_of_order(reply::HELLO_FIRST),
        }
    }

    /// This state, after the octets of a refused chunk have been read.
    pub(super) fn after_skipping(self, chunk: Chunk, effect: Effect) -> (Self, Effect) {
        if chunk.octets == 0 {
            return (self, effect);
        }
        let then = Box::new((self, effect));
        (
            Self::Skipping(Skipping { octets: chunk.octets, remaining: chunk.octets, then }),
            Effect::Nothing,
        )
    }
}

impl EnvelopeRecipients {
    fn begin(self, input: MessageInput) -> (SessionState, Effect) {
        let Self { hello, mail, recipients, .. } = self;
        let Mail { sender, body, smtputf8, dsn, .. } = mail;
        let envelope =
            Envelope { sender, recipients, body: body.unwrap_or_default(), smtputf8, dsn };
        let waiting = WaitingForQueue { hello, smtputf8, input };
        (SessionState::WaitingForQueue(waiting), Effect::BeginMessage(envelope))
    }
}

impl WaitingForQueue {
    /// The queue has begun the message.
    pub(crate) fn begun(self, context: &Context, begun: MessageBegun) -> Reception {
        Reception::new(context, self.hello, self.smtputf8, self.input, begun)
    }

    /// The queue has refused the message, as `decision` says.
    pub(crate) fn refused(self, decision: Decision) -> (SessionState, Effect) {
        let effect = Effect::Decided(decision);
        match self.input {
            MessageInput::Data => (SessionState::Ready(Ready::new(self.hello)), effect),
            MessageInput::Chunks { first, .. } => {
                SessionState::Ready(Ready::after_refusal(self.hello)).after_skipping(first, effect)
            }
        }
    }
}
