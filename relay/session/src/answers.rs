//! Why did the client get these replies? Keeps every reply with its reasons, for explanations.
//!
//! A session that serves a client keeps none of them. A reply is noted where it is written, so no
//! reply can be missing here.

use relay_mail::reply::Reply;

use crate::Session;
use relay_policy::{Because, Consequence, Decision};

/// The replies since the last call of `take`.
#[derive(Debug, Default)]
pub(super) struct ExplainedReplies {
    list: Vec<Decision>,
    /// Reasons of the next reply.
    reasons: Vec<Because>,
}

impl ExplainedReplies {
    /// Reasons of the next reply.
    pub(super) fn because(&mut self, because: &[Because]) {
        self.reasons.extend_from_slice(because);
    }

    /// The client gets this reply.
    pub(super) fn reply(&mut self, reply: Reply) {
        let because = std::mem::take(&mut self.reasons);
        self.list.push(Decision { reply, because, consequence: Consequence::None });
    }

    /// Reasons that arise in TLS belong to the reply that started it.
    fn take(&mut self) -> Vec<Decision> {
        if let Some(last) = self.list.last_mut() {
            last.because.append(&mut self.reasons);
        }
        std::mem::take(&mut self.list)
    }
}

impl Session {
    /// The replies since the last call, in order, each with all of its reasons. Empty unless the
    /// session began with [`Session::explained`].
    pub fn take_answers(&mut self) -> Vec<Decision> {
        self.output.answers.as_deref_mut().map(ExplainedReplies::take).unwrap_or_default()
    }
}
