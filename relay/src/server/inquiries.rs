//! Performs what decisions need to know: see [`crate::policy::Inquiry`].

use crate::policy::antispam::{MessageFinding, SenderFinding};
use crate::policy::{Finding, Inquiry, RecipientFinding};
use crate::queue::Incoming;
use crate::server::Shared;

/// The answer, as soon as there is one. The caller bounds the time. `message` is the one that the
/// session has begun.
pub(super) async fn perform(
    inquiry: Inquiry,
    shared: &Shared,
    message: Option<&Incoming>,
) -> Finding {
    match inquiry {
        Inquiry::Message(question) => {
            let found = match message {
                Some(message) => shared.checks.load_full().message(&question, message).await,
                None => question.unavailable("the message is gone"),
            };
            Finding::Message(MessageFinding::Found(found))
        }
        Inquiry::Recipient { .. } => {
            let why = "this host cannot ask yet".to_owned();
            Finding::Recipient(RecipientFinding::Unavailable(why))
        }
        Inquiry::Sender(question) => {
            let found = shared.checks.load_full().sender(&question).await;
            Finding::Sender(SenderFinding::Found(found))
        }
    }
}
