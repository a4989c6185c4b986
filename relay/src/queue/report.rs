//! The delivery status notification that tells a sender what will never arrive, or what nobody will
//! tell of any more (RFC 3464).
//!
//! Whether one is due is decided by [`super::Queue::record`]: never for the null sender, so a
//! report cannot cause another. Texts of next hops are quoted, never trusted: no line break or
//! control character of theirs survives.

use std::fmt::Write;
use std::time::SystemTime;

use bytes::Bytes;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::{Answer, BodyType, Cause, Entry, Envelope, QueueId, Recipient, RecipientState};
use crate::limits;
use crate::smtp::dsn::{MailDsn, push_escaped};
use crate::smtp::path::{Domain, ForwardPath, ReversePath};

/// What a report says.
#[derive(Debug)]
pub(super) struct Report<'a> {
    /// The report's own id.
    pub(super) id: QueueId,
    /// The host that reports.
    pub(super) hostname: &'a Domain,
    /// The message.
    pub(super) entry: &'a Entry,
    /// The recipients that the sender is told of: given up, or taken by a next hop that will tell
    /// nothing.
    pub(super) told: &'a [usize],
    /// What is returned of it.
    pub(super) original: Original,
    /// The next hop takes ASCII only: recipients' addresses are encoded.
    pub(super) seven_bit: bool,
    pub(super) now: SystemTime,
}

/// What a report returns of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Original {
    /// All of a small message.
    Whole(Bytes),
    /// The header section of a large one.
    Headers(Bytes),
    /// Nothing: it cannot be read any more, or may not be sent.
    Lost,
}

impl Original {
    /// What of it a next hop without 8BITMIME takes: the header section, if that is ASCII.
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
        // A header section of ours holds what cannot fail to be written to a String.
        let mut text = String::new();
        let _ = self.write(&mut text);
        let mut message = text.replace('\n', "\r\n").into_bytes();
        let (Original::Whole(original) | Original::Headers(original)) = &self.original else {
            message.extend_from_slice(format!("--{}--\r\n", self.boundary()).as_bytes());
            return message.into();
        };
        message.extend_from_slice(original);
        if !original.ends_with(b"\r\n") {
            message.extend_from_slice(b"\r\n");
        }
        message.extend_from_slice(format!("\r\n--{}--\r\n", self.boundary()).as_bytes());
        message.into()
    }

    fn write(&self, text: &mut String) -> std::fmt::Result {
        let Self { hostname, entry, .. } = self;
        let date = OffsetDateTime::from(self.now).format(&Rfc2822).unwrap_or_default();
        let arrived = OffsetDateTime::from(entry.arrived).format(&Rfc2822).unwrap_or_default();
        let boundary = self.boundary();
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
        for (failed, what) in [
            (true, "could not be delivered to"),
            (false, "was passed on to a system that will not tell you of its delivery, for"),
        ] {
            let mut recipients =
                self.recipients().filter(|recipient| has_failed(recipient) == failed).peekable();
            if recipients.peek().is_some() {
                writeln!(text, "Your message, queued here as {}, {what}:\n", entry.id)?;
            }
            for recipient in recipients {
                writeln!(text, "  <{}>", self.address(recipient))?;
                if let RecipientState::Failed(answer) = &recipient.state {
                    writeln!(text, "    {}", quoted(&answer.to_string()))?;
                }
            }
        }

        writeln!(text, "\n--{boundary}")?;
        writeln!(text, "Content-Type: {status_type}")?;
        writeln!(text, "Content-Transfer-Encoding: {}\n", if utf8 { "8bit" } else { "7bit" })?;
        if let Some(id) = &entry.dsn.envelope_id {
            writeln!(text, "Original-Envelope-Id: {}", id.decoded())?;
        }
        writeln!(text, "Reporting-MTA: dns; {hostname}")?;
        writeln!(text, "X-Queue-ID: {}", entry.id)?;
        writeln!(text, "Arrival-Date: {arrived}")?;
        for recipient in self.recipients() {
            let kind = if recipient.path.is_ascii() { "rfc822" } else { "utf-8" };
            writeln!(text)?;
            if let Some(original) = &recipient.dsn.original {
                let original = if utf8 { original.clone() } else { original.to_ascii() };
                writeln!(text, "Original-Recipient: {}", original.to_field())?;
            }
            writeln!(text, "Final-Recipient: {kind}; {}", self.address(recipient))?;
            let action = if has_failed(recipient) { "failed" } else { "relayed" };
            writeln!(text, "Action: {action}")?;
            if let RecipientState::Failed(answer) | RecipientState::Delivered(answer) =
                &recipient.state
            {
                write_answer(text, answer)?;
            }
            writeln!(text, "Last-Attempt-Date: {date}")?;
        }

        let part = match &self.original {
            Original::Lost => {
                writeln!(text)?;
                return Ok(());
            }
            Original::Whole(_) if utf8 => "message/global",
            Original::Whole(_) => "message/rfc822",
            Original::Headers(_) if utf8 => "message/global-headers",
            Original::Headers(_) => "text/rfc822-headers",
        };
        writeln!(text, "\n--{boundary}")?;
        writeln!(text, "Content-Type: {part}")?;
        writeln!(text, "Content-Transfer-Encoding: {encoding}\n")
    }

    fn subject(&self) -> &'static str {
        match self.recipients().any(has_failed) {
            true => "Undeliverable: your message could not be delivered",
            false => "Relayed: your message was passed on",
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

    /// The id is ours and new, so no message that we return can hold the boundary.
    fn boundary(&self) -> String {
        format!("=_report_{}", self.id)
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

fn has_failed(recipient: &Recipient) -> bool {
    matches!(recipient.state, RecipientState::Failed(_))
}

/// The header section of a message that begins with `beginning`, its blank line left out.
pub(super) fn header_section(beginning: &Bytes) -> Bytes {
    let end = memchr::memmem::find(beginning, b"\r\n\r\n").map_or_else(
        // The section is longer than what was read: end it with its last whole line.
        || memchr::memmem::rfind(beginning, b"\r\n").map_or(0, |end| end + 2),
        |end| end + 2,
    );
    beginning.slice(..end)
}

fn write_answer(text: &mut String, answer: &Answer) -> std::fmt::Result {
    match &answer.cause {
        Cause::Reply(reply) => {
            // RFC 3464 section 2.3.4 wants a status; without one the class is what is known.
            match reply.enhanced {
                Some(status) => writeln!(text, "Status: {status}")?,
                None => writeln!(text, "Status: {}.0.0", reply.code / 100)?,
            }
            if let Some(hop) = &answer.hop {
                writeln!(text, "Remote-MTA: dns; {}", quoted(hop))?;
            }
            writeln!(text, "Diagnostic-Code: smtp; {}", quoted(&reply.to_string()))
        }
        Cause::Local { status, text: reason } => {
            writeln!(text, "Status: {status}")?;
            writeln!(text, "Diagnostic-Code: x-relay; {}", quoted(reason))
        }
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

/// Somebody else's text on one line of ours: printable ASCII, and short enough for a header
/// line without folding (RFC 5322 section 2.1.1).
fn quoted(text: &str) -> String {
    let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '?' };
    text.chars().map(printable).take(limits::REPORT_LINE_OCTETS).collect()
}
