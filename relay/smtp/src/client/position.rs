//! To which command does the next reply belong, and at which stage is the session?

use relay_mail::outcome::AnsweredCommand;

use super::progress::ClientCommand;
use super::{ClientSession, State};

impl ClientSession {
    /// The recipient whose reply is next.
    pub(super) fn awaited_recipient(&self) -> Option<usize> {
        let State::Envelope(progress) = &self.state else { return None };
        match progress.awaited() {
            Some(ClientCommand::Recipient(place)) => Some(place),
            Some(ClientCommand::Mail | ClientCommand::Data) | None => None,
        }
    }

    /// The command of the next reply.
    pub(super) fn asked(&self) -> AnsweredCommand {
        match &self.state {
            State::Opening(stage) => stage.last_command(),
            State::Envelope(progress) => match progress.awaited() {
                Some(ClientCommand::Mail) => AnsweredCommand::Mail,
                Some(ClientCommand::Recipient(_)) => AnsweredCommand::Rcpt,
                Some(ClientCommand::Data) => AnsweredCommand::Data,
                // All replies have arrived: the next one is about the message.
                None => AnsweredCommand::Message,
            },
            State::Message(..) | State::EndOfData(_) | State::Answered(_) => {
                AnsweredCommand::Message
            }
            State::Resetting => AnsweredCommand::Reset,
            State::Ready | State::Leaving(_) | State::Quitting | State::Closed => {
                AnsweredCommand::Nothing
            }
        }
    }

    /// The stage of the session, for the sentence that a report quotes.
    pub(super) fn stage(&self) -> &'static str {
        match &self.state {
            State::Opening(stage) => stage.name(),
            State::Ready => "between two messages",
            State::Envelope(progress) => match progress.awaited() {
                Some(ClientCommand::Recipient(_)) => "after RCPT",
                Some(ClientCommand::Data) => "after DATA",
                Some(ClientCommand::Mail) | None => "after MAIL",
            },
            State::Message(..) => "within the message",
            State::EndOfData(_) | State::Answered(_) => "after the end of data",
            State::Resetting => "after RSET",
            State::Leaving(_) | State::Quitting | State::Closed => "after QUIT",
        }
    }
}
