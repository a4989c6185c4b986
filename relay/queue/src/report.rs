//! The delivery status notification for a sender: recipients that failed, that wait, and that were
//! relayed without further reports (RFC 3464).
//!
//! [`super::Queue::record`] decides whether a report is due: never for the null sender, so a report
//! cannot cause another. Texts of next hops are quoted without their line breaks and control
//! characters.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use crate::{Entry, Recipient, RecipientState};
use bytes::Bytes;
use relay_mail::dsn::{MailDsn, push_escaped};
use relay_mail::envelope::{BodyType, Envelope};
use relay_mail::outcome::{Cause, OutcomeReason};
use relay_mail::path::{Domain, ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;
use relay_mail::reply::Enhanced;
use relay_message::section::{Part, SectionReader};
use relay_users::password::random;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::limits;

/// The contents of a report.
#[derive(Debug)]
pub(super) struct Report<'a> {
    /// The report's own id.
    pub(super) id: QueueId,
    /// The boundary between its parts.
    pub(super) boundary: &'a str,
    /// The host that reports.
    pub(super) hostname: &'a Domain,
    /// The message.
    pub(super) entry: &'a Entry,
    /// The recipients that the report is about. Their states decide the text.
    pub(super) told: &'a [usize],
    /// The recipients that were tried just now.
    pub(super) tried: &'a [usize],
    /// The part of the message that is returned.
    pub(super) original: Original,
    /// The next hop accepts ASCII only: recipients' addresses are encoded.
    pub(super) seven_bit: bool,
    /// When recipients that wait are given up.
    pub(super) expires: Option<SystemTime>,
    pub(super) now: SystemTime,
}

/// The Action field of a recipient (RFC 3464 section 2.3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Failed,
    Delayed,
    Delivered,
    Relayed,
}

/// The part of the message that a report returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Original {
    /// All of a small message.
    Whole(Bytes),
    /// The header section of a large message.
    Headers(Bytes),
    /// Nothing: it cannot be read any more, or may not be sent.
    Lost,
}

impl Original {
    /// The part for a next hop without 8BITMIME: the header section, if it is ASCII.
    pub(super) fn in_seven_bits(self) -> Self {
        match self {
            Self::Whole(bytes) if !bytes.is_ascii() => {
                Self::Headers(header_section(&bytes)).in_seven_bits()
            }
            Self::Headers(bytes) if !bytes.is_ascii() => Self::Lost,
            seven_bit => seven_bit,
        }
    }
}

impl Report<'_> {
    /// The envelope of the report: from `<>` to the sender. None for the null sender.
    pub(super) fn envelope(&self) -> Option<Envelope> {
        let ReversePath::Mailbox(sender) = &self.entry.sender else { return None };
        Some(Envelope {
            sender: ReversePath::Null,
            recipients: vec![ForwardPath::Mailbox(sender.clone()).into()],
            body: if self.is_ascii() { BodyType::SevenBit } else { BodyType::EightBitMime },
            smtputf8: !self.addresses_are_ascii(),
            dsn: MailDsn::default(),
        })
    }

    /// The report as a message.
    pub(super) fn compose(&self) -> Bytes {
        // Writing to a String cannot fail.
        let mut text = String::new();
        let _ = self.write(&mut text);
        let mut message = text.replace('\n', "\r\n").into_bytes();
        let (Original::Whole(original) | Original::Headers(original)) = &self.original else {
            message.extend_from_slice(format!("--{}--\r\n", self.boundary).as_bytes());
            return message.into();
        };
        message.extend_from_slice(original);
        if !original.ends_with(b"\r\n") {
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(format!("\r\n--{}--\r\n", self.boundary).as_bytes());
        message.into()
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { hostname, entry, .. } = self;
        let (date, arrived) = (date_time(self.now), date_time(entry.arrived));
        let expires = self.expires.map(date_time);
        let boundary = self.boundary;
        let encoding = if self.is_ascii() { "7bit" } else { "8bit" };
        let utf8 = !self.addresses_are_ascii();
        let status_type =
            if utf8 { "message/global-delivery-status" } else { "message/delivery-status" };
        writeln!(text, "From: Mail Delivery System <postmaster@{hostname}>")?;
        writeln!(text, "To: <{}>", entry.sender)?;
        writeln!(text, "Subject: {}", self.subject())?;
        writeln!(text, "Date: {date}")?;
        writeln!(text, "Message-ID: <{}@{hostname}>", self.id)?;
        writeln!(text, "Auto-Submitted: auto-replied")?;
        writeln!(text, "MIME-Version: 1.0")?;
        writeln!(text, "Content-Type: multipart/report; report-type=delivery-status;")?;
        writeln!(text, "\tboundary=\"{boundary}\"")?;
        writeln!(text, "Content-Transfer-Encoding: {encoding}\n")?;

        writeln!(text, "--{boundary}")?;
        writeln!(text, "Content-Type: text/plain; charset=utf-8")?;
        writeln!(text, "Content-Transfer-Encoding: {encoding}\n")?;
        writeln!(text, "This is the mail system at {hostname}.\n")?;
        for action in Action::ALL {
            let mut recipients = self.recipients().filter(|it| Action::of(it) == action).peekable();
            if recipients.peek().is_none() {
                continue;
            }
            writeln!(text, "Your message, queued here as {}, {}:\n", entry.id, action.sentence())?;
            for recipient in recipients {
                writeln!(text, "  <{}>", self.address(recipient))?;
                if let RecipientState::Failed(answer) | RecipientState::Pending(Some(answer)) =
                    &recipient.state
                {
                    writeln!(text, "    {}", quoted(&answer.to_string()))?;
                }
            }
            if let (Action::Delayed, Some(expires)) = (action, &expires) {
                writeln!(text, "\nIt will be tried until {expires}. You need not send it again.")?;
            }
            writeln!(text)?;
        }

        writeln!(text, "--{boundary}")?;
        writeln!(text, "Content-Type: {status_type}")?;
        writeln!(text, "Content-Transfer-Encoding: {}\n", if utf8 { "8bit" } else { "7bit" })?;
        if let Some(id) = &entry.dsn.envelope_id {
            writeln!(text, "Original-Envelope-Id: {}", id.decoded())?;
        }
        writeln!(text, "Reporting-MTA: dns; {hostname}")?;
        writeln!(text, "X-Queue-ID: {}", entry.id)?;
        writeln!(text, "Arrival-Date: {arrived}")?;
        let tried: BTreeSet<_> = self.tried.iter().collect();
        for place in self.told {
            let Some(recipient) = entry.recipients.get(*place) else { continue };
            let kind = if recipient.path.is_ascii() { "rfc822" } else { "utf-8" };
            writeln!(text)?;
            if let Some(original) = &recipient.dsn.original {
                let original = if utf8 { original.clone() } else { original.to_ascii() };
                writeln!(text, "Original-Recipient: {}", original.to_field())?;
            }
            writeln!(text, "Final-Recipient: {kind}; {}", self.address(recipient))?;
            let action = Action::of(recipient);
            writeln!(text, "Action: {action}")?;
            match &recipient.state {
                RecipientState::Failed(answer) | RecipientState::Delivered(answer) => {
                    write_answer(text, answer, |status| status)?;
                }
                // A waiting recipient has not failed, even if the next hop's reply had class 5:
                // programs remove addresses of class 5 from their lists (RFC 3463 section 2, RFC
                // 3464 section 2.3.3).
                RecipientState::Pending(Some(answer)) => {
                    let delayed = |Enhanced(_, subject, detail)| Enhanced(4, subject, detail);
                    write_answer(text, answer, delayed)?;
                }
                // X.4.7 of RFC 3463 is about time.
                RecipientState::Pending(None) => writeln!(text, "Status: 4.4.7")?,
            }
            if tried.contains(place) {
                writeln!(text, "Last-Attempt-Date: {date}")?;
            }
            if let (Action::Delayed, Some(expires)) = (action, &expires) {
                writeln!(text, "Will-Retry-Until: {expires}")?;
            }
        }

        // With a header section beyond ASCII, any message is internationalized (RFC 6532).
        let global = utf8 || (entry.smtputf8 && entry.eight_bit_header && !self.seven_bit);
        let part = match &self.original {
            Original::Lost => {
                writeln!(text)?;
                return Ok(());
            }
            Original::Whole(_) if global => "message/global",
            Original::Whole(_) => "message/rfc822",
            Original::Headers(_) if global => "message/global-headers",
            Original::Headers(_) => "text/rfc822-headers",
        };
        writeln!(text, "\n--{boundary}")?;
        writeln!(text, "Content-Type: {part}")?;
        writeln!(text, "Content-Transfer-Encoding: {encoding}\n")
    }

    fn subject(&self) -> &'static str {
        let first = |action: &Action| self.recipients().any(|it| Action::of(it) == *action);
        match Action::ALL.into_iter().find(first) {
            Some(Action::Failed) | None => "Undeliverable: your message could not be delivered",
            Some(Action::Delayed) => "Delayed: your message has not been delivered yet",
            Some(Action::Delivered) => "Delivered: your message was delivered",
            Some(Action::Relayed) => "Relayed: your message was passed on",
        }
    }

    fn recipients(&self) -> impl Iterator<Item = &Recipient> {
        self.told.iter().filter_map(|&place| self.entry.recipients.get(place))
    }

    /// A recipient as the report may write it.
    fn address(&self, recipient: &Recipient) -> String {
        let address = recipient.path.to_string();
        if self.seven_bit && !address.is_ascii() { xtext(&address) } else { address }
    }

    fn addresses_are_ascii(&self) -> bool {
        let all = || self.recipients().all(|recipient| recipient.path.is_ascii());
        self.entry.sender.is_ascii() && (self.seven_bit || all())
    }

    fn is_ascii(&self) -> bool {
        let original = match &self.original {
            Original::Whole(bytes) | Original::Headers(bytes) => bytes.is_ascii(),
            Original::Lost => true,
        };
        original && self.addresses_are_ascii()
    }
}

impl Action {
    /// The most important first.
    const ALL: [Self; 4] = [Self::Failed, Self::Delayed, Self::Delivered, Self::Relayed];

    fn of(recipient: &Recipient) -> Self {
        match &recipient.state {
            RecipientState::Failed(_) => Self::Failed,
            RecipientState::Pending(_) => Self::Delayed,
            // No other server had a part in it.
            RecipientState::Delivered(OutcomeReason { cause: Cause::Local { .. }, .. }) => {
                Self::Delivered
            }
            RecipientState::Delivered(_) => Self::Relayed,
        }
    }

    fn sentence(self) -> &'static str {
        match self {
            Self::Failed => "could not be delivered to",
            Self::Delayed => "could not be delivered yet to",
            Self::Delivered => "was delivered to",
            Self::Relayed => {
                "was passed on to a system that will not tell you of its delivery, for"
            }
        }
    }
}

/// The value of the field Action.
impl std::fmt::Display for Action {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Failed => "failed",
            Self::Delayed => "delayed",
            Self::Delivered => "delivered",
            Self::Relayed => "relayed",
        })
    }
}

/// The boundary of a new report, and the part it returns. The boundary is random: otherwise the
/// sender of the returned message could predict it, as ids can be predicted, and add parts to the
/// report.
pub(super) fn separate(id: QueueId, original: Original) -> (String, Original) {
    let beginning = boundary_beginning(id);
    let Ok(random) = random::<16>() else { return (beginning, Original::Lost) };
    let boundary = format!("{beginning}_{:032x}", u128::from_be_bytes(random));
    match &original {
        Original::Whole(bytes) | Original::Headers(bytes)
            if memchr::memmem::find(bytes, boundary.as_bytes()).is_some() =>
        {
            (boundary, Original::Lost)
        }
        _ => (boundary, original),
    }
}

/// How the boundary of the report with this id begins.
pub(super) fn boundary_beginning(id: QueueId) -> String {
    format!("=_report_{id}")
}

fn date_time(time: SystemTime) -> String {
    OffsetDateTime::from(time).format(&Rfc2822).unwrap_or_default()
}

/// The header section of a message that begins with `beginning`, without its empty line. If the
/// section is longer than `beginning`, only its whole lines.
pub(super) fn header_section(beginning: &Bytes) -> Bytes {
    let (mut reader, mut rest, mut end) = (SectionReader::default(), beginning.clone(), 0);
    while let Some(part) = reader.next(&mut rest) {
        match part {
            Part::MboxLines(octets) | Part::Name(octets) | Part::Value(octets) => {
                end += octets.len()
            }
            Part::End { .. } | Part::Body(_) => return beginning.slice(..end),
        }
    }
    let whole_lines = memchr::memmem::rfind(&beginning[..end], b"\r\n").map_or(0, |at| at + 2);
    beginning.slice(..whole_lines)
}

fn write_answer(
    text: &mut String,
    answer: &OutcomeReason,
    told: impl FnOnce(Enhanced) -> Enhanced,
) -> std::fmt::Result {
    match &answer.cause {
        Cause::Reply { reply, .. } => {
            // RFC 3464 section 2.3.4 requires a status; without one only the class is known.
            let class = u8::try_from(reply.code / 100).unwrap_or(5);
            let status = reply.enhanced.unwrap_or(Enhanced(class, 0, 0));
            writeln!(text, "Status: {}", told(status))?;
            if let Some(hop) = &answer.hop {
                writeln!(text, "Remote-MTA: dns; {}", quoted(&host_name(hop)))?;
            }
            writeln!(text, "Diagnostic-Code: smtp; {}", quoted(&reply.to_string()))
        }
        Cause::Local { status, text: reason } => {
            writeln!(text, "Status: {}", told(*status))?;
            writeln!(text, "Diagnostic-Code: x-relay; {}", quoted(reason))
        }
    }
}

/// The next hop's name without its port, or its address as a literal (RFC 3464 section 2.1.2).
fn host_name(hop: &str) -> String {
    match hop.parse::<SocketAddr>().map(|address| address.ip()) {
        Ok(IpAddr::V4(address)) => format!("[{address}]"),
        Ok(IpAddr::V6(address)) => format!("[IPv6:{address}]"),
        Err(_) => hop.rsplit_once(':').map_or(hop, |(name, _)| name).to_owned(),
    }
}

/// `utf-8-addr-xtext` of RFC 6533 section 3: an address beyond ASCII in ASCII.
fn xtext(address: &str) -> String {
    address.chars().fold(String::new(), |mut text, c| {
        if c.is_ascii_graphic() && !matches!(c, '+' | '=' | '\\') {
            text.push(c);
        } else {
            push_escaped(&mut text, c);
        }
        text
    })
}

/// A text of another host on one line of the report: printable ASCII, and short enough for a line
/// without folding (RFC 5322 section 2.1.1).
fn quoted(text: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().map(printable).take(limits::REPORT_LINE_OCTETS).collect()
}
