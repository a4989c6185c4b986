//! One line of the log: a JSON object with the time, the queue id, and what happened by the name that
//! Exchange's message tracking has for it, where it has one.
//!
//! The names of the fields are for programs too, by `relay trace --json`: they stay.

use std::borrow::Cow;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

use super::event::{Attempt, Event, Happening, Kept, Receipt, Verb};
use crate::control::Id;
use crate::queue::{Answer, Cause, Outcome, QueueId};
use crate::smtp::path::ForwardPath;
use crate::smtp::session::{Decided, Decisions};

/// As RFC 3339 has it, in UTC, always of the same length: sorted as text is sorted by time.
const MOMENT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Line {
    /// When, in UTC, to the microsecond.
    pub time: String,
    /// The message; none where the line is about the log itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum What {
    /// A session brought the message, and it is kept.
    Receive(Box<Received>),
    /// A next hop took it.
    Send(Tried),
    /// It was put into a Maildir.
    Deliver(Tried),
    /// An attempt failed, and there will be another.
    Defer(Tried),
    /// Recipients were given up.
    Fail(Tried),
    /// The sender is sent a report.
    Dsn {
        /// The id of the report.
        report: Id,
        /// Whom it is for.
        sender: String,
        /// Whom it tells of.
        recipients: Vec<String>,
    },
    /// An administrator stopped its delivery.
    Hold,
    /// An administrator let its delivery go on.
    Release,
    /// An administrator took it out of the queue.
    Remove,
    /// An administrator made it due.
    Retry,
    /// It has left the queue.
    End,
    /// Events of whatever messages are not in the log.
    Lost {
        /// How many.
        count: u64,
        /// When the first of them was missed.
        since: String,
        /// Why.
        because: String,
    },
    /// Never in the log: what the daemon says of a message that waits.
    Queued {
        /// When it is tried next.
        due: String,
        /// An administrator holds it.
        held: bool,
        /// Attempts so far.
        attempts: u32,
        /// The recipients that still wait.
        recipients: Vec<String>,
        /// What deferred it last.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
    },
}

/// How a message came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Received {
    /// The name of the session in the protocol log.
    pub session_id: String,
    /// The client.
    pub remote: String,
    /// Who told the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// Where the connection came in.
    pub local: String,
    /// The connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    /// Its range that holds the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// The generation of the configuration.
    pub generation: u32,
    /// `kernel` or `daemon`.
    pub decided_by: Cow<'static, str>,
    /// Why not the kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Cow<'static, str>>,
    /// Who the client was.
    pub principal: Cow<'static, str>,
    /// The user that it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
    /// Protocol and cipher suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// What its certificate was worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// AUTH= of MAIL, where it was believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// The sender; empty for the null sender.
    pub sender: String,
    /// What was decided about MAIL, each RCPT and the end of data.
    pub decisions: Vec<DecisionLine>,
    /// Further decisions, which are not there.
    #[serde(default, skip_serializing_if = "is_none")]
    pub decisions_left_out: u32,
    /// What the checks found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<String>,
    /// What was changed in the header section, a text for each kind of change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Octets as it is kept.
    pub size: u64,
    /// `database` or `file`.
    pub kept: Kept,
    /// False: the client was not told, since the queue took too long.
    pub answered: bool,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionLine {
    /// The verb, or `.` for the end of data.
    pub command: Cow<'static, str>,
    /// The argument of RCPT.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<String>,
    /// What the client was told.
    pub reply: String,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'static, str>>,
    /// What it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// What became of some recipients that had the same outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tried {
    /// Which attempt it was; none where the time was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Whom it is about.
    pub recipients: Vec<String>,
    /// The next hop, as it was configured or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
    /// The server of it that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The address that was connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Protocol and cipher suite, where there was TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// What the next hop said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// What we found without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_none(number: &u32) -> bool {
    *number == 0
}

/// A time as the log writes it. Beyond the year 9999 there is none.
pub fn moment(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(MOMENT).unwrap_or_default()
}

impl Line {
    /// The lines of an event: one for each outcome that an attempt had.
    pub fn of(event: Event) -> Vec<Self> {
        let Event { at, id, what } = event;
        let of = |what| Self { time: moment(at), id: Some(Id(id)), what };
        let what = match what {
            Happening::Attempted(attempt) => return tried(*attempt).into_iter().map(of).collect(),
            Happening::Expired(recipients) => {
                return expired(recipients).into_iter().map(of).collect();
            }
            Happening::Received(receipt) => What::Receive(Box::new((*receipt).into())),
            Happening::Reported { report, sender, recipients } => What::Dsn {
                report: Id(report),
                sender: sender.to_string(),
                recipients: recipients.iter().map(ToString::to_string).collect(),
            },
            Happening::Administered(Verb::Hold) => What::Hold,
            Happening::Administered(Verb::Release) => What::Release,
            Happening::Administered(Verb::Remove) => What::Remove,
            Happening::Administered(Verb::Retry) => What::Retry,
            Happening::Ended => What::End,
        };
        vec![of(what)]
    }

    /// Is it about this message? A report is about its message too.
    pub fn is_about(&self, id: QueueId) -> bool {
        self.id == Some(Id(id)) || self.is_origin_of(id)
    }

    /// Does this message begin with it? A message begins with its reception, a report with what it
    /// is made of.
    pub fn is_beginning_of(&self, id: QueueId) -> bool {
        let is_received = matches!(self.what, What::Receive(_)) && self.id == Some(Id(id));
        is_received || self.is_origin_of(id)
    }

    /// Does this message end with it?
    pub fn is_end_of(&self, id: QueueId) -> bool {
        self.id == Some(Id(id)) && self.what == What::End
    }

    fn is_origin_of(&self, id: QueueId) -> bool {
        matches!(self.what, What::Dsn { report, .. } if report == Id(id))
    }
}

impl From<Receipt> for Received {
    fn from(receipt: Receipt) -> Self {
        let chosen = receipt.connector.as_ref();
        let Decisions { list, left_out, checks, changes, .. } = receipt.decisions;
        Self {
            session_id: format!("{:016X}", receipt.session),
            remote: receipt.remote.to_string(),
            proxy: receipt.proxy.map(|proxy| proxy.to_string()),
            local: receipt.local.to_string(),
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
            decisions: list.into_iter().map(DecisionLine::from).collect(),
            decisions_left_out: left_out,
            checks,
            changes: changes.texts(),
            size: receipt.size,
            kept: receipt.kept,
            answered: receipt.answered,
        }
    }
}

impl From<Decided> for DecisionLine {
    fn from(decided: Decided) -> Self {
        let (rule, found) = decided.because.map(|because| (because.rule, because.found)).unzip();
        Self {
            command: decided.command.into(),
            recipient: decided.recipient.map(|recipient| recipient.to_string()),
            reply: decided.reply.to_string(),
            rule: rule.map(Cow::from),
            found,
        }
    }
}

/// Recipients with the same outcome and the same answer share a line.
fn tried(attempt: Attempt) -> Vec<What> {
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
    groups.into_lines(|of_answer| Tried {
        attempt: Some(entry.attempts.saturating_add(1)),
        next_hop: Some(next_hop.clone()),
        address: connection.as_ref().map(|connected| connected.address.to_string()),
        tls: connection.as_ref().and_then(|connected| connected.tls.clone()),
        ..of_answer
    })
}

fn expired(recipients: Vec<(ForwardPath, Answer)>) -> Vec<What> {
    let mut groups = Groups::default();
    for (recipient, answer) in recipients {
        groups.add(Kind::Fail, answer, &recipient);
    }
    groups.into_lines(|of_answer| of_answer)
}

/// Recipients by what became of them.
#[derive(Default)]
struct Groups(Vec<(Kind, Tried)>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Send,
    Deliver,
    Defer,
    Fail,
}

impl Groups {
    fn add(&mut self, kind: Kind, answer: Answer, recipient: &ForwardPath) {
        let (reply, because) = match answer.cause {
            Cause::Reply(reply) => (Some(reply.to_string()), None),
            Cause::Local { status, text } => (None, Some(format!("{status} {text}"))),
        };
        let tried = Tried { server: answer.hop, reply, because, ..Tried::default() };
        let is_same = |(other, it): &(Kind, Tried)| {
            *other == kind
                && (&it.server, &it.reply, &it.because)
                    == (&tried.server, &tried.reply, &tried.because)
        };
        let group = self.0.iter().position(is_same).unwrap_or_else(|| {
            self.0.push((kind, tried));
            self.0.len() - 1
        });
        self.0[group].1.recipients.push(recipient.to_string());
    }

    fn into_lines(self, complete: impl Fn(Tried) -> Tried) -> Vec<What> {
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
