//! The stored form of an entry: JSON that people can read and that a later version can extend.
//!
//! Paths are stored as text and parsed again, so a damaged record cannot bring an invalid address
//! into the daemon.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Entry, Recipient, RecipientState};
use relay_mail::dsn::{EnvelopeId, MailDsn, Notify, OriginalRecipient, RcptDsn, Ret};
use relay_mail::envelope::BodyType;
use relay_mail::outcome::AnsweredCommand;
use relay_mail::outcome::{Cause, OutcomeReason};
use relay_mail::path::{AddressError, ForwardPath, ReversePath};
use relay_mail::queue_id::QueueId;
use relay_mail::reply::{Enhanced, Reply};
use serde::{Deserialize, Serialize};

/// Where a message's bytes are, as far as the record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredBody {
    /// In the database, in a row of its own.
    InDatabase,
    /// In the message's own file.
    InFile {
        /// CRC-32 of the file.
        checksum: u32,
    },
}

/// Why a record is no entry.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("not the JSON of an entry: {0}")]
    Json(#[from] serde_json::Error),
    #[error("{path} is not a path: {error}")]
    Path { path: String, error: AddressError },
    #[error("{0} is not the value of a parameter of RFC 3461")]
    Parameter(String),
    #[error("it has no recipient")]
    NoRecipient,
}

/// The JSON of an entry.
pub(super) fn encode(entry: &Entry, body: StoredBody) -> Vec<u8> {
    let stored = StoredEntry {
        sender: entry.sender.to_string(),
        ret: entry.dsn.ret.map(|ret| ret.to_string()),
        envelope_id: entry.dsn.envelope_id.as_ref().map(ToString::to_string),
        unproven: entry.dsn.is_unproven,
        recipients: entry.recipients.iter().map(StoredRecipient::from).collect(),
        eight_bit_mime: entry.body == BodyType::EightBitMime,
        binary_mime: entry.body == BodyType::BinaryMime,
        binary: entry.binary,
        smtputf8: entry.smtputf8,
        eight_bit: entry.eight_bit,
        eight_bit_header: Some(entry.eight_bit_header),
        size: entry.size,
        organization_octets: entry.organization_octets,
        unterminated: entry.unterminated,
        fields_before_file: entry.fields_before_file.clone(),
        arrived: to_milliseconds(entry.arrived),
        attempts: entry.attempts,
        due: to_milliseconds(entry.due),
        held: entry.held,
        warned: entry.warned,
        file_checksum: match body {
            StoredBody::InDatabase => None,
            StoredBody::InFile { checksum } => Some(checksum),
        },
    };
    // Only map keys that are not strings, or a failing Serialize, cause an error; the types below
    // have neither. An empty record would be moved to `damaged/` at the next start.
    serde_json::to_vec(&stored).unwrap_or_default()
}

/// Reads the JSON of an entry.
pub(super) fn decode(id: QueueId, json: &[u8]) -> Result<(Entry, StoredBody), RecordError> {
    let stored: StoredEntry = serde_json::from_slice(json)?;
    let sender = format!("<{}>", stored.sender);
    let sender = ReversePath::parse(&sender)
        .map_err(|error| RecordError::Path { path: sender.clone(), error })?;
    let recipients: Result<Vec<_>, _> =
        stored.recipients.into_iter().map(Recipient::try_from).collect();
    let recipients = recipients?;
    if recipients.is_empty() {
        return Err(RecordError::NoRecipient);
    }
    let entry = Entry {
        id,
        sender,
        dsn: MailDsn {
            ret: parsed(stored.ret, Ret::parse)?,
            envelope_id: parsed(stored.envelope_id, EnvelopeId::parse)?,
            is_unproven: stored.unproven,
        },
        recipients,
        body: match (stored.binary_mime, stored.eight_bit_mime) {
            (true, _) => BodyType::BinaryMime,
            (false, true) => BodyType::EightBitMime,
            (false, false) => BodyType::SevenBit,
        },
        binary: stored.binary,
        smtputf8: stored.smtputf8,
        eight_bit: stored.eight_bit,
        eight_bit_header: stored.eight_bit_header.unwrap_or(stored.eight_bit),
        size: stored.size,
        organization_octets: stored.organization_octets,
        unterminated: stored.unterminated,
        fields_before_file: stored.fields_before_file,
        arrived: from_milliseconds(stored.arrived),
        attempts: stored.attempts,
        due: from_milliseconds(stored.due),
        held: stored.held,
        warned: stored.warned,
    };
    let body = match stored.file_checksum {
        Some(checksum) => StoredBody::InFile { checksum },
        None => StoredBody::InDatabase,
    };
    Ok((entry, body))
}

fn parsed<T>(
    text: Option<String>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<T>, RecordError> {
    text.map(|text| parse(&text).ok_or(RecordError::Parameter(text))).transpose()
}

/// Can this be the record of a message with its own file? Cheap; sometimes true for others.
pub(super) fn may_be_in_file(json: &[u8]) -> bool {
    memchr::memmem::find(json, b"\"file_checksum\"").is_some()
}

fn to_milliseconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

fn from_milliseconds(milliseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(milliseconds)
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_zero(octets: &u64) -> bool {
    *octets == 0
}

#[derive(Serialize, Deserialize)]
struct StoredEntry {
    /// Without brackets; empty for the null path.
    sender: String,
    /// RET and ENVID, NOTIFY and ORCPT as the client gave them; absent in a record of a version
    /// without DSN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ret: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    envelope_id: Option<String>,
    /// Absent in a record of a version that did not record it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unproven: bool,
    recipients: Vec<StoredRecipient>,
    eight_bit_mime: bool,
    /// Absent in a record of a version without BINARYMIME, like `binary`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    binary_mime: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    binary: bool,
    smtputf8: bool,
    eight_bit: bool,
    /// None in a record of a version that did not distinguish header section and body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eight_bit_header: Option<bool>,
    size: u64,
    /// Absent in a record of a version that declared the stored size, like `unterminated`.
    #[serde(default, skip_serializing_if = "is_zero")]
    organization_octets: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unterminated: bool,
    /// Absent in a record of a version that put no fields before a file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    fields_before_file: String,
    /// Milliseconds since 1970, like `due`.
    arrived: u64,
    attempts: u32,
    due: u64,
    held: bool,
    /// Absent in a record of a version without reports of delays.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    warned: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    file_checksum: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct StoredRecipient {
    path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    notify: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    original: Option<String>,
    state: StoredState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    answer: Option<StoredAnswer>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredState {
    Pending,
    Delivered,
    Failed,
}

#[derive(Serialize, Deserialize)]
struct StoredAnswer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hop: Option<String>,
    /// The command that the reply answers. Absent in a record of a version that did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    to: Option<AnsweredCommand>,
    /// The reply's code; none if no next hop replied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    enhanced: Option<(u8, u16, u16)>,
    text: String,
}

impl From<&Recipient> for StoredRecipient {
    fn from(recipient: &Recipient) -> Self {
        let (state, answer) = match &recipient.state {
            RecipientState::Pending(answer) => (StoredState::Pending, answer.as_ref()),
            RecipientState::Delivered(answer) => (StoredState::Delivered, Some(answer)),
            RecipientState::Failed(answer) => (StoredState::Failed, Some(answer)),
        };
        Self {
            path: recipient.path.to_string(),
            notify: recipient.dsn.notify.map(|notify| notify.to_string()),
            original: recipient.dsn.original.as_ref().map(ToString::to_string),
            state,
            answer: answer.map(StoredAnswer::from),
        }
    }
}

impl TryFrom<StoredRecipient> for Recipient {
    type Error = RecordError;

    fn try_from(stored: StoredRecipient) -> Result<Self, RecordError> {
        let path = format!("<{}>", stored.path);
        let path = ForwardPath::parse(&path)
            .map_err(|error| RecordError::Path { path: path.clone(), error })?;
        let answer = stored.answer.map(OutcomeReason::from);
        let lost = || OutcomeReason::local(None, Enhanced(0, 0, 0), "the answer was not recorded");
        let state = match stored.state {
            StoredState::Pending => RecipientState::Pending(answer),
            StoredState::Delivered => RecipientState::Delivered(answer.unwrap_or_else(lost)),
            StoredState::Failed => RecipientState::Failed(answer.unwrap_or_else(lost)),
        };
        let dsn = RcptDsn {
            notify: parsed(stored.notify, Notify::parse)?,
            original: parsed(stored.original, OriginalRecipient::parse)?,
        };
        Ok(Self { path, dsn, state })
    }
}

impl From<&OutcomeReason> for StoredAnswer {
    fn from(answer: &OutcomeReason) -> Self {
        let hop = answer.hop.clone();
        match &answer.cause {
            Cause::Reply { reply, to } => Self {
                hop,
                to: *to,
                code: Some(reply.code),
                enhanced: reply
                    .enhanced
                    .map(|Enhanced(class, subject, detail)| (class, subject, detail)),
                text: reply.text.clone().into_owned(),
            },
            Cause::Local { status: Enhanced(class, subject, detail), text } => Self {
                hop,
                to: None,
                code: None,
                enhanced: Some((*class, *subject, *detail)),
                text: text.clone(),
            },
        }
    }
}

impl From<StoredAnswer> for OutcomeReason {
    fn from(stored: StoredAnswer) -> Self {
        let enhanced =
            stored.enhanced.map(|(class, subject, detail)| Enhanced(class, subject, detail));
        let cause = match stored.code {
            Some(code) => Cause::Reply {
                reply: Reply { code, enhanced, text: Cow::Owned(stored.text) },
                to: stored.to,
            },
            None => {
                Cause::Local { status: enhanced.unwrap_or(Enhanced(4, 0, 0)), text: stored.text }
            }
        };
        Self { hop: stored.hop, cause }
    }
}

#[cfg(test)]
mod tests {
    use crate::record::*;

    #[test]
    fn a_record_of_an_earlier_version_is_read() {
        let json =
            br#"{"sender":"a@b.example","recipients":[{"path":"c@d.example","state":"pending"}],
            "eight_bit_mime":false,"smtputf8":false,"eight_bit":false,"size":300000,"arrived":1,
            "attempts":0,"due":1,"held":false,"file_checksum":7}"#;
        let (entry, body) = decode(QueueId::from_u64(1), json).unwrap();
        assert_eq!((entry.size, entry.file_octets()), (300_000, 300_000));
        assert_eq!(
            (entry.fields_before_file.as_str(), body),
            ("", StoredBody::InFile { checksum: 7 })
        );
        let entry = Entry { fields_before_file: "X: y\r\n".to_owned(), ..entry };
        let (again, _) = decode(entry.id, &encode(&entry, body)).unwrap();
        assert_eq!((again.file_octets(), again), (299_994, entry));
    }
}
