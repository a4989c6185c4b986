//! Converts events to lines of the log.

use std::borrow::Cow;

use crate::event::{Confirmation, Happening, Receipt, RefusalEvent, TrackingEvent};
use crate::limits::TRACKED_ALONE;
use crate::line::{DecisionLine, ReceiveLine, RefusedLine, TrackingLine, What, moment};
use crate::outcomes::{expired, tried};
use relay_policy::{Because, Found};
use relay_queue::event::{AdminAction, QueueEvent};
use relay_session::{Decided, Decisions, Refused};

impl TrackingLine {
    /// The lines of an event: one for each outcome of an attempt.
    pub fn of(event: TrackingEvent) -> Vec<Self> {
        let TrackingEvent { at, id, what } = event;
        let of = |what| Self { time: moment(at), id, what };
        let what = match what {
            Happening::Queue(QueueEvent::Attempted(attempt)) => {
                return tried(*attempt).into_iter().map(of).collect();
            }
            Happening::Queue(QueueEvent::Expired(recipients)) => {
                return expired(recipients).into_iter().map(of).collect();
            }
            Happening::Received(receipt) => What::Receive(Box::new((*receipt).into())),
            Happening::Queue(QueueEvent::Reported { report, sender, recipients }) => What::Dsn {
                report,
                sender: sender.to_string(),
                recipients: recipients.iter().map(ToString::to_string).collect(),
                recipients_left_out: 0,
            },
            Happening::Refused(refusal) => {
                let is_abort = refusal.refused.command.is_none();
                let line = Box::new(RefusedLine::from(*refusal));
                if is_abort { What::Abort(line) } else { What::Refuse(line) }
            }
            Happening::Queue(QueueEvent::Administered(AdminAction::Hold)) => What::Hold,
            Happening::Queue(QueueEvent::Administered(AdminAction::Release)) => What::Release,
            Happening::Queue(QueueEvent::Administered(AdminAction::Remove)) => What::Remove,
            Happening::Queue(QueueEvent::Administered(AdminAction::Retry)) => What::Retry,
            Happening::Queue(QueueEvent::Damaged { what, set_aside }) => What::Damaged {
                because: what,
                set_aside: set_aside.map(|path| path.display().to_string()),
            },
            Happening::Queue(QueueEvent::Ended) => What::End,
        };
        vec![of(what)]
    }
}

impl From<Receipt> for ReceiveLine {
    fn from(receipt: Receipt) -> Self {
        let chosen = receipt.connector.as_ref();
        let Decisions { list, left_out, checks, changes, identity, .. } = receipt.decisions;
        Self {
            session_id: format!("{:016X}", receipt.session),
            remote: receipt.connection.remote().to_string(),
            proxy: receipt.connection.proxy().map(|proxy| proxy.to_string()),
            local: receipt.connection.local().to_string(),
            connector: chosen.map(|chosen| chosen.connector.name.clone()),
            range: chosen.and_then(|chosen| chosen.range()).map(ToString::to_string),
            generation: receipt.generation,
            decided_by: receipt.decided_by.name().into(),
            why: receipt.decided_by.why().map(Cow::from),
            principal: receipt.principal.name().into(),
            user: receipt.user.map(|user| user.name.to_string()),
            hello: receipt.hello,
            tls: receipt.tls.map(|tls| tls.to_string()),
            client_certificate: receipt.client_certificate,
            submitter: receipt.submitter,
            sender: receipt.sender.to_string(),
            message_id: identity.message_id,
            from: identity.from,
            decisions: decisions(list),
            decisions_left_out: left_out,
            checks,
            changes: changes.texts(),
            size: receipt.size,
            kept: receipt.kept,
            answered: receipt.confirmation == Confirmation::Sent,
        }
    }
}

/// Recipients beyond the first decisions share a line if the decision about them is the same.
fn decisions(list: Vec<Decided>) -> Vec<DecisionLine> {
    let mut lines: Vec<DecisionLine> = Vec::new();
    for decided in list {
        let mut line = DecisionLine::from(decided);
        let same = |other: &&mut DecisionLine| {
            (&other.command, &other.reply, &other.rule, &other.found)
                == (&line.command, &line.reply, &line.rule, &line.found)
        };
        if lines.len() >= TRACKED_ALONE
            && let Some(last) = lines.last_mut().filter(same)
            && let Some(recipient) = line.recipient.take()
        {
            last.also.push(recipient);
        } else {
            lines.push(line);
        }
    }
    lines
}

impl From<RefusalEvent> for RefusedLine {
    fn from(refusal: RefusalEvent) -> Self {
        let RefusalEvent { session, connection, connector, refused, suppressed, .. } = refusal;
        let Refused { command, sender, recipients, recipients_left_out, identity, .. } = refused;
        let (rule, found) = refused.because.map(|Because { rule, found }| (rule, found)).unzip();
        let (measured, limit) = numbers(found.as_ref());
        Self {
            session_id: session.map(|session| format!("{session:016X}")),
            remote: connection.remote().to_string(),
            proxy: connection.proxy().map(|proxy| proxy.to_string()),
            local: connection.local().to_string(),
            connector,
            principal: refusal.principal.map(|principal| principal.name().into()),
            user: refusal.user.map(|user| user.name.to_string()),
            hello: refusal.hello,
            command: command.map(|verb| Cow::from(verb.name())),
            sender: sender.map(|sender| sender.to_string()),
            recipients: recipients.iter().map(ToString::to_string).collect(),
            recipients_left_out: recipients_left_out as u64,
            message_id: identity.message_id,
            from: identity.from,
            reply: refused.reply.map(|reply| reply.to_string()),
            rule: rule.map(|rule| rule.name().into()),
            found: found.map(|found| found.to_string()),
            measured,
            limit,
            suppressed,
        }
    }
}

impl From<Decided> for DecisionLine {
    fn from(decided: Decided) -> Self {
        let (rule, found) = decided.because.map(|because| (because.rule, because.found)).unzip();
        let (measured, limit) = numbers(found.as_ref());
        Self {
            command: decided.command.name().into(),
            recipient: decided.recipient.map(|recipient| recipient.to_string()),
            also: Vec::new(),
            reply: decided.reply.to_string(),
            rule: rule.map(|rule| rule.name().into()),
            found: found.map(|found| found.to_string()),
            measured,
            limit,
        }
    }
}

/// The quantity and the limit in a finding.
fn numbers(found: Option<&Found>) -> (Option<u64>, Option<u64>) {
    (found.and_then(Found::measured), found.and_then(Found::limit))
}
