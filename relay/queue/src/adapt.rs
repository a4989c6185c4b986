//! Adapts a report of this host to a next hop that lacks 8BITMIME or SMTPUTF8, or that accepts
//! small messages only. A report has the null sender, so no report can follow its own failure: a
//! report that a next hop refuses because of its content is lost.
//!
//! Only reports composed by [`super::report`] are changed, part by part: parts beyond ASCII are
//! encoded as base64, which RFC 6532 section 3.7 and RFC 6533 allow for these types. If the result
//! is too large, the returned message is left out. The next hop and the extensions of its servers
//! are the business of `delivery`.

use crate::Entry;
use crate::report::boundary_beginning;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use memchr::{memchr, memmem};
use relay_mail::dsn::Addressee;
use relay_mail::path::{ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;
use relay_message::section::section_octets;

/// Octets of one line of base64: 76 characters (RFC 2045 section 6.8).
const BASE64_LINE_OCTETS: usize = 57;

/// A report that is sent instead of the one in the queue.
#[derive(Debug)]
pub struct Adapted {
    /// The message, in ASCII.
    pub message: Bytes,
    /// Its recipient, in ASCII.
    pub recipient: Addressee,
}

/// Can this entry be a report of this host? Only its message can prove it.
pub fn looks_like_report(entry: &Entry) -> bool {
    entry.sender == ReversePath::Null && entry.recipients.len() == 1
}

/// The report in ASCII, with at most `most` octets. `None` if the message is not a report of this
/// host, if the recipient's local part is beyond ASCII, or if the report is too large even without
/// the returned message.
pub fn adapt(entry: &Entry, message: &[u8], most: Option<u64>) -> Option<Adapted> {
    let addressee = entry.recipients.first()?.addressee();
    let path = in_ascii(&addressee.path)?;
    let fits = |message: &Vec<u8>| most.is_none_or(|most| message.len() as u64 <= most);
    let parts = Parts::of(entry.id, message)?;
    let to = format!("To: <{path}>\r\n");
    let message = parts
        .compose(&to, Original::Returned)
        .filter(fits)
        .or_else(|| parts.compose(&to, Original::LeftOut))?;
    let recipient = Addressee { path, dsn: addressee.dsn };
    fits(&message).then(|| Adapted { message: message.into(), recipient })
}

/// The path with A-labels. `None` if its local part is not ASCII.
fn in_ascii(path: &ForwardPath) -> Option<ForwardPath> {
    let ForwardPath::Mailbox(mailbox) = path else { return Some(path.clone()) };
    let Some(domain) = mailbox.domain() else { return Some(path.clone()) };
    let text = format!("<{}@{}>", mailbox.local_part(), domain.ascii());
    ForwardPath::parse(&text).ok().filter(ForwardPath::is_ascii)
}

/// The parts of a report.
struct Parts<'message> {
    boundary: &'message str,
    head: &'message [u8],
    parts: Vec<&'message [u8]>,
}

/// Does the adapted report return the message, or its header section?
#[derive(Clone, Copy)]
enum Original {
    Returned,
    LeftOut,
}

impl<'message> Parts<'message> {
    fn of(id: QueueId, message: &'message [u8]) -> Option<Self> {
        let end = section_octets(message);
        let (head, mut rest) = message.split_at(end);
        // No other line of the header section begins like this.
        let start = memmem::find(head, BOUNDARY)? + BOUNDARY.len();
        let length = memchr(b'"', &head[start..])?;
        let boundary = std::str::from_utf8(&head[start..start + length]).ok()?;
        boundary.strip_prefix(&boundary_beginning(id))?;
        let delimiter = format!("\r\n--{boundary}");
        rest = rest.strip_prefix(delimiter.as_bytes())?;
        let mut parts = Vec::new();
        while let Some(begins) = rest.strip_prefix(b"\r\n") {
            let end = memmem::find(begins, delimiter.as_bytes())?;
            parts.push(&begins[..end]);
            rest = &begins[end + delimiter.len()..];
        }
        (rest == b"--\r\n" && parts.len() >= 2).then_some(Self { boundary, head, parts })
    }

    fn compose(&self, to: &str, original: Original) -> Option<Vec<u8>> {
        let boundary = self.boundary;
        let mut out = Vec::new();
        for line in self.head.split_inclusive(|&octet| octet == b'\n') {
            match line {
                _ if line.starts_with(b"To: ") => out.extend_from_slice(to.as_bytes()),
                _ if line.starts_with(ENCODING) => out.extend_from_slice(SEVEN_BIT),
                _ => out.extend_from_slice(line),
            }
        }
        // The third part returns the message, or its header section.
        let parts = match original {
            Original::Returned => &self.parts[..],
            Original::LeftOut => &self.parts[..2],
        };
        for part in parts {
            out.extend_from_slice(format!("\r\n--{boundary}\r\n").as_bytes());
            write_part(part, &mut out)?;
        }
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        out.is_ascii().then_some(out)
    }
}

const BOUNDARY: &[u8] = b"\r\n\tboundary=\"";
const ENCODING: &[u8] = b"Content-Transfer-Encoding: ";
const SEVEN_BIT: &[u8] = b"Content-Transfer-Encoding: 7bit\r\n";
const BASE64: &[u8] = b"Content-Transfer-Encoding: base64\r\n";

fn write_part(part: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (head, body) = part.split_at(section_octets(part));
    // The empty line is always written again.
    let body = body.strip_prefix(b"\r\n")?;
    let is_ascii = body.is_ascii();
    for line in head.split_inclusive(|&octet| octet == b'\n') {
        out.extend_from_slice(match line {
            _ if line.starts_with(ENCODING) && is_ascii => SEVEN_BIT,
            _ if line.starts_with(ENCODING) => BASE64,
            // RFC 2046 section 5.2.1 lets nothing encode message/rfc822.
            b"Content-Type: message/rfc822\r\n" if !is_ascii => b"Content-Type: message/global\r\n",
            line => line,
        });
    }
    out.extend_from_slice(b"\r\n");
    if is_ascii {
        out.extend_from_slice(body);
        return Some(());
    }
    for line in body.chunks(BASE64_LINE_OCTETS) {
        out.extend_from_slice(STANDARD.encode(line).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    Some(())
}
