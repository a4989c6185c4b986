//! A command that waits until somebody else has answered.
//!
//! The policy says what it needs to know, the driver finds it out, and the same command is then
//! applied to the same state. Until then nothing more is read. An answer that does not come in time
//! is a finding as well, which the policy judges; it never ends the session.

use std::time::Instant;

use crate::policy::{Finding, Inquiry};
use crate::smtp::command::Command;
use crate::smtp::session::{Action, Session};

/// What the session waits for, and what it does then.
#[derive(Debug)]
pub(super) struct Asked {
    inquiry: Inquiry,
    command: Command,
}

impl Session {
    /// What came of [`Action::Ask`].
    pub fn handle_finding(&mut self, now: Instant, finding: Finding) {
        self.now = now;
        let Some(Asked { command, .. }) = self.asked.take() else { return };
        // The client had to wait for us; that was no silence of its own.
        self.timers.active(now);
        self.context.findings.insert(finding);
        self.apply(command);
    }

    /// The command goes on when the inquiry has its answer.
    pub(super) fn ask(&mut self, inquiry: Inquiry, command: Command) {
        self.timers.ask(self.now);
        self.output.push(Action::Ask(inquiry.clone()));
        self.asked = Some(Asked { inquiry, command });
    }

    /// No answer came in time.
    pub(super) fn unanswered(&mut self) {
        if let Some(asked) = &self.asked {
            self.handle_finding(self.now, asked.inquiry.unanswered());
        }
    }
}
