//! The decisions about the current message, from MAIL to the end of its data, for message tracking.
//!
//! These are the decisions behind the replies to the client, including refused recipients. They end
//! with the transaction, unless the driver takes them after the message is stored.

use std::borrow::Cow;

use crate::Session;
use crate::limits::{DECISIONS_BEYOND_MEMORY, TRACKED_DECISIONS};
use relay_mail::heap::HeapOctets;
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::reply::Reply;
use relay_message::changes::Changes;
use relay_message::identity::Identity;
use relay_policy::{Because, Consequence, Decision};
use relay_smtp::command::Verb;

/// The decisions about one message, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decisions {
    /// The first ones, [`TRACKED_DECISIONS`] at most.
    pub list: Vec<Decided>,
    /// Those for which there was no room.
    pub left_out: u32,
    /// The findings of the checks about the message, or why they were skipped.
    pub checks: Option<String>,
    /// The changes in its header section.
    pub changes: Changes,
    /// The message's own identification, once its header section has been read.
    pub identity: Identity,
    /// The argument of the MAIL that was accepted.
    pub(super) sender: Option<ReversePath>,
    /// The argument of the MAIL at hand.
    pub(super) asked_sender: Option<ReversePath>,
    /// The recipient that the command at hand is about.
    pub(super) recipient: Option<ForwardPath>,
    /// The last rule that let the whole message pass.
    end_of_data: Option<Because>,
    /// Octets that the members of the list point to.
    octets: usize,
    /// Is memory for messages on their way in used up?
    is_memory_short: bool,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The verb, or `.` for the end of data.
    pub command: Verb,
    /// The argument of RCPT.
    pub recipient: Option<ForwardPath>,
    /// The reply to the client.
    pub reply: Reply,
    /// The rule that decided: the last one that was checked.
    pub because: Option<Because>,
}

impl HeapOctets for Decided {
    fn heap_octets(&self) -> usize {
        let text = match &self.reply.text {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.heap_octets(),
        };
        let found = self.because.as_ref().map_or(0, |because| because.found.heap_octets());
        self.recipient.heap_octets() + text + found
    }
}

impl Decisions {
    /// The recipient of the next decision.
    pub(super) fn of_recipient(&mut self, path: &ForwardPath) {
        self.recipient = Some(path.clone());
    }

    /// Whose message the next decision is about.
    pub(super) fn of_sender(&mut self, path: &ReversePath) {
        self.asked_sender = Some(path.clone());
    }

    /// Another command follows.
    pub(super) fn forget_asked(&mut self) {
        (self.asked_sender, self.recipient) = (None, None);
    }

    /// A command of the transaction was allowed. MAIL begins another transaction.
    pub(super) fn allowed(&mut self, command: Verb, decision: Decision) {
        if command == Verb::Mail {
            let sender = self.asked_sender.take();
            self.clear();
            self.sender = sender;
        }
        self.push(command, decision);
    }

    /// A command was refused; recorded if it belongs to a transaction.
    pub(super) fn refused(&mut self, command: Verb, decision: &Decision) {
        if !matches!(command, Verb::Bdat | Verb::Data | Verb::Mail | Verb::Rcpt) {
            return;
        }
        if self.has_room() {
            self.push(command, decision.clone());
        } else {
            self.left_out += 1;
        }
    }

    /// The message may be kept, for the last of these reasons.
    pub(super) fn end_of_data(&mut self, mut because: Vec<Because>) {
        self.end_of_data = because.pop();
    }

    /// The message is stored, and the client gets this reply.
    pub(super) fn kept(&mut self, reply: Reply) {
        let because = self.end_of_data.take().into_iter().collect();
        self.push(Verb::EndOfData, Decision { reply, because, consequence: Consequence::None });
    }

    /// The accepted recipients, as far as the list has room.
    pub(super) fn accepted_recipients(&self) -> impl Iterator<Item = ForwardPath> {
        let accepted =
            self.list.iter().filter(|it| it.command == Verb::Rcpt && it.reply.is_positive());
        accepted.filter_map(|it| it.recipient.clone())
    }

    /// Has the client had a reply to its end of data?
    pub(super) fn is_answered(&self) -> bool {
        self.list.last().is_some_and(|last| last.command == Verb::EndOfData)
    }

    /// The transaction is over.
    pub(super) fn clear(&mut self) {
        let is_memory_short = self.is_memory_short;
        *self = Self { is_memory_short, ..Self::default() };
    }

    /// Octets of the list, with all allocations that its members point to.
    pub(super) fn octets(&self) -> usize {
        let Identity { message_id, from } = &self.identity;
        let beside = self.sender.heap_octets() + message_id.heap_octets() + from.heap_octets();
        self.list.capacity() * size_of::<Decided>() + self.octets + self.changes.octets() + beside
    }

    /// While memory is short only a few more decisions are kept.
    pub(super) fn set_memory_short(&mut self, is_short: bool) {
        self.is_memory_short = is_short;
    }

    fn has_room(&self) -> bool {
        self.list.len() < TRACKED_DECISIONS
            && !(self.is_memory_short && self.octets() >= DECISIONS_BEYOND_MEMORY)
    }

    fn push(&mut self, command: Verb, decision: Decision) {
        let recipient = self.recipient.take().filter(|_| command == Verb::Rcpt);
        // The end of data always has room.
        if !self.has_room() && command != Verb::EndOfData {
            self.left_out += 1;
            return;
        }
        let Decision { reply, mut because, .. } = decision;
        let decided = Decided { command, recipient, reply, because: because.pop() };
        self.octets += decided.heap_octets();
        self.list.push(decided);
    }
}

impl Session {
    /// The decisions about the message that was just stored, or that may have been. Call this once.
    pub fn take_decisions(&mut self) -> Decisions {
        std::mem::take(&mut self.context.summary.decisions)
    }
}

#[cfg(test)]
mod tests {
    use crate::decisions::*;
    use relay_mail::reply;
    use relay_policy::Rule;

    fn decision(reply: Reply, found: &str) -> Decision {
        let because = ["asked first", found]
            .map(|found| Because { rule: Rule::Sender, found: found.to_owned().into() });
        Decision { reply, because: because.to_vec(), consequence: Consequence::None }
    }

    #[test]
    fn a_message_has_its_own_decisions_each_with_the_rule_that_decided() {
        let mut decisions = Decisions::default();
        decisions.refused(Verb::Mail, &decision(reply::INVALID_SENDER, "another message's"));
        decisions.allowed(Verb::Mail, decision(reply::SENDER_OK, "sender"));
        decisions.of_recipient(&ForwardPath::Postmaster);
        decisions.refused(Verb::Rcpt, &decision(reply::UNABLE_TO_RELAY, "no"));
        decisions.refused(Verb::Noop, &decision(reply::NOOP_OK, "none of a transaction"));
        decisions.allowed(Verb::Rcpt, decision(reply::RECIPIENT_OK, "yes"));
        decisions.end_of_data(decision(reply::QUEUED, "small").because);
        decisions.kept(reply::QUEUED);
        let seen: Vec<_> = decisions
            .list
            .iter()
            .map(|it| {
                (it.command, it.recipient.is_some(), it.because.as_ref().unwrap().found.clone())
            })
            .collect();
        let expected = [
            (Verb::Mail, false, "sender".into()),
            (Verb::Rcpt, true, "no".into()),
            (Verb::Rcpt, false, "yes".into()),
            (Verb::EndOfData, false, "small".into()),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn decisions_beyond_the_limit_are_counted() {
        let mut decisions = Decisions::default();
        decisions.allowed(Verb::Mail, decision(reply::SENDER_OK, ""));
        for _ in 0..TRACKED_DECISIONS {
            decisions.allowed(Verb::Rcpt, decision(reply::RECIPIENT_OK, ""));
            decisions.refused(Verb::Rcpt, &decision(reply::UNABLE_TO_RELAY, ""));
        }
        decisions.kept(reply::QUEUED);
        assert_eq!(decisions.list.len(), TRACKED_DECISIONS + 1, "and the end of data");
        assert_eq!(decisions.left_out as usize, TRACKED_DECISIONS + 1);
        decisions.clear();
        assert_eq!(decisions, Decisions::default());
    }
}
