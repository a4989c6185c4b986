//! The reply to the client if the queue does not store its message.
//!
//! Each refusal is temporary: the client keeps the message and tries again. The client gets a
//! reply; the queue's own error is for the log.

use std::error::Error;

use crate::{Decision, Reasons, Rule};
use relay_mail::reply::{INSUFFICIENT_RESOURCES, NOT_STORED, Reply};
use relay_mail::store_error::{BeginError, StoreError};

/// The queue accepts no message at present.
pub fn queue_closed(error: &StoreError) -> Decision {
    refuse(INSUFFICIENT_RESOURCES, error)
}

/// The queue could not begin the message.
pub fn not_begun(error: &BeginError) -> Decision {
    let reply = match error {
        BeginError::NoRecipient => NOT_STORED,
        BeginError::Store(_) => INSUFFICIENT_RESOURCES,
    };
    refuse(reply, error)
}

/// The queue could not write the message, or not bring it to stable storage.
pub fn not_stored(error: &StoreError) -> Decision {
    let reply = match error {
        StoreError::Full(_) => INSUFFICIENT_RESOURCES,
        _ => NOT_STORED,
    };
    refuse(reply, error)
}

fn refuse(reply: Reply, error: &dyn Error) -> Decision {
    let mut reasons = Reasons::default();
    reasons.note(Rule::Queue, error.to_string());
    reasons.decide(reply)
}
