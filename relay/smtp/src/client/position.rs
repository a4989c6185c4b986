//! Which command does a reply belong to that comes now, and where does the session stand?

use relay_mail::outcome::Asked;

use super::progress::Command;
use super::{Session, State};

impl Session {
    /// The recipient whose reply comes next.
    pub(super) fn awaited_recipient(&self) -> Option<usize> {
        let State::Envelope(progress) = &self.state else { return None };
        match progress.awaited() {
            Some(Command::Recipient(place)) => Some(place),
            Some(Command::Mail | Command::Data) | None => None,
        }
    }

    /// What a reply that comes now is to.
    pub(super) fn asked(&self) -> Asked {
        match &self.state {
            State::Opening(stage) => stage.asked(),
            State::Envelope(progress) => match progress.awaited() {
                Some(Command::Mail) => Asked::Mail,
                Some(Command::Recipient(_)) => Asked::Rcpt,
                Some(Command::Data) => Asked::Data,
                // All replies have come: what follows is about the message that was to follow.
                None => Asked::Message,
            },
            State::Message(..) | State::EndOfData(_) | State::Answered(_) => Asked::Message,
            State::Resetting => Asked::Reset,
            State::Ready | State::Leaving(_) | State::Quitting | State::Closed => Asked::Nothing,
        }
    }

    /// Where the session stands, for the sentence that a report quotes.
    pub(super) fn stage(&self) -> &'static str {
        match &self.state {
            State::Opening(stage) => stage.name(),
            State::Ready => "between two messages",
            State::Envelope(progress) => match progress.awaited() {
                Some(Command::Recipient(_)) => "after RCPT",
                Some(Command::Data) => "after DATA",
                Some(Command::Mail) | None => "after MAIL",
            },
            State::Message(..) => "within the message",
            State::EndOfData(_) | State::Answered(_) => "after the end of data",
            State::Resetting => "after RSET",
            State::Leaving(_) | State::Quitting | State::Closed => "after QUIT",
        }
    }
}
