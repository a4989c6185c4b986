//! A command, or a message, that waits until somebody else has answered.
//!
//! The policy says what it needs to know, the driver finds it out, and the same command is then
//! applied to the same state, or the same message judged again. Until then nothing more is read. An answer that does not come in time
//! is a finding as well, which the policy judges; it never ends the session.

use std::time::Instant;

use crate::{Action, Session};
use relay_policy::{Inquiry, InquiryAnswer};
use relay_smtp::command::Command;

/// What the session waits for, and what it does then.
#[derive(Debug)]
pub(super) struct PendingInquiry {
    inquiry: Inquiry,
    waiting: Waiting,
}

/// What waits for the answer.
#[derive(Debug)]
pub(super) enum Waiting {
    Command(Command),
    /// The message of the state.
    Message,
}

impl Session {
    /// What came of [`Action::Ask`].
    pub fn handle_finding(&mut self, now: Instant, finding: InquiryAnswer) {
        self.now = now;
        let Some(PendingInquiry { waiting, .. }) = self.asked.take() else { return };
        // The client had to wait for us; that was no silence of its own.
        self.timers.active(now);
        self.context.findings.insert(finding);
        match waiting {
            Waiting::Command(command) => self.apply(command),
            Waiting::Message => self.screen_again(),
        }
    }

    /// What waits goes on when the inquiry has its answer.
    pub(super) fn ask(&mut self, inquiry: Inquiry, waiting: Waiting) {
        self.timers.ask(self.now);
        self.output.push(Action::Ask(inquiry.clone()));
        self.asked = Some(PendingInquiry { inquiry, waiting });
    }

    /// No answer came in time.
    pub(super) fn unanswered(&mut self) {
        if let Some(asked) = &self.asked {
            self.handle_finding(self.now, asked.inquiry.without_answer());
        }
    }
}
