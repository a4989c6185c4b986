//! Commands that are wrong before any rule is asked: malformed, or not legal in this state.

use std::fmt::Display;

use crate::{Consequence, Decision, Reasons, Rule};
use relay_mail::reply::Reply;

/// A command that is not legal in the state of the session.
pub fn out_of_order(reply: Reply) -> Decision {
    malformed(reply, &"not in this state")
}

/// A line that is no command of ours, or a command with malformed arguments. `found` is for the log.
pub fn malformed(reply: Reply, found: &dyn Display) -> Decision {
    let mut reasons = Reasons::default();
    reasons.note(Rule::Protocol, found.to_string());
    reasons.conclude(reply, Consequence::ProtocolError)
}
