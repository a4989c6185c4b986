//! A message that has passed everything else, until the content checks have their answers and it is
//! committed or refused.
//!
//! The findings of the checks precede the message, so they are written last: the queue puts them in
//! front. [`relay_policy::antispam`] decides about a finding.

use crate::hello::Hello;
use crate::inquiry::Waiting;
use crate::reception::WaitingForStore;
use crate::state::{Screening, SessionState};
use crate::{Action, Context, Session};
use bytes::Bytes;
use relay_message::finding::{MessageFinding, MessageFound};
use relay_message::question::Client;
use relay_message::{authentication_results, spam};
use relay_policy::antispam::screen_message;
use relay_policy::{Decision, DecisionOrInquiry};

impl Context {
    /// The client as the checks see it.
    pub(super) fn client(&self, hello: &Hello) -> Client {
        Client {
            address: self.connection.client(),
            hello: hello.name.as_str().to_owned(),
            user: self.peer.user_name().map(ToString::to_string),
        }
    }
}

impl Session {
    /// Asks for the needed facts about the message, or commits or refuses it.
    pub(super) fn screen(&mut self, waiting: WaitingForStore, allowed: Decision) {
        let Context { peer, sender, findings, .. } = &self.context;
        let client = self.context.client(&waiting.hello);
        match screen_message(peer, &client, sender.as_ref(), allowed.clone(), findings) {
            DecisionOrInquiry::Needs(inquiry) => {
                self.state = SessionState::Screening(Screening { waiting, allowed });
                self.ask(inquiry, Waiting::Message);
            }
            DecisionOrInquiry::Decided(decision) => {
                let message = match std::mem::take(&mut self.context.findings).message {
                    Some(MessageFinding::Found(found)) => Some(found),
                    Some(MessageFinding::NotAsked) | None => None,
                };
                let Context { peer, sender, summary, .. } = &mut self.context;
                summary.checked(peer, sender.as_ref(), message.as_ref());
                if decision.reply.is_positive() {
                    self.output.because(&decision.because);
                    summary.passed(&decision.because);
                    summary.decisions.end_of_data(decision.because);
                    self.commit(waiting, message.as_ref());
                } else {
                    self.output.push(Action::AbandonMessage);
                    self.state = waiting.end();
                    self.refuse_message(decision);
                }
            }
        }
    }

    /// The inquiry about the message has its answer.
    pub(super) fn screen_again(&mut self) {
        match self.state.take() {
            SessionState::Screening(Screening { waiting, allowed }) => {
                self.screen(waiting, allowed)
            }
            other => self.state = other,
        }
    }

    fn commit(&mut self, waiting: WaitingForStore, message: Option<&MessageFound>) {
        let sender = self.context.sender.as_ref();
        let hostname = self.context.rules.hostname.ascii();
        let results = authentication_results::field(hostname, sender, message);
        let fields: String = results.into_iter().chain(spam::field(sender, message)).collect();
        if !fields.is_empty() {
            self.output.push(Action::PutInFront(Bytes::from(fields)));
        }
        self.state = SessionState::WaitingForStore(waiting);
        self.timers.ask_queue(self.now);
        self.output.push(Action::CommitMessage);
    }
}
