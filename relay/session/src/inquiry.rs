//! A command, or a message, that waits for the answer of another server.
//!
//! The policy states the needed fact, the driver finds it, and the same command is then applied to
//! the same state, or the same message is checked again. Until then nothing more is read. If no
//! answer arrives in time, that is a finding as well, about which the policy decides; it never ends
//! the session.

use std::time::Instant;

use crate::{Action, Session};
use relay_policy::{Inquiry, InquiryAnswer};
use relay_smtp::command::Command;

/// The inquiry that the session waits for, and its next step.
#[derive(Debug)]
pub(super) struct PendingInquiry {
    inquiry: Inquiry,
    waiting: Waiting,
}

/// The command or message that waits for the answer.
#[derive(Debug)]
pub(super) enum Waiting {
    Command(Command),
    /// The message of the state.
    Message,
}

impl Session {
    /// The result of [`Action::Ask`].
    pub fn handle_finding(&mut self, now: Instant, finding: InquiryAnswer) {
        self.now = now;
        let Some(PendingInquiry { waiting, .. }) = self.asked.take() else { return };
        // The client had to wait for us; that was not its own silence.
        self.timers.active(now);
        self.context.findings.insert(finding);
        match waiting {
            Waiting::Command(command) => self.apply(command),
            Waiting::Message => self.screen_again(),
        }
    }

    /// `waiting` continues after the inquiry has its answer.
    pub(super) fn ask(&mut self, inquiry: Inquiry, waiting: Waiting) {
        self.timers.ask(self.now);
        self.output.push(Action::Ask(inquiry.clone()));
        self.asked = Some(PendingInquiry { inquiry, waiting });
    }

    /// No answer arrived in time.
    pub(super) fn unanswered(&mut self) {
        if let Some(asked) = &self.asked {
            self.handle_finding(self.now, asked.inquiry.without_answer());
        }
    }
}
