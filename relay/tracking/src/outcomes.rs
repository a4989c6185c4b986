//! Lines about attempts: recipients with the same outcome and the same answer share a line.

use crate::line::{OutcomeGroup, What};
use relay_mail::outcome::{Cause, Outcome, OutcomeReason};
use relay_mail::path::ForwardPath;
use relay_queue::event::Attempt;

/// Recipients with the same outcome and the same answer share a line.
pub(super) fn tried(attempt: Attempt) -> Vec<What> {
    let Attempt { entry, next_hop, is_local, connection, outcomes } = attempt;
    let mut groups = Groups::default();
    for (place, outcome) in outcomes {
        let Some(recipient) = entry.recipients.get(place) else { continue };
        let (kind, answer) = match outcome {
            Outcome::Delivered(answer) | Outcome::Relayed(answer) if is_local => {
                (Kind::Deliver, answer)
            }
            Outcome::Delivered(answer) | Outcome::Relayed(answer) => (Kind::Send, answer),
            Outcome::Deferred(answer) => (Kind::Defer, answer),
            Outcome::Failed(answer) => (Kind::Fail, answer),
        };
        groups.add(kind, answer, &recipient.path);
    }
    groups.into_lines(|of_answer| OutcomeGroup {
        attempt: Some(entry.attempts.saturating_add(1)),
        next_hop: Some(next_hop.clone()),
        address: connection.as_ref().map(|connected| connected.address.to_string()),
        tls: connection.as_ref().and_then(|connected| connected.tls.clone()),
        ..of_answer
    })
}

/// A line for each answer of expired recipients.
pub(super) fn expired(recipients: Vec<(ForwardPath, OutcomeReason)>) -> Vec<What> {
    let mut groups = Groups::default();
    for (recipient, answer) in recipients {
        groups.add(Kind::Fail, answer, &recipient);
    }
    groups.into_lines(|of_answer| of_answer)
}

/// Recipients, grouped by outcome.
#[derive(Default)]
struct Groups(Vec<(Kind, OutcomeGroup)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Send,
    Deliver,
    Defer,
    Fail,
}

impl Groups {
    fn add(&mut self, kind: Kind, answer: OutcomeReason, recipient: &ForwardPath) {
        let (reply, to, because) = match answer.cause {
            Cause::Reply { reply, to } => {
                let to = to.filter(|_| !reply.is_positive());
                (Some(reply.to_string()), to, None)
            }
            Cause::Local { status, text } => (None, None, Some(format!("{status} {text}"))),
        };
        let tried =
            OutcomeGroup { server: answer.hop, reply, to, because, ..OutcomeGroup::default() };
        let is_same = |(other, it): &(Kind, OutcomeGroup)| {
            *other == kind
                && (&it.server, &it.reply, it.to, &it.because)
                    == (&tried.server, &tried.reply, tried.to, &tried.because)
        };
        let group = self.0.iter().position(is_same).unwrap_or_else(|| {
            self.0.push((kind, tried));
            self.0.len() - 1
        });
        self.0[group].1.recipients.push(recipient.to_string());
    }

    fn into_lines(self, complete: impl Fn(OutcomeGroup) -> OutcomeGroup) -> Vec<What> {
        let line = |(kind, tried)| {
            let tried = complete(tried);
            match kind {
                Kind::Send => What::Send(tried),
                Kind::Deliver => What::Deliver(tried),
                Kind::Defer => What::Defer(tried),
                Kind::Fail => What::Fail(tried),
            }
        };
        self.0.into_iter().map(line).collect()
    }
}
