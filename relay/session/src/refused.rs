//! A refusal with the facts of its transaction: sender, recipients, Message-ID and From; and the list
//! of those that the driver has not fetched yet. `refusal_reports` decides what is a refusal.

use crate::limits::REFUSALS_UNTOLD;
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::reply::Reply;
use relay_message::identity::Identity;
use relay_policy::Because;
use relay_smtp::command::Verb;

/// One refusal, or a session that ended before its message had a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The verb, `CONNECT`, or `.` for the end of data; `None` if the session ended.
    pub command: Option<Verb>,
    /// The sender, if MAIL has named one.
    pub sender: Option<ReversePath>,
    /// The recipient that was refused, or those of the message, at most
    /// [`crate::limits::REFUSED_RECIPIENTS`].
    pub recipients: Vec<ForwardPath>,
    /// Further recipients of the message.
    pub recipients_left_out: usize,
    /// The message's own identification, once its header section has been read.
    pub identity: Identity,
    /// The reply to the client; `None` if the session ended.
    pub reply: Option<Reply>,
    /// The rule that decided.
    pub because: Option<Because>,
}

/// Refusals that the driver has not fetched yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Untold {
    pub(super) list: Vec<Refused>,
    pub(super) left_out: u64,
    /// Was something reported in this session?
    pub(super) has_told: bool,
}

impl Untold {
    pub(super) fn push(&mut self, refused: Refused) {
        self.has_told = true;
        if self.list.len() < REFUSALS_UNTOLD {
            self.list.push(refused);
        } else {
            self.left_out += 1;
        }
    }
}
