//! May this principal do that? Pure functions from what is known to a decision with its reasons.
//!
//! The session, `explain` and the log use the same decision, so they can never differ.

use crate::smtp::reply::Reply;

/// A reply together with the rules that led to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the client is told.
    pub reply: Reply,
    /// The rules in the order they were asked; the last one decided.
    pub because: Vec<Because>,
}

/// One rule and what it found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// The rule's name: a permission, a configuration key, or the check.
    pub rule: &'static str,
    /// What the rule found, in a sentence.
    pub found: String,
}
