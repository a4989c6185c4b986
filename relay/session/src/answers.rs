//! Why did the client get these replies? Every reply with its reasons, for those who ask.
//!
//! An explanation asks; a session that serves a client keeps none of it. A reply is noted where
//! it is written, so that no reply can be missing here.

use relay_mail::reply::Reply;

use crate::Session;
use relay_policy::{Because, Consequence, Decision};

/// The replies since the last time they were taken.
#[derive(Debug, Default)]
pub(super) struct ExplainedReplies {
    list: Vec<Decision>,
    /// Reasons of the reply that comes next.
    reasons: Vec<Because>,
}

impl ExplainedReplies {
    /// Reasons of the next reply.
    pub(super) fn because(&mut self, because: &[Because]) {
        self.reasons.extend_from_slice(because);
    }

    /// The client is told this.
    pub(super) fn reply(&mut self, reply: Reply) {
        let because = std::mem::take(&mut self.reasons);
        self.list.push(Decision { reply, because, consequence: Consequence::None });
    }

    /// What TLS brings to light belongs to the reply that it began with.
    fn take(&mut self) -> Vec<Decision> {
        if let Some(last) = self.list.last_mut() {
            last.because.append(&mut self.reasons);
        }
        std::mem::take(&mut self.list)
    }
}

impl Session {
    /// The replies since the last call, in order, each with all of its reasons. Empty unless the session
    /// began with [`Session::explained`].
    pub fn take_answers(&mut self) -> Vec<Decision> {
        self.output.answers.as_deref_mut().map(ExplainedReplies::take).unwrap_or_default()
    }
}
