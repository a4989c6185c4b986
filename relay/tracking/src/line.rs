//! One line of the log: a JSON object with the time, the queue id, and the event, by its name in
//! Exchange's message tracking if it has one there.
//!
//! Programs read the names of the fields in `relay trace --json`, so the names must not change.

use std::borrow::Cow;
use std::time::SystemTime;

use relay_mail::outcome::AnsweredCommand;
use relay_mail::queue_id::QueueId;
use relay_queue::event::MessageStorage;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::macros::format_description;

/// As in RFC 3339, in UTC, always of the same length: the order of texts is the order of times.
const MOMENT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");

/// One line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrackingLine {
    /// The time, in UTC, to the microsecond.
    pub time: String,
    /// The message; none if the line is about the log itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<QueueId>,
    /// The event.
    #[serde(flatten)]
    pub what: What,
}

/// The event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "SCREAMING_SNAKE_CASE")]
pub enum What {
    /// A session received the message, and the queue stored it.
    Receive(Box<ReceiveLine>),
    /// A next hop accepted the message.
    Send(OutcomeGroup),
    /// The message was delivered to a Maildir.
    Deliver(OutcomeGroup),
    /// An attempt failed, and another attempt will follow.
    Defer(OutcomeGroup),
    /// Recipients failed.
    Fail(OutcomeGroup),
    /// A report to the sender was queued.
    Dsn {
        /// The id of the report.
        report: QueueId,
        /// The recipient of the report.
        sender: String,
        /// The recipients that the report is about.
        recipients: Vec<String>,
        /// The number of recipients that are left out.
        #[serde(default, skip_serializing_if = "is_zero")]
        recipients_left_out: u64,
    },
    /// An administrator held the message.
    Hold,
    /// An administrator released the message.
    Release,
    /// An administrator removed the message.
    Remove,
    /// An administrator made the message due.
    Retry,
    /// A part of the message was damaged at a start, and the message left the queue undelivered.
    Damaged {
        /// The damage.
        because: String,
        /// The file with its octets, kept for an administrator.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        set_aside: Option<String>,
    },
    /// The message has left the queue.
    End,
    /// A connection, a command or a message was refused: there is no message.
    Refuse(Box<RefusedLine>),
    /// The session ended before its message had a reply.
    Abort(Box<RefusedLine>),
    /// Refusals without a record of their own, because there were too many.
    Suppressed {
        /// Their number.
        count: u64,
        /// The time of the first.
        since: String,
    },
    /// Events of any messages are missing, from `since` to the time of this line.
    Lost {
        /// Their number, if it is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        count: Option<u64>,
        /// The begin of the gap.
        since: String,
        /// The cause.
        because: String,
        /// Only refusals are missing, and no event of an accepted message.
        #[serde(default, skip_serializing_if = "is_false")]
        refusals: bool,
    },
    /// The log begins here.
    Opened,
    /// All earlier events are written. No event follows.
    Closed {
        /// The log was switched off, while the daemon runs.
        #[serde(default, skip_serializing_if = "is_false")]
        off: bool,
    },
    /// Never in the log: the daemon's answer about a waiting message.
    Queued {
        /// The time of the next attempt.
        due: String,
        /// Does an administrator hold the message?
        held: bool,
        /// Attempts so far.
        attempts: u32,
        /// The waiting recipients.
        recipients: Vec<String>,
        /// The cause of the last deferral.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        because: Option<String>,
        /// Why the message waits now.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
}

/// The reception of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReceiveLine {
    /// The name of the session in the protocol log.
    pub session_id: String,
    /// The client.
    pub remote: String,
    /// The proxy that stated the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The local address of the connection.
    pub local: String,
    /// The connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    /// The range that contains the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// The generation of the configuration.
    pub generation: u32,
    /// `kernel` or `daemon`.
    pub decided_by: Cow<'static, str>,
    /// Why the kernel did not classify the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Cow<'static, str>>,
    /// The principal of the client.
    pub principal: Cow<'static, str>,
    /// The user, if the client authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The client's name in EHLO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
    /// Protocol and cipher suite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The result of the check of the client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// AUTH= of MAIL, if it was trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitter: Option<String>,
    /// The sender; empty for the null sender.
    pub sender: String,
    /// The first Message-ID, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// From, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The decisions about MAIL, each RCPT and the end of data.
    pub decisions: Vec<DecisionLine>,
    /// The number of decisions that are left out.
    #[serde(default, skip_serializing_if = "is_none")]
    pub decisions_left_out: u32,
    /// The findings of the checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checks: Option<String>,
    /// The changes of the header section, a text for each kind of change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
    /// Octets of the stored message.
    pub size: u64,
    /// `database` or `file`.
    pub kept: MessageStorage,
    /// False: the client got no reply, because the queue was too slow.
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
    /// The arguments of further RCPTs with the same decision.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// The reply to the client.
    pub reply: String,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'static, str>>,
    /// The finding of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The quantity in the finding, in the unit of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<u64>,
    /// The limit in the finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
}

/// A refusal, or a session that ended early.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RefusedLine {
    /// The name of the session in the protocol log; none if there was no session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// The client.
    pub remote: String,
    /// The proxy that stated the client's address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy: Option<String>,
    /// The local address of the connection.
    pub local: String,
    /// The connector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connector: Option<String>,
    /// The principal of the client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<Cow<'static, str>>,
    /// The user, if the client authenticated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The client's name in EHLO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hello: Option<String>,
    /// The verb, `CONNECT`, or `.` for the end of data; none if the session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<Cow<'static, str>>,
    /// The sender, empty for the null sender; none if there was no MAIL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// The refused recipient, or the first recipients of the refused message.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// The number of further recipients of the message.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recipients_left_out: u64,
    /// The first Message-ID, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// From, as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The reply to the client; none if no reply could be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The rule that decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Cow<'static, str>>,
    /// The finding of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// The quantity in the finding, in the unit of the limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measured: Option<u64>,
    /// The limit in the finding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Refusals of this source since its last recorded refusal, without a record of their own.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub suppressed: u64,
}

/// The outcome of some recipients.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutcomeGroup {
    /// The number of the attempt; none if the message expired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// The recipients.
    pub recipients: Vec<String>,
    /// The number of recipients that are left out.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub recipients_left_out: u64,
    /// The next hop, as configured or found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<String>,
    /// The server that answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The address of the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Protocol and cipher suite, if there was TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<String>,
    /// The reply of the next hop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<String>,
    /// The command that got the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<AnsweredCommand>,
    /// The local cause, without a reply.
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

/// A time in the form of the log. After the year 9999 the form is empty.
pub fn moment(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(MOMENT).unwrap_or_default()
}

impl TrackingLine {
    /// Is the line about this message? A report is about its original message too.
    pub fn is_about(&self, id: QueueId) -> bool {
        self.id == Some(id) || self.is_origin_of(id)
    }

    /// Does this message begin with the line? A message begins with its reception, a report with
    /// the line about its original.
    pub fn is_beginning_of(&self, id: QueueId) -> bool {
        let is_received = matches!(self.what, What::Receive(_)) && self.id == Some(id);
        is_received || self.is_origin_of(id)
    }

    /// Does this message end with the line?
    pub fn is_end_of(&self, id: QueueId) -> bool {
        self.id == Some(id) && self.what == What::End
    }

    fn is_origin_of(&self, id: QueueId) -> bool {
        matches!(self.what, What::Dsn { report, .. } if report == id)
    }
}
