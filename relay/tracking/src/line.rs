//! One line of the log: a JSON object with the time, the queue id, and what happened by the name that
//! Exchange's message tracking has for it, where it has one.
//!
//! The names of the fields are for programs too, by `relay trace --json`: they stay.

use std::borrow::Cow;
use std::time::SystemTime;

use crate::event::{Happening, TrackingEvent};
use crate::outcomes::{expired, tried};
use relay_mail::outcome::AnsweredCommand;
use relay_mail::queue_id::QueueId;
use relay_queue::event::{AdminAction, MessageStorage, QueueEvent};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// As RFC 3339 has it, in UTC, always of the same length: sorted as text is sorted by time.
const MOMENT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackingLine {
    /// When, in UTC, to the microsecond.
    pub time: String,
    /// The message; none where the line is about the log itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<QueueId>,
    /// What happened.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum What {
    /// A session brought the message, and it is kept.
    Receive(Box<ReceiveLine>),
    /// A next hop took it.
    Send(OutcomeGroup),
    /// It was put into a Maildir.
    Deliver(OutcomeGroup),
    /// An attempt failed, and there will be another.
    Defer(OutcomeGroup),
    /// Recipients were given up.
    Fail(OutcomeGroup),
    /// The sender is sent a report.
    Dsn {
        /// The id of the report.
        report: QueueId,
        /// Whom it is for.
        sender: String,
        /// Whom it tells of.
        recipients: Vec<String>,
        /// Further recipients, which are not there.
        #[serde(default, skip_serializing_if = "is_zero")]
        recipients_left_out: u64,
    },
    /// An administrator stopped its delivery.
    Hold,
    /// An administrator let its delivery go on.
    Release,
    /// An administrator took it out of the queue.
    Remove,
    /// An administrator made it due.
    Retry,
    /// A part of it could not be read at a start, and it left the queue undelivered.
    Damaged {
        /// What is wrong.
        because: String,
        /// Where its octets are kept for an administrator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set_aside: Option<String>,
    },
    /// It has left the queue.
    End,
    /// A connection, a command or a message was refused: no message has come of it.
    Refuse(Box<RefusedLine>),
    /// The session ended before its message had a reply.
    Abort(Box<RefusedLine>),
    /// Refusals that are not in the log one by one, since there were too many.
    Suppressed {
        /// How many.
        count: u64,
        /// When the first of them was.
        since: String,
    },
    /// Events of any messages are not in the log, from `since` to the time of this line.
    Lost {
        /// How many, where that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// When the first of them was missed.
        since: String,
        /// Why.
        because: String,
        /// Only refusals are missing, and nothing about a message that was accepted.
        #[serde(default, skip_serializing_if = "is_false")]
        refusals: bool,
    },
    /// The log is written from here on.
    Opened,
    /// All that was told before is written, and nothing after.
    Closed {
        /// The log was switched off, and no daemon has ended.
        #[serde(default, skip_serializing_if = "is_false")]
        off: bool,
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
        /// Why it waits now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// How a message came.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiveLine {
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
    /// The first Message-ID, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// From, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
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
    pub kept: MessageStorage,
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
    /// The arguments of further RCPTs about which the same was decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// What the client was told.
    pub reply: String,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'static, str>>,
    /// What it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
}

/// What was refused, or broken off.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RefusedLine {
    /// The name of the session in the protocol log; none where there was no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
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
    /// Who the client was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Cow<'static, str>>,
    /// The user that it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What it called itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
    /// The verb, `CONNECT`, or `.` for the end of data; none where the session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Cow<'static, str>>,
    /// The sender, empty for the null sender; none where MAIL has not named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The recipient that was refused, or the first ones of the message that was.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// Further recipients of the message.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recipients_left_out: u64,
    /// The first Message-ID, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// From, as it is written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What the client was told; none where nothing could be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'static, str>>,
    /// What it found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// Refusals of this source since the last one that is recorded, which are not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

/// What became of some recipients that had the same outcome.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutcomeGroup {
    /// Which attempt it was; none where the time was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Whom it is about.
    pub recipients: Vec<String>,
    /// Further recipients, which are not there.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recipients_left_out: u64,
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
    /// What it said that to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<AnsweredCommand>,
    /// What we found without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_none(number: &u32) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A time as the log writes it. Beyond the year 9999 there is none.
pub fn moment(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(MOMENT).unwrap_or_default()
}

impl TrackingLine {
    /// The lines of an event: one for each outcome that an attempt had.
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

    /// Is it about this message? A report is about its message too.
    pub fn is_about(&self, id: QueueId) -> bool {
        self.id == Some(id) || self.is_origin_of(id)
    }

    /// Does this message begin with it? A message begins with its reception, a report with what it
    /// is made of.
    pub fn is_beginning_of(&self, id: QueueId) -> bool {
        let is_received = matches!(self.what, What::Receive(_)) && self.id == Some(id);
        is_received || self.is_origin_of(id)
    }

    /// Does this message end with it?
    pub fn is_end_of(&self, id: QueueId) -> bool {
        self.id == Some(id) && self.what == What::End
    }

    fn is_origin_of(&self, id: QueueId) -> bool {
        matches!(self.what, What::Dsn { report, .. } if report == id)
    }
}
